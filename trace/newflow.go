package trace

import (
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// redirection is what the rules do to the destination of a packet that begins a
// flow. Connection tracking tells nothing of it when the packet is dropped behind
// the translation: an entry is made of what has passed all hooks.
type redirection struct {
	after packet.Tuple
	kind  string
	rule  *Rule
}

// redirected evaluates the rules for a packet that came in and that belongs to no
// flow. ok is false when no rule translates its destination, when that can't be
// told for sure, and for packets that NAT does not look at because they begin no
// flow.
func (c *Correlator) redirected(s *sighting) (r redirection, ok bool) {
	return c.redirectedAs(s, packet.Tuple{})
}

// redirectedBy is redirected by those rules.
func (c *Correlator) redirectedBy(rules *netfilter.Ruleset, s *sighting) (r redirection, ok bool) {
	if s.flow.flow != nil || s.point.Direction != capture.In || !begins(s.h) || !c.uncovered(s) {
		return r, false
	}
	p := netfilter.Packet{Tuple: s.tuple, InLink: c.hosts.layer3(s.link), LocalAddress: s.space.has, MarkKnown: !rules.SetsMarks(), Time: s.time}
	m := rules.NAT(netfilter.Prerouting, p)
	if m.Certainty != netfilter.Covered || !m.ToKnown || !m.To.Addr().IsValid() {
		return r, false
	}
	port := s.tuple.DestinationPort
	if m.To.Port() != 0 {
		port = m.To.Port()
	}
	after := packet.NewTuple(s.tuple.Protocol, s.tuple.Source(), m.To.Addr(), s.tuple.SourcePort, port)
	return redirection{after, m.Kind, &Rule{RuleRef: m.Rule, Evidence: ByRules}}, after != s.tuple
}

// begins reports whether connection tracking makes a new flow of such a packet
// (nf_conntrack_proto_tcp.c, with nf_conntrack_tcp_loose a later segment can, too;
// that it did, only an entry tells).
func begins(h *packet.Headers) bool {
	switch {
	case h.Layers.Has(packet.LayerQuoted):
		return false
	case h.Layers.Has(packet.LayerTCP):
		return h.TCPFlags&(packet.SYN|packet.ACK|packet.RST|packet.FIN) == packet.SYN
	case h.Layers.Has(packet.LayerICMP):
		return h.IsEcho() && (h.ICMPType == 8 || h.ICMPType == 128)
	}
	return h.Layers.Has(packet.LayerUDP)
}

// neverBegins reports packets of which connection tracking never makes a flow: what
// answers or ends something. Without an entry they are INVALID (icmp_pkt_is_allowed
// in nf_conntrack_proto_icmp.c, tcp_conntracks from sNO in
// nf_conntrack_proto_tcp.c).
func neverBegins(h *packet.Headers) bool {
	switch {
	case h.Layers.Has(packet.LayerTCP):
		return h.TCPFlags&(packet.RST|packet.FIN) != 0 || h.TCPFlags&(packet.SYN|packet.ACK) == packet.SYN|packet.ACK
	case h.Layers.Has(packet.LayerICMP):
		return h.Layers.Has(packet.LayerQuoted) || h.IsEcho() && h.ICMPType != 8 && h.ICMPType != 128
	}
	return false
}

// leads reports whether the rules make of a packet seen as a, which belongs to no
// flow, one seen as b.
func (c *Correlator) leads(a, b *sighting) bool {
	_, ok := c.redirectedAs(a, b.tuple)
	return ok
}

// redirectedAtTheEnd says where a packet was going that ended behind its last tap:
// destinations are translated before anything routes or drops, by the packet's
// flow, or, where it never got one, by a rule.
func (c *Correlator) redirectedAtTheEnd(j *Journey, hops []sighting) {
	at := j.Verdict.Hop
	if at != len(hops)-1 || j.Verdict.Result != Dropped && j.Verdict.Result != Vanished || hops[at].point.Direction != capture.In {
		return
	}
	s := &hops[at]
	if c.defragments(s) && lacks(piecesAt(s, hops)) {
		return // NAT has not seen it
	}
	if slices.ContainsFunc(j.Translations, func(t Translation) bool { return t.Hook == netfilter.Prerouting && t.Between[1] == at }) {
		return // a bridge's port has done it
	}
	between := [2]int{at, -1}
	if r := s.flow; r.flow != nil && !r.about {
		f := r.flow.direction(r.reply)
		if s.tuple == f.before && f.half != f.before && s.h.Tuple == s.tuple {
			c.addTranslation(j, hops, between, f.before, f.half, r, destinationSide)
		}
	} else if r, ok := c.redirected(s); ok && j.Verdict.Hook != netfilter.Prerouting {
		c.addTranslation(j, hops, between, s.tuple, r.after, flowRef{}, destinationSide)
	}
}
