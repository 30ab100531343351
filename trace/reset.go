package trace

import (
	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// isReset reports whether the packet ends a connection of TCP at once.
func isReset(h *packet.Headers) bool {
	return h.Layers.Has(packet.LayerTCP) && h.TCPFlags&packet.RST != 0
}

// resetBy finds the journey that a reset answers which this namespace itself sent, by a
// rule that rejects so (--reject-with tcp-reset): it bears the addresses of whom the
// packet was for, and comes at once. The journey ends there. A reset of a program, which
// got the packet, ends nothing.
func (c *Correlator) resetBy(e *entry, s *sighting) {
	if s.point.Direction != capture.Out || c.foreign || !c.droppers[s.point.Namespace].came {
		return
	}
	queued := c.settling[statePending-1].all()
	for i := len(queued) - 1; i >= 0 && i >= len(queued)-lookBack; i-- {
		about := c.live(handle{queued[i].index, queued[i].generation})
		if about == nil || about == e || about.state != statePending || !about.layers().Has(packet.LayerTCP) {
			continue
		}
		hops := about.hops()
		last := &hops[len(hops)-1]
		if last.point.Namespace != s.point.Namespace || last.point.Direction != capture.In || s.time < last.time || !resets(s.h, last.h) {
			continue
		}
		if !about.seenInverse(&s.tuple) {
			continue
		}
		if r, ok := c.rule(hops); ok && r.turnsAway().Verdict == netfilter.Rejected {
			e.also().errorAbout = about.id
			c.endBy(about, e, s, queued[i].index)
		}
		return
	}
}

// seenInverse reports whether the packet was seen with the addresses of one that
// answers it.
func (e *entry) seenInverse(answer *packet.Tuple) bool {
	for i := range e.hops() {
		if e.hops()[i].tuple.Inverse() == *answer {
			return true
		}
	}
	return false
}

// resets reports whether a reset is about that segment, by its numbers (RFC 9293, section
// 3.10.7.1; nf_reject_ip_tcphdr_put in net/ipv4/netfilter/nf_reject_ipv4.c).
func resets(reset, about *packet.Headers) bool {
	if about.TCPFlags&packet.ACK != 0 {
		return reset.TCPSeq == about.TCPAck
	}
	next := about.TCPSeq + about.PayloadLength
	for _, flag := range []uint8{packet.SYN, packet.FIN} {
		if about.TCPFlags&flag != 0 {
			next++
		}
	}
	return reset.TCPAck == next
}
