package trace

import "natlens/netinfo/netfilter"

// find returns the walk of the packet that enters a base chain: the one whose id
// the kernel gives again, if it can be; else of those that look alike one that is
// known to be of the same flow, and then the newest.
func (s *walkSpace) find(key walkKey, h *netfilter.Hit) (best *walk) {
	if w := s.byTrace[h.Trace]; h.Trace != 0 && w != nil && w.key == key && w.sameFlow(h.Packet) >= 0 {
		return w
	}
	for _, w := range s.byKey[key] {
		if same := w.sameFlow(h.Packet); same >= 0 && (best == nil || same >= best.sameFlow(h.Packet)) {
			best = w
		}
	}
	return best
}

// sameFlow compares what the kernel says of two packets' conntrack entries: 1 when
// it is the same and its direction, -1 when it is not, 0 when either is not told.
func (w *walk) sameFlow(p *netfilter.TracedPacket) int {
	switch {
	case !w.tracked || !p.Tracked:
		return 0
	case w.flow == p.FlowID && w.reply == p.Reply:
		return 1
	}
	return -1
}

// track notes the conntrack entry of a walk's packet, once there is one.
func (w *walk) track(p *netfilter.TracedPacket) {
	if p.Tracked {
		w.tracked, w.flow, w.reply = true, p.FlowID, p.Reply
	}
}

// ofFlow compares a walk's conntrack entry with a sighting's: 1 when the kernel
// gives both the same id, -1 when not, 0 when it gives none. That they differ
// excludes nothing: of two packets that begin a flow at once, one ends up in the
// entry of the other (clash resolution), behind all rules.
func (w *walk) ofFlow(r flowRef) int {
	switch {
	case !w.tracked || r.flow == nil || r.flow.inferred:
		return 0
	case w.flow == r.flow.ID && w.reply == r.reply:
		return 1
	}
	return -1
}
