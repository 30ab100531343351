package trace

import "natlens/netinfo/netns"

// silence says why it proves nothing in a namespace that connection tracking has
// no entry for a packet; empty where that is a sign that a rule dropped it.
func (c *Correlator) silence(ns netns.ID) string {
	switch x := c.flows[ns]; {
	case x != nil && x.silent:
		return "connection tracking tells of no flow that begins here (net.netfilter.nf_conntrack_events = 0)"
	case c.exempts[ns]:
		return "a rule here takes packets out of connection tracking (notrack), perhaps this one"
	}
	return ""
}
