package trace

import (
	"fmt"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// silenced says of a packet that asks, and that a namespace got, that the rules of that
// namespace are sure to drop what it sends back: no tap sees that, since they stand before
// the first one on the way out. Empty where that is not so.
func (c *Correlator) silenced(v *Verdict, e *entry, hops []sighting) string {
	if v.Result != Delivered || v.Hop < 0 {
		return ""
	}
	s := &hops[v.Hop]
	rules := c.rulesets[s.point.Namespace]
	if !c.droppers[s.point.Namespace].sent || s.typ != capture.Host || s.flow.about || s.flow.reply || !begins(s.h) || !c.standing(s) {
		return ""
	}
	// Of datagrams each would say so.
	if s.h.Layers.Has(packet.LayerUDP) && !slices.ContainsFunc(hops, func(h sighting) bool { return h.flow.passed(e.id, c.now) }) {
		return ""
	}
	answer := netfilter.Packet{Tuple: s.tuple.Inverse(), LocalAddress: s.space.has, Time: s.time}
	back := *s
	switch f := s.flow.flow; {
	case f != nil:
		back.flow.reply = true
		answer.Tuple = f.direction(true).before
		c.known(&answer, &back)
	case c.rulesTrack[s.point.Namespace][family(s.tuple)]:
		return "" // what became of its flow is not known
	default: // no rule asks for a flow
		answer.Bound, answer.Translated = true, answer.Tuple
	}
	if !answer.Tuple.Valid() || !c.arrived.spend(c.now, maxArrivals) {
		return ""
	}
	answer.OutLink = c.route(s.space, answer.Tuple.Destination()).link
	if n := c.hosts.topology.Namespace(s.point.Namespace); n == nil || n.Routing != nil && c.customRouting(n) {
		answer.OutLink = ""
	}
	r := ruling{Walk: rules.Walk(netfilter.Path{netfilter.Output}, answer)}
	var dropped Verdict
	if !r.decide(&dropped) || dropped.By == "" {
		return ""
	}
	by := dropped.By
	if dropped.Rule != nil {
		by += " (" + dropped.Rule.Text + ")"
	}
	return fmt.Sprintf("%s got it, but no answer gets out: its own rules drop what it sends back, at output, by %s", s.space.name, by)
}
