package trace

import (
	"slices"

	"natlens/capture/packet"
)

// A program can hand over several datagrams in one packet (UDP_SEGMENT, udp(7)),
// which is cut where a link can't do it, and a link can merge datagrams that come
// in (Documentation/networking/segmentation-offloads.rst). All but the last are of
// one size. Unlike TCP's segments they have no sequence numbers: their place is
// told by the identification, which counts up, or, where they have none, by their
// order at a point.

// etherMTU is what an Ethernet link takes. A datagram in one packet that is larger
// and no fragment is to be cut, or was merged.
const etherMTU = 1500

// isTrain reports whether the packet holds several datagrams, or may.
func isTrain(h *packet.Headers) bool {
	return h.Layers.Has(packet.LayerUDP) && !h.Layers.Has(packet.LayerFragment) && h.Length > etherMTU
}

// train remembers the last such packets of one direction of a flow.
type train struct {
	recent [16]handle
	next   int
	used   int64
}

func (c *Correlator) rememberTrain(h handle, s *sighting) {
	key := streamKey(s)
	t := c.parts.trains[key]
	if t == nil {
		t = &train{}
		c.parts.trains[key] = t
	}
	t.recent[t.next%len(t.recent)] = h
	t.next++
	t.used = s.time
}

// findTrain returns the open journey of the larger packet that a datagram was cut
// from, and sets the datagram's extent.
func (c *Correlator) findTrain(s *sighting) (best int32, found *entry) {
	if len(c.parts.trains) == 0 || !s.h.Layers.Has(packet.LayerUDP) || s.extent.kind != extentAll {
		return 0, nil
	}
	keys := [2]packet.Tuple{streamKey(s), s.tuple}
	for i, key := range keys {
		if i > 0 && key == keys[0] {
			break
		}
		st := c.parts.trains[key]
		if st == nil {
			continue
		}
		for n := range st.recent { // oldest first
			h := st.recent[(st.next+n)%len(st.recent)]
			e := c.live(h)
			if e == nil || found != nil && found.id < e.id {
				continue
			}
			x, ok := e.place(s)
			if !ok {
				continue
			}
			piece := *s
			piece.extent = x
			if f, used := c.fits(e, &piece); !used && f > fitGuess {
				best, found, s.extent = h.index, e, x
			}
		}
	}
	return best, found
}

// place is where in the larger packet a datagram stands that was cut from it.
func (e *entry) place(s *sighting) (x extent, ok bool) {
	train := e.hops[0].h
	all, size := train.PayloadLength, s.h.PayloadLength
	n, filled, each := uint32(0), uint32(0), size
	for i := range e.hops {
		if h := &e.hops[i]; h.extent.kind == extentSegment && h.point == s.point {
			if n++; h.extent.begin == 0 {
				each = h.extent.end
			}
			filled = max(filled, h.extent.end)
		}
	}
	if size == 0 || size >= all {
		return extent{}, false
	}
	begin := filled
	if ahead := uint32(s.h.IPID - train.IPID); s.h.Layers.Has(packet.LayerIPv4) && (ahead != 0 || n == 0) {
		if begin = ahead * each; n == 0 && begin+size > all {
			// It can be the last, where no tap saw the others.
			if begin = all - size; begin%ahead != 0 || begin/ahead < size {
				return extent{}, false
			}
		}
	}
	last := begin+size == all
	if begin+size > all || size > each || size < each && !last {
		return extent{}, false
	}
	return extent{extentSegment, begin, begin + size}, true
}

// findMerged returns the journeys of the datagrams that a larger packet was merged
// from.
func (c *Correlator) findMerged(s *sighting) []handle {
	if !isTrain(s.h) {
		return nil
	}
	type part struct {
		handle
		e *entry
	}
	var parts []part
	for _, st := range []state{statePending, stateTerminal} {
		queued := c.settling[st-1].all()
		for i := len(queued) - 1; i >= 0 && i >= len(queued)-lookBack; i-- {
			h := handle{queued[i].index, queued[i].generation}
			e := c.live(h)
			if e == nil || e.state != st || slices.ContainsFunc(parts, func(p part) bool { return p.e == e }) {
				continue
			}
			first := e.hops[0].h
			if !first.Layers.Has(packet.LayerUDP) || first.Layers.Has(packet.LayerFragment) || first.PayloadLength >= s.h.PayloadLength {
				continue
			}
			if f, used := c.fits(e, s); !used && f > fitGuess {
				parts = append(parts, part{h, e})
			}
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return int(a.e.hops[0].time - b.e.hops[0].time) })
	for begin := range parts {
		first := parts[begin].e.hops[0].h
		if first.Layers.Has(packet.LayerIPv4) && first.IPID != s.h.IPID {
			continue
		}
		var covered []handle
		sum := uint32(0)
		for _, p := range parts[begin:] {
			h := p.e.hops[0].h
			if h.PayloadLength > first.PayloadLength || h.Layers.Has(packet.LayerIPv4) && h.IPID != first.IPID && h.IPID != first.IPID+uint16(len(covered)) {
				break
			}
			covered = append(covered, p.handle)
			if sum += h.PayloadLength; sum >= s.h.PayloadLength || h.PayloadLength < first.PayloadLength {
				break
			}
		}
		if sum == s.h.PayloadLength {
			return covered
		}
	}
	return nil
}
