package trace

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// formerRouting is a namespace as it was until a time.
type formerRouting struct {
	as    *netinfo.Namespace
	until int64
}

const (
	keepRouting = 16
	// routingMemory is for longer than a journey waits for its next hop.
	routingMemory = 60e9
)

// reroute notes how a namespace routed until now, where that is another way than n does;
// was is nil where it is not known.
func (s *space) reroute(was, n *netinfo.Namespace, now int64) {
	switch {
	case was == nil:
		s.routed, s.routedSince = nil, now
		return
	case was.Routing == n.Routing || reflect.DeepEqual(was.Routing, n.Routing):
		return
	}
	s.routed = append(s.routed, formerRouting{was, now})
	for len(s.routed) > keepRouting || s.routed[0].until < now-routingMemory {
		s.routedSince = s.routed[0].until
		s.routed = slices.Delete(s.routed, 0, 1)
	}
}

// routing is the namespace in which a packet was seen, as it routed then; nil where that
// is not known.
func (c *Correlator) routing(s *sighting) *netinfo.Namespace {
	for _, f := range s.space.routed {
		if f.until > s.time {
			return f.as
		}
	}
	return c.hosts.topology.Namespace(s.point.Namespace)
}

// stood reports whether all routes and settings of the namespace that a packet may have
// met say the same of it: those of the last topology before it came, and of those so soon
// after that the change may have been before.
func (c *Correlator) stood(s *sighting, q netinfo.RouteQuery, d netinfo.Decision) bool {
	since := s.space.routedSince
	if since >= s.time {
		return false
	}
	for _, f := range s.space.routed {
		if f.until > s.time && since < s.time+linkDelay && !d.Same(f.as.Decide(q)) {
			return false
		}
		since = f.until
	}
	return since >= s.time+linkDelay || d.Same(c.hosts.topology.Namespace(s.point.Namespace).Decide(q))
}

// query asks the routes and the settings of the namespace for a packet that came in at s
// and is p behind the rules of prerouting; n is nil where there is nothing to ask.
func (c *Correlator) query(s *sighting, p *netfilter.Packet) (q netinfo.RouteQuery, n *netinfo.Namespace) {
	in := s.link
	if in != nil && in.master != (netinfo.LinkKey{}) {
		in = c.hosts.links[in.master]
	}
	if in == nil || !p.Tuple.Valid() {
		return q, nil
	}
	q = netinfo.RouteQuery{
		Source: p.Tuple.Source(), Destination: p.Tuple.Destination(), Protocol: uint8(p.Tuple.Protocol), In: in.key.Index, Mark: p.Mark, MarkBits: p.MarkBits,
	}
	if p.Tuple.HasPorts() {
		q.SourcePort, q.DestinationPort = p.Tuple.SourcePort, p.Tuple.DestinationPort
	}
	if p.MarkKnown {
		q.MarkBits = math.MaxUint32
	}
	return q, c.routing(s)
}

// wayTo is where a packet that came in at s goes when its destination is to. Where rules
// of routing leave that open it is not known; routes alone tell where nothing is known of
// them.
func (c *Correlator) wayTo(s *sighting, to netip.Addr) ways {
	t := s.tuple
	if t.Valid() && to.IsValid() && to.Is4() == t.Is4() && to != t.Destination() {
		t = packet.NewTuple(t.Protocol, t.Source(), to, t.SourcePort, t.DestinationPort)
	}
	rules := c.rulesets[s.point.Namespace]
	q, n := c.query(s, &netfilter.Packet{Tuple: t, MarkKnown: !rules.SetsMarks()})
	return c.ways(s, to, n.Decide(q))
}

// ways puts a decision into the words of the main table.
func (c *Correlator) ways(s *sighting, to netip.Addr, d netinfo.Decision) (w ways) {
	switch d.Fate {
	case netinfo.FateLocal:
		return ways{local: true}
	case netinfo.FateRefused:
		return ways{none: d.Refusal == netinfo.NoRoute}
	case netinfo.FateForwarded:
		w.next = d.Next
		if l := c.hosts.topology.Link(netinfo.LinkKey{Namespace: s.point.Namespace, Index: d.Link}); l != nil {
			w.link = l.Name
		}
		return w
	case netinfo.FateUnknown:
	}
	if n := c.hosts.topology.Namespace(s.point.Namespace); n != nil && n.Routing != nil && !to.IsMulticast() && !s.space.has(to) && c.customRouting(n) {
		return ways{}
	}
	return c.route(s.space, to)
}

// customRouting reports whether rules of routing may lead past the main table.
func (c *Correlator) customRouting(n *netinfo.Namespace) bool {
	for i := range n.Routing.Rules {
		switch n.Routing.Rules[i].Table {
		case netinfo.TableLocal, netinfo.TableMain, netinfo.TableDefault:
		default:
			return true
		}
	}
	return false
}

// misrouted reports whether routes and settings, which stood when the packet came, refuse
// it for sure, and puts that into v.
func (c *Correlator) misrouted(s *sighting, r *ruling, v *Verdict) bool {
	d := r.decision
	if d.Fate != netinfo.FateRefused || !c.stood(s, r.query, d) {
		return false
	}
	// What a socket here is connected to is not routed again, nor is its source looked at
	// (tcp_v4_early_demux, udp_v4_early_demux).
	if s.space.has(r.to) && (s.flow.flow != nil || !begins(s.h)) {
		return false
	}
	v.Result, v.Evidence = Dropped, ByRules
	v.By, v.Reason = c.routing(s).Refuses(r.query, d)
	return true
}

// staysHere reports whether routes, which stood when the packet came, are sure to keep it in
// the namespace though no link there has its address: another link's broadcast, a route
// of type local, or what a rule of routing sends to one.
func (c *Correlator) staysHere(s *sighting, r *ruling) bool {
	return s.point.Direction == capture.In && r.decision.Fate == netinfo.FateLocal && r.decision.Route != nil && !s.space.has(r.to) && c.stood(s, r.query, r.decision)
}

// keptByRoute reports whether a packet was delivered to the namespace in which it was
// seen last by what routes say, and puts that into v. Where connections are tracked that
// is of those with an entry: it is made behind the rules that may drop them.
func (c *Correlator) keptByRoute(e *entry, s *sighting, r *ruling, v *Verdict) bool {
	if !c.staysHere(s, r) || s.flow.flow == nil && c.tracks(s) {
		return false
	}
	v.Result, v.Evidence = Delivered, ByRules
	v.Reason = fmt.Sprintf("%s takes it for itself, by the route %s", s.space.name, r.decision.Route)
	switch {
	case s.flow.passed(e.id, c.now):
		v.Evidence = ByConntrack
	case r.Verdict != netfilter.Accepted:
		v.Result, v.Evidence = Unfinished, ByTap
		v.Reason += "; whether a rule dropped it there is unknown: " + r.Unsure
	}
	return true
}
