package trace

import (
	"fmt"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// leakFix is what keeps such packets in.
func leakFix(h *packet.Headers) string {
	program := "iptables"
	if h.Layers.Has(packet.LayerIPv6) {
		program = "ip6tables"
	}
	return "known fix: " + program + " -I FORWARD -m conntrack --ctstate INVALID -j DROP (Docker's issue: moby/moby 18630)"
}

// invalid says of a packet without an entry what makes connection tracking refuse
// such packets (net/netfilter/nf_conntrack_proto_tcp.c, _udp.c).
func invalid(h *packet.Headers) string {
	switch h.Tuple.Protocol {
	case packet.TCP:
		return "INVALID, as a late FIN or RST is"
	case packet.UDP:
		return "INVALID, as one with a wrong checksum is"
	}
	return "INVALID"
}

// leak puts into v that a packet left by an uplink with an address of one of this
// host's containers that NAT should have replaced, and why NAT did not: the
// kernel translates only what connection tracking accepts. Two things prove it:
// the packet's flow is translated there, or there is a rule that translates such
// packets and no flow that would except this one. So it is never said of networks
// without masquerade, of routed ones, or of links that stand on the uplink. fix is
// what keeps such packets in; empty when nothing leaked, or no fix is known.
func (c *Correlator) leak(v *Verdict, hops []sighting) (fix string) {
	if c.foreign {
		return "" // no rules, no namespaces
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
			if become != source {
				reason = fmt.Sprintf("connection tracking found it INVALID, so it is not translated; its flow's other packets become %v", become)
			}
		case isLaterPiece(s.h):
		default:
			in := c.cameIn(s, hops[:i])
			ruled, exempt := in != nil && c.wouldTranslate(s, in), in != nil && c.exempted(in) == netfilter.True
			if ruled && exempt {
				v.Leak, v.Reason = true, "a rule takes it out of connection tracking (notrack), so it is not translated"
				return ""
			}
			if m := c.zoneMiss(in); m.flow.flow != nil && !m.flow.about && (ruled || m.flow.flow.direction(m.flow.reply).after.Source() != source) {
				v.Leak, v.Reason = true, c.misplaced(in, m)
				return "" // what keeps INVALID packets in puts none into a zone
			}
			if r := c.lapsed(s); r.flow != nil && !exempt && (ruled || neverBegins(s.h)) {
				if become := r.flow.direction(r.reply).after.Source(); become != source {
					reason = fmt.Sprintf("its conntrack entry, which made the source %v, was gone by then, so it is INVALID and not translated", become)
					break
				}
			}
			if ruled && c.uncovered(in) {
				reason = "connection tracking has no entry for it (" + invalid(s.h) + "), so it is not translated"
			}
		}
		if reason != "" {
			v.Leak, v.Reason = true, reason
			return leakFix(s.h)
		}
	}
	return ""
}

// cameIn returns where a packet that goes out at s came into that namespace; nil
// when it was not seen to, as of what the namespace itself sends.
func (c *Correlator) cameIn(s *sighting, before []sighting) *sighting {
	for i := len(before) - 1; i >= 0; i-- {
		if b := &before[i]; b.point.Namespace == s.point.Namespace && b.point.Direction == capture.In && c.hosts.layer3(b.link) != "" {
			return b
		}
	}
	return nil
}

// isLaterPiece reports a fragment that has no ports.
func isLaterPiece(h *packet.Headers) bool {
	return h.Layers.Has(packet.LayerFragment) && h.FragmentOffset > 0
}

// uncovered reports whether connection tracking is known to have no entry for a
// packet that belongs to no flow.
func (c *Correlator) uncovered(s *sighting) bool {
	return c.tracks(s) && !isLaterPiece(s.h) && c.silence(s) == ""
}

// wouldTranslate reports whether the namespace's rules translate the source of
// packets that begin a flow like the one that came in there and goes out at s.
func (c *Correlator) wouldTranslate(s, in *sighting) bool {
	rules := c.rulesets[s.point.Namespace]
	if rules == nil {
		return false
	}
	p := netfilter.Packet{
		Tuple: s.tuple, InLink: c.hosts.layer3(in.link), OutLink: s.link.name, LocalAddress: s.space.has, MarkKnown: !rules.SetsMarks(), Time: s.time,
	}
	return rules.NAT(netfilter.Postrouting, p).Certainty == netfilter.Covered
}
