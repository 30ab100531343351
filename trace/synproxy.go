package trace

import (
	"fmt"
	"slices"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// A rule of SYNPROXY answers a SYN in the server's place. What the client says then, and
// what the server answers when it is asked in the client's, the kernel keeps to itself
// (net/netfilter/nf_synproxy_core.c).

// synProxied reports whether a SYN proxy took a packet, and puts that into v.
func (c *Correlator) synProxied(s *sighting, r *ruling, v *Verdict) bool {
	if !s.h.Layers.Has(packet.LayerTCP) {
		return false
	}
	is := func(rule *netfilter.RuleRef) bool {
		return slices.ContainsFunc(c.rulesets[s.point.Namespace].SynProxies(), func(p netfilter.RuleRef) bool { return p.ID() == rule.ID() })
	}
	const handshake = packet.SYN | packet.ACK | packet.RST | packet.FIN
	switch flags := s.h.TCPFlags & handshake; {
	case r.Verdict == netfilter.Handed && r.Decisive != nil && is(&r.Decisive.RuleRef):
		by := &r.Decisive.RuleRef
		v.Evidence, v.Rule = ByRules, &Rule{RuleRef: *by, Evidence: ByRules}
		v.Reason = fmt.Sprintf("%s #%d answers it in the server's place (SYN proxy): the server is asked when the client has answered that", by.Chain, by.Position)
	case flags == packet.ACK && s.h.PayloadLength == 0 && r.Verdict == "" && r.UnsureRule != nil && is(r.UnsureRule):
		v.Evidence = ByInference
		v.Reason = fmt.Sprintf("likely %s #%d took it: the client answers the SYN proxy, which now asks the server", r.UnsureRule.Chain, r.UnsureRule.Position)
	case flags == packet.SYN|packet.ACK && s.flow.flow != nil && s.flow.reply && s.flow.flow.Renumbers() && len(c.rulesets[s.point.Namespace].SynProxies()) > 0:
		v.Evidence = ByConntrack
		v.Reason = "the SYN proxy of " + s.space.name + " took it: the client has its answer already, and from the number in that conntrack counts on"
	default:
		return false
	}
	v.Result = Unfinished
	return true
}
