package trace

import (
	"bytes"
	"cmp"
	"iter"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
)

// A program can hand over several datagrams in one packet (UDP_SEGMENT, udp(7)),
// which is cut where a link can't do it, and a link can merge datagrams that come
// in (Documentation/networking/segmentation-offloads.rst). All but the last are of
// one size. Unlike TCP's segments they have no sequence numbers: their place is
// told by the identification, which counts up, or, where they have none, by their
// order at a point. What is known of the bytes must be the same.

// etherMTU is what an Ethernet link takes. A datagram in one packet that is larger
// and no fragment is to be cut, or was merged. One that is not larger may be, too.
const etherMTU = 1500

// lookNear is how many of the newest journeys of each state are asked whether a
// packet of at most etherMTU was cut from them, or merged: only what nothing else
// explains asks, and that follows at once.
const lookNear = 128

// isDatagram reports whether the packet holds one datagram of UDP or several.
func isDatagram(l packet.Layers) bool {
	return l.Has(packet.LayerUDP) && !l.Has(packet.LayerFragment)
}

// isTrain reports whether the packet must hold several datagrams.
func isTrain(h *packet.Headers) bool { return isDatagram(h.Layers) && h.Length > etherMTU }

// cameHere reports whether the packet was somewhere else before, and was to be seen
// there: it came over a veth whose other end is watched, or up to a bridge, or goes
// out with a source that is not of this namespace, or is translated already.
func cameHere(s *sighting) bool {
	switch {
	case s.link == nil || s.space.own == nil:
		return false
	case s.point.Direction == capture.In:
		return s.link.bridge || s.link.far.watched(s.time)
	case s.flow.flow != nil && s.flow.form == formAfter:
		return true
	}
	return !s.space.has(s.tuple.Source())
}

// nearby are the open journeys of datagrams that began last, newest first.
func (c *Correlator) nearby(most int) iter.Seq2[handle, *entry] {
	return func(yield func(handle, *entry) bool) {
		for _, st := range []state{statePending, stateTerminal} {
			queued := c.settling[st-1].all()
			for i := len(queued) - 1; i >= 0 && i >= len(queued)-most; i-- {
				e := c.turn(st, queued[i])
				if e != nil && isDatagram(e.layers()) && !yield(handle{queued[i].index, e.generation}, e) {
					return
				}
			}
		}
	}
}

// sameBytes reports whether what is known of two payloads does not differ, of which
// b begins at that byte of a.
func sameBytes(a []byte, begin uint32, b []byte) bool {
	if uint64(begin) >= uint64(len(a)) {
		return true
	}
	n := min(len(a)-int(begin), len(b))
	return bytes.Equal(a[begin:][:n], b[:n])
}

// payload is what is kept of the first sighting's.
func (e *entry) payload() []byte {
	h := e.hops()[0].h
	if int(h.PayloadOffset) > len(e.data()) {
		return nil
	}
	return h.Payload(e.data())
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
		if len(c.parts.trains) >= maxStreams {
			delete(c.parts.trains, stalest(c.parts.trains))
		}
		t = &train{}
		c.parts.trains[key] = t
	}
	t.recent[t.next%len(t.recent)] = h
	t.next++
	t.used = s.time
}

// findTrain returns the open journey of the larger packet that a datagram was cut
// from, and sets the datagram's extent.
func (c *Correlator) findTrain(s *sighting, payload []byte, fingerprint uint64) (best int32, found *entry) {
	if !isDatagram(s.h.Layers) || s.extent.kind != extentAll {
		return 0, nil
	}
	try := func(h handle, e *entry) {
		if found != nil && found.id < e.id {
			return // the oldest, as queues keep order
		}
		x, ok := e.place(s)
		if !ok || !sameBytes(e.payload(), x.begin, payload) || e.differs(piece{x, fingerprint}) {
			return
		}
		part := *s
		part.extent = x
		if f, used := c.fits(e, &part); !used && f > fitGuess {
			best, found, s.extent = h.index, e, x
		}
	}
	keys := [2]packet.Tuple{streamKey(s), s.tuple}
	for i, key := range keys {
		if len(c.parts.trains) == 0 || i > 0 && key == keys[0] {
			break
		}
		if t := c.parts.trains[key]; t != nil {
			for _, h := range t.recent {
				if e := c.live(h); e != nil {
					try(h, e)
				}
			}
		}
	}
	switch {
	case found != nil || s.point.Direction == capture.In && s.typ != capture.UnknownType:
		return best, found
	case c.foreign:
		return c.inferTrain(s, payload)
	case !cameHere(s):
		return best, found
	}
	for h, e := range c.nearby(lookNear) {
		if first := e.hops()[0].h; first.Length <= etherMTU && first.PayloadLength > s.h.PayloadLength {
			try(h, e)
		}
	}
	if found != nil {
		c.rememberTrain(handle{best, found.generation}, s) // for those that follow
	}
	return best, found
}

// inferTrain does what findTrain does where packets are all that is known: the first of
// the datagrams begins as the larger packet does. Where that is true of several flows'
// packets, none is taken.
func (c *Correlator) inferTrain(s *sighting, payload []byte) (best int32, found *entry) {
	var part extent
	several := false
	for h, e := range c.nearby(lookNear) {
		if e.hops()[0].h.IPID != s.h.IPID || len(payload) == 0 {
			continue
		}
		x, ok := e.place(s)
		if !ok || x.begin != 0 || !sameBytes(e.payload(), 0, payload) {
			continue
		}
		piece := *s
		piece.extent = x
		if f, used := c.fits(e, &piece); used || f <= fitDoubt {
			continue
		}
		several = several || found != nil && found.hops()[0].tuple != e.hops()[0].tuple
		if found == nil || e.id < found.id {
			best, found, part = h.index, e, x
		}
	}
	if found == nil || several {
		return 0, nil
	}
	s.extent, found.inferred = part, true
	c.inferFlow(found, s)
	c.rememberTrain(handle{best, found.generation}, s)
	return best, found
}

// place is where in the larger packet a datagram stands that was cut from it.
func (e *entry) place(s *sighting) (x extent, ok bool) {
	train := e.hops()[0].h
	all, size := train.PayloadLength, s.h.PayloadLength
	n, filled, each := uint32(0), uint32(0), size
	for i := range e.hops() {
		if h := &e.hops()[i]; h.extent.kind == extentSegment && h.point == s.point {
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
func (c *Correlator) findMerged(s *sighting, payload []byte) []handle {
	most := lookBack
	switch {
	case isTrain(s.h):
	case isDatagram(s.h.Layers) && (c.foreign || cameHere(s)):
		most = lookNear
	default:
		return nil
	}
	type part struct {
		handle
		e *entry
	}
	var parts []part
	for h, e := range c.nearby(most) {
		if e.hops()[0].h.PayloadLength >= s.h.PayloadLength || slices.ContainsFunc(parts, func(p part) bool { return p.e == e }) {
			continue
		}
		if f, used := c.fits(e, s); !used && f > fitGuess {
			parts = append(parts, part{h, e})
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.e.began(), b.e.began()) })
	for begin := range parts {
		first := parts[begin].e.hops()[0].h
		if first.Layers.Has(packet.LayerIPv4) && first.IPID != s.h.IPID {
			continue
		}
		var covered []handle
		sum := uint32(0)
		for _, p := range parts[begin:] {
			h := p.e.hops()[0].h
			if h.PayloadLength > first.PayloadLength || h.Layers.Has(packet.LayerIPv4) && h.IPID != first.IPID && h.IPID != first.IPID+uint16(len(covered)) ||
				!sameBytes(payload, sum, p.e.payload()) {
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
