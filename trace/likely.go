package trace

import (
	"fmt"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// likely puts the first two of some causes into words, the likeliest first. None of
// them is known to be so; empty ones are left out.
func likely(causes ...string) string {
	var first string
	for _, cause := range causes {
		switch {
		case cause == "":
		case first == "":
			first = cause
		default:
			return fmt.Sprintf("likely %s, or %s", first, cause)
		}
	}
	return "likely " + first
}

// neverArrived explains a packet that went out by a link whose other end is watched
// and did not show it.
func (c *Correlator) neverArrived(s *sighting, r *ruling) string {
	const backlog = "the queue of what comes in was full (net.core.netdev_max_backlog)"
	far := c.hosts.farSide(s.link)
	switch {
	case far != nil:
		down := "its end of the link is down or gone"
		if l := c.hosts.topology.Link(s.link.peer); l != nil && l.Up {
			down = "its end of the link went away just then"
			return fmt.Sprintf("never arrived at %s: %s", far.name, likely(backlog, down))
		}
		return fmt.Sprintf("never arrived at %s: %s", far.name, likely(down, backlog))
	case s.link != nil && s.link.bridge:
		rule := "a rule for bridged frames dropped it"
		switch {
		case r.Verdict == netfilter.Accepted && r.standing:
			rule = "a queue of that port was full"
		case r.UnsureRule != nil:
			rule += fmt.Sprintf(" (%s #%d can't be evaluated, for %s)", r.UnsureRule.Chain, r.UnsureRule.Position, r.Unsure)
		}
		return fmt.Sprintf("never arrived at the other end: %s", likely(s.link.name+" has no port that forwards to its MAC address", rule))
	}
	return "never arrived at the other end: " + likely(backlog, "the link went away just then")
}

// notSentOn names the likeliest causes for a packet that came in, that no rule drops
// for sure, and that was not seen again.
func (c *Correlator) notSentOn(s *sighting, r *ruling) string {
	var rule, queue, address, forward, source string
	switch {
	case r.UnsureRule != nil && r.Verdict == "":
		rule = fmt.Sprintf("a rule that can't be evaluated, for %s (%s #%d)", r.Unsure, r.UnsureRule.Chain, r.UnsureRule.Position)
	case r.Verdict == "" && r.Unsure != "":
		rule = "a rule (" + r.Unsure + ")"
	case r.Verdict == "":
		rule = "a rule"
	}
	out := "the link that it was to leave by"
	if r.link != "" {
		out = r.link
	}
	queue = "a queue or traffic control (tc) of " + out
	address = "the MAC address of its next hop, which nobody was seen to ask for"
	if c.acrossPorts(s) {
		return likely(rule, c.noPort(s), "a queue of that port")
	}
	if s.flow.flow == nil && r.decision.Fate == netinfo.FateUnknown {
		// Others of its flow were not seen to go this way.
		forward = fmt.Sprintf("%s passes nothing on (%s)", s.space.name, forwarding(s.tuple))
		if s.tuple.Is4() {
			source = "its source is not believed on " + s.linkName() + " (rp_filter)"
		}
	}
	return likely(r.stop, c.tooLarge(s, r), rule, forward, source, queue, address)
}

func forwarding(t packet.Tuple) string {
	if t.Is4() {
		return "net.ipv4.ip_forward"
	}
	return "net.ipv6.conf.all.forwarding"
}

// tooLarge says that a packet is larger than the link takes by which it was to leave,
// and must not be cut; empty when it is not, or that is not known. One that is larger
// than the link takes by which it came is several in one, cut as late as can be.
func (c *Correlator) tooLarge(s *sighting, r *ruling) string {
	n := c.hosts.topology.Namespace(s.point.Namespace)
	if n == nil || r.link == "" || s.tuple.Is4() && !s.h.DF || s.others > 0 || s.h.Layers.Has(packet.LayerTCP) {
		return "" // large segments are cut as late as possible
	}
	came := c.hosts.topology.Link(netinfo.LinkKey{Namespace: s.point.Namespace, Index: s.point.Ifindex})
	if came == nil || s.h.Length > uint32(came.MTU) {
		return ""
	}
	for _, l := range n.Links {
		if l.Name == r.link && l.MTU > 0 && s.h.Length > uint32(l.MTU) {
			return fmt.Sprintf("it is too large for %s (%d bytes, MTU %d) and must not be cut", l.Name, s.h.Length, l.MTU)
		}
	}
	return ""
}
