package trace

import (
	"fmt"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// lookBack is how many of the newest journeys of each state are asked whether an
// ICMP error is about them. Errors come at once, or when address resolution has
// given up.
const lookBack = 512

// refuse finds the journey that an ICMP error quotes (RFC 792: the header and 8
// bytes of the packet it is about), and ends it if it was still waiting: whoever
// sent the error says why no next hop will come.
func (c *Correlator) refuse(e *entry, s *sighting) {
	for _, st := range []state{statePending, stateTerminal, stateShown} {
		queued := c.settling[st-1].all()
		for i := len(queued) - 1; i >= 0 && i >= len(queued)-lookBack; i-- {
			about := c.live(handle{queued[i].index, queued[i].generation})
			if about == nil || about == e || about.state != st || !about.quotedBy(s.h) {
				continue
			}
			e.also().errorAbout = about.id
			if st == statePending && ends(s.h) {
				c.endBy(about, e, s, queued[i].index)
			}
			return
		}
	}
}

// endBy ends a journey, which has that index, by the packet that told of it: the first
// sighting of e.
func (c *Correlator) endBy(about, e *entry, s *sighting, index int32) {
	kept := *s.h
	also := about.also()
	also.refusal, also.refusedBy = &kept, e.id
	c.strange(&about.hops()[len(about.hops())-1])
	about.state, about.deadline = stateTerminal, max(s.time, c.now)+settleTerminal
	c.settling[stateTerminal-1].push(timer{index, about.generation, about.deadline})
}

// ends reports the errors whose sender has let go of the packet that they quote. With
// a redirect it was passed on; a source quench (4) may only be a warning (RFC 792).
func ends(h *packet.Headers) bool {
	return h.Layers.Has(packet.LayerIPv6) || h.ICMPType != 4 && h.ICMPType != 5
}

// quotedBy reports whether the error's quotation is of this packet, as one of
// its hops saw it. IPv4 packets of one flow differ by their identification.
func (e *entry) quotedBy(h *packet.Headers) bool {
	for i := range e.hops() {
		s := &e.hops()[i]
		if s.tuple == h.Quoted && (h.QuotedID == 0 || s.h.IPID == h.QuotedID) {
			return true
		}
	}
	return false
}

// refused is the verdict of a journey that an ICMP error ended, with what was seen of
// the reason where the sender of the error is the namespace it was seen in last: the
// rule that rejected it, or that it could not be sent on.
func (c *Correlator) refused(e *entry, hops []sighting) Verdict {
	at := len(hops) - 1
	told := e.has()
	from := told.refusal.Tuple.Source()
	v := Verdict{
		Result: Dropped, Hop: at, Evidence: ByReply,
		Reason: fmt.Sprintf("%s, says %v (#%d)", told.refusal.ICMPName(), from, told.refusedBy),
	}
	reset := told.refusal.Layers.Has(packet.LayerTCP)
	if reset {
		v.Reason = fmt.Sprintf("reset in the name of %v (#%d)", from, told.refusedBy)
	}
	s := &hops[at]
	if c.foreign || !reset && !ofRules(told.refusal) {
		return v
	}
	r, ruled := c.rule(hops)
	r = r.turnsAway()
	// What the family bridge rejects is told in the name of whom it was for
	// (net/bridge/netfilter/nft_reject_bridge.c), and so is every reset.
	if own := s.space.has(from) || reset; ruled && r.Verdict == netfilter.Rejected && (own || r.ofFrame()) {
		said := v.Reason
		c.sentence(s, &r, &v)
		v.Reason = said
		return v
	} else if s.point.Direction != capture.In || !own || reset || !unreachable(told.refusal) {
		return v
	}
	if why := c.unresolved(s); why != "" {
		v.Reason += ": " + why
		return v
	}
	if ruled && r.decision.Fate == netinfo.FateRefused && c.stood(s, r.query, r.decision) {
		by, why := c.routing(s).Refuses(r.query, r.decision)
		if v.By = by; why != "" {
			v.Reason += ": " + why
		}
	} else if to := c.behind(s); c.wayTo(s, to).none {
		v.Reason += fmt.Sprintf(": %s has no route to %v", s.space.name, to)
	}
	return v
}

// ofRules reports the errors that a rule can send (ipt_REJECT.c, ip6t_REJECT.c and
// nf_reject_ipv4.c in net/ipv4/netfilter, and nft_reject.c). That a packet is too large
// or too old is found before any rule of forward is asked.
func ofRules(h *packet.Headers) bool {
	if h.Layers.Has(packet.LayerIPv6) {
		return h.ICMPType == 1
	}
	return h.ICMPType == 3 && h.ICMPCode != 4
}

// unreachable reports the errors by which the kernel tells that it knows no route, that
// one prohibits it, or that it knows no MAC address of the next hop (ip_error and
// ipv4_link_failure in net/ipv4/route.c, ip6_link_failure and ip6_pkt_drop in
// net/ipv6/route.c). Rules send such errors, too.
func unreachable(h *packet.Headers) bool {
	if h.Layers.Has(packet.LayerIPv6) {
		return h.ICMPType == 1 && (h.ICMPCode <= 1 || h.ICMPCode == 3)
	}
	return h.ICMPType == 3 && (h.ICMPCode <= 1 || h.ICMPCode == 13)
}
