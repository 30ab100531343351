package trace

import (
	"fmt"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// leakFix is what keeps such packets in.
const leakFix = "known fix: iptables -I FORWARD -m conntrack --ctstate INVALID -j DROP (Docker's issue: moby/moby 18630)"

// leak says whether a packet left by an uplink with an address of one of this
// host's containers that NAT should have replaced, and why NAT did not: the
// kernel translates only what connection tracking accepts. Two things prove it:
// the packet's flow is translated there, or there is a rule that translates such
// packets and no flow that would except this one. So it is never said of networks
// without masquerade, of routed ones, or of links that stand on the uplink.
func (c *Correlator) leak(v *Verdict, hops []sighting) (leaked bool) {
	if c.foreign {
		return false // no rules, no namespaces
	}
	for i := range hops {
		s := &hops[i]
		if s.point.Direction != capture.Out || s.link == nil || !s.link.uplink || !s.h.IsIP() {
			continue
		}
		source := s.tuple.Source()
		_, owner := c.hosts.topology.OwnerOf(source, s.point.Namespace)
		if owner == nil || owner.ID == s.point.Namespace {
			continue
		}
		reason := ""
		switch f := s.flow.flow; {
		case f != nil && s.flow.about:
		case f != nil:
			become := f.direction(s.flow.reply).after.Source()
			switch {
			case become == source:
			case f.died != 0 && s.time > f.died:
				reason = fmt.Sprintf("its conntrack entry, which made the source %v, was gone by then, so it is INVALID and not translated", become)
			default:
				reason = fmt.Sprintf("connection tracking found it INVALID, so it is not translated; its flow's other packets become %v", become)
			}
		case c.uncovered(s) && c.wouldTranslate(s, hops[:i]):
			reason = "connection tracking has no entry for it (INVALID, as a late FIN or RST is), so it is not translated"
		}
		if reason != "" {
			v.Leak, v.Reason = true, reason
			return true
		}
	}
	return false
}

// relearn is how long after a loss of events an entry may still be unknown: a dump
// follows at once, and takes about a second where there are a million entries.
const relearn = 5e9

// uncovered reports whether connection tracking is known to have no entry for a
// packet that belongs to no flow.
func (c *Correlator) uncovered(s *sighting) bool {
	laterPiece := s.h.Layers.Has(packet.LayerFragment) && s.h.FragmentOffset > 0
	return c.tracks(s) && !laterPiece && c.silence(s.point.Namespace) == "" && (!c.hasConntrack || c.flowThrough > s.time) && c.lostFlows.since(s.time-relearn) == 0
}

// wouldTranslate reports whether the namespace's rules translate the source of
// packets that begin a flow like this one.
func (c *Correlator) wouldTranslate(s *sighting, before []sighting) bool {
	rules := c.rulesets[s.point.Namespace]
	if rules == nil {
		return false
	}
	p := netfilter.Packet{Tuple: s.tuple, OutLink: s.link.name, LocalAddress: s.space.has, MarkKnown: !rules.SetsMarks()}
	for i := len(before) - 1; i >= 0 && p.InLink == ""; i-- {
		if b := &before[i]; b.point.Namespace == s.point.Namespace && b.point.Direction == capture.In {
			p.InLink = c.hosts.layer3(b.link)
		}
	}
	if p.InLink == "" {
		return false // it did not come from a container by way of this host
	}
	return rules.NAT(netfilter.Postrouting, p).Certainty == netfilter.Covered
}
