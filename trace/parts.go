package trace

import (
	"math"
	"math/rand/v2"
	"slices"

	"natlens/capture/packet"
)

// A datagram need not be one packet everywhere. It travels in fragments and is
// whole where somebody reassembles it (RFC 791, RFC 8200); a segment larger than
// the link is cut just before it is sent, and segments are merged as they come
// in (Documentation/networking/segmentation-offloads.rst). One journey holds all
// of it: its pieces are hops that cover a part.

// extent is the part of a datagram that a sighting covers: bytes behind the IP
// header for fragments, sequence numbers for TCP data, bytes of the payload for what
// was cut from a larger UDP packet, and all otherwise.
type extent struct {
	kind       extentKind
	begin, end uint32
}

type extentKind uint8

const (
	extentAll extentKind = iota
	extentFragment
	extentStream
	extentSegment // of a larger UDP packet
)

// extentOf reads the extent from the headers.
func extentOf(h *packet.Headers) extent {
	switch {
	case h.Layers.Has(packet.LayerFragment):
		begin := uint32(h.FragmentOffset)
		size := h.PayloadLength
		if h.TransportOffset != 0 && h.FragmentOffset == 0 {
			size += uint32(h.PayloadOffset - h.TransportOffset)
		}
		return extent{extentFragment, begin, begin + size}
	case h.Layers.Has(packet.LayerTCP) && h.PayloadLength > 0:
		return extent{extentStream, h.TCPSeq, h.TCPSeq + h.PayloadLength}
	}
	return extent{}
}

// meets reports whether two extents have bytes in common.
func (x extent) meets(y extent) bool {
	if x.kind != y.kind || x.kind == extentAll {
		return true // one of them is the whole
	}
	return before(y.begin, x.end) && before(x.begin, y.end)
}

// handle is an entry that may have been reused since.
type handle struct {
	index      int32
	generation uint32
}

// stream remembers the last journeys with data of one direction of a
// connection, to find those that a piece or a merged segment covers.
type stream struct {
	end  uint32 // where the data ends that was remembered so far
	next uint32
	used int64
	// forgotten: it was idle, and can't be found any more.
	forgotten bool
	key       packet.Tuple
	recent    [64]carrier // of 1448 bytes, 45 are merged into one packet
}

// carrier is a journey and what it carries of a stream.
type carrier struct {
	handle
	extent extent
}

const (
	// keepStream is how long a stream is remembered after its last data.
	keepStream = 5e9
	// maxStreams is how many are remembered at once, of each kind: senders that
	// make up their addresses make any number of them.
	maxStreams = 1 << 14
)

// stalest returns one that has not been used for long: of a few, for to look at all
// would take long, too.
func stalest[K comparable, V interface{ lastUsed() int64 }](all map[K]V) (key K) {
	const few = 8
	n, least := 0, int64(math.MaxInt64)
	for k, v := range all {
		if used := v.lastUsed(); used < least {
			key, least = k, used
		}
		if n++; n == few {
			break
		}
	}
	return key
}

func (st *stream) lastUsed() int64 { return st.used }
func (t *train) lastUsed() int64   { return t.used }

// parts finds the journeys of datagrams that are not whole everywhere.
type parts struct {
	datagrams map[pieceKey][]handle
	whole     newest             // of IPv6 datagrams in fragments
	streams   map[uint64]*stream // by the hash of their keys
	trains    map[packet.Tuple]*train
	controls  map[controlKey]control
	stakes    []stake // to the sighting that is being joined
	forsaken  int64   // the time of the newest piece that was let go before its time; 0: none
	seed      uint64
}

func newParts() parts {
	return parts{
		datagrams: map[pieceKey][]handle{},
		streams:   map[uint64]*stream{},
		trains:    map[packet.Tuple]*train{},
		controls:  map[controlKey]control{},
		seed:      rand.Uint64(),
	}
}

// stream returns that of the key, or nil.
func (p *parts) stream(key *packet.Tuple) *stream {
	if st := p.streams[key.Hash(p.seed)]; st != nil && st.key == *key {
		return st
	}
	return nil
}

// newest are the journeys that were added last.
type newest struct {
	recent []handle
	next   int
}

func (n *newest) add(h handle) {
	if len(n.recent) < maxWhole {
		n.recent = append(n.recent, h)
		return
	}
	n.recent[n.next%maxWhole] = h
	n.next++
}

// live returns the entry of a handle, or nil when it has been let go.
func (c *Correlator) live(h handle) *entry {
	if c.slab.generations[h.index] != h.generation {
		return nil
	}
	return c.slab.at(h.index)
}

// findStream returns the journeys whose data a TCP segment covers in part: the
// larger one that it was cut from, or the smaller ones that were merged. Where
// there is none, resends is a journey that began at the same point with the same
// data.
func (c *Correlator) findStream(s *sighting, t *trail) (found []handle, resends uint64) {
	if s.extent.kind != extentStream {
		return nil, 0
	}
	if st := t.data(); st != nil && !before(s.extent.begin, st.end) {
		return nil, 0 // most segments are behind all others
	}
	stakes := c.parts.stakes[:0]
	keys := [2]packet.Tuple{streamKey(s), s.tuple}
	for i, key := range keys {
		if i > 0 && key == keys[0] {
			break
		}
		st := c.parts.stream(&key)
		if st == nil || !before(s.extent.begin, st.end) {
			continue // most segments are behind all others
		}
		for k := range st.recent {
			r := &st.recent[k]
			if r.extent.kind == extentAll || !r.extent.meets(s.extent) {
				continue
			}
			e := c.live(r.handle)
			if e == nil || !e.hops()[0].extent.meets(s.extent) {
				continue
			}
			f, used := c.fits(e, s)
			if !used && f <= fitGuess {
				continue
			}
			stakes = append(stakes, stake{handle: r.handle, entry: e, stream: st, extent: r.extent, used: used})
			switch {
			case !used && before(st.end, s.extent.end):
				st.end = s.extent.end
			case used && e.hops()[0].point == s.point && e.hops()[0].extent.begin == s.extent.begin && e.hops()[0].h.TCPFlags&^packet.PSH == s.h.TCPFlags&^packet.PSH:
				resends = e.id
			}
		}
	}
	c.parts.stakes = stakes
	return c.award(stakes, s), resends
}

// streamKey is the connection's tuple before translation, where that is known.
func streamKey(s *sighting) packet.Tuple {
	if s.flow.flow != nil {
		return s.flow.flow.direction(s.flow.reply).before
	}
	return s.tuple
}

// remember makes a journey findable by its parts.
func (c *Correlator) remember(h handle, s *sighting, t *trail) {
	switch {
	case s.extent.kind == extentFragment:
		if c.rememberDatagram(pieceKey{s.h.Tuple.Protocol, s.h.FragmentID}, h) && s.h.Layers.Has(packet.LayerIPv6) {
			c.parts.whole.add(h)
		}
		return
	case mayBeFragmented(s.h):
		c.rememberDatagram(pieceKey{s.h.Tuple.Protocol, uint32(s.h.IPID)}, h)
	}
	if isTrain(s.h) {
		c.rememberTrain(h, s)
	}
	if s.extent.kind == extentStream {
		c.streamOf(s, t).carry(h, s.extent, s.time)
	}
}

// carry remembers that a journey carries that part, seen at that time.
func (st *stream) carry(h handle, x extent, at int64) {
	if before(st.end, x.end) {
		st.end = x.end
	}
	st.recent[st.next%uint32(len(st.recent))] = carrier{h, x}
	st.next++
	st.used = at
}

// streamOf returns the stream that a segment belongs to. A trail has it at hand where
// one tuple is all that leads to it.
func (c *Correlator) streamOf(s *sighting, t *trail) *stream {
	if st := t.data(); st != nil {
		return st
	}
	key := streamKey(s)
	st := c.parts.stream(&key)
	if st == nil {
		if len(c.parts.streams) >= maxStreams {
			oldest := stalest(c.parts.streams)
			c.parts.streams[oldest].forgotten = true
			delete(c.parts.streams, oldest)
		}
		st = &stream{key: key, end: s.extent.end}
		hash := key.Hash(c.parts.seed)
		if other := c.parts.streams[hash]; other != nil {
			other.forgotten = true
		}
		c.parts.streams[hash] = st
	}
	if t.known() && key == s.tuple {
		t.stream = st
	}
	return st
}

// sweepParts forgets datagrams whose journeys are gone, idle streams, and what is not
// sent again any more.
func (c *Correlator) sweepParts() {
	for key, handles := range c.parts.datagrams {
		kept := handles[:0]
		for _, h := range handles {
			if c.live(h) != nil {
				kept = append(kept, h)
			}
		}
		if len(kept) == 0 {
			delete(c.parts.datagrams, key)
		} else {
			c.parts.datagrams[key] = kept
		}
	}
	for key, st := range c.parts.streams {
		if st.used < c.now-keepStream {
			delete(c.parts.streams, key)
			st.forgotten = true
		}
	}
	for key, t := range c.parts.trains {
		if t.used < c.now-keepStream {
			delete(c.parts.trains, key)
		}
	}
	for key, x := range c.parts.controls {
		if x.used < c.now-keepControl {
			delete(c.parts.controls, key)
		}
	}
}

// Part says which part of a datagram a hop saw.
type Part struct {
	Index  int    // counted from 0 in the order of the bytes
	Of     int    // pieces of the datagram at this point
	Offset uint32 // of its first byte, from the datagram's
}

// partsOf numbers the pieces at each point of a journey; nil where a hop saw all
// of the datagram, alone or merged with others.
func partsOf(hops []sighting) []*Part {
	var all []*Part
	merged := slices.ContainsFunc(hops, func(s sighting) bool { return s.others > 0 })
	for i := range hops {
		s := &hops[i]
		if s.extent.kind == extentAll {
			continue
		}
		p := Part{}
		least, most := s.extent.begin, s.extent.end
		for k := range hops {
			o := &hops[k]
			if o.extent.kind != s.extent.kind {
				continue
			}
			// What is merged is more than this packet, which is as it began.
			if !merged || o.point == hops[0].point {
				least, most = earlier(least, o.extent.begin), later(most, o.extent.end)
			}
			if o.point == s.point {
				p.Of++
				if before(o.extent.begin, s.extent.begin) {
					p.Index++
				}
			}
		}
		if s.extent.begin == least && s.extent.end == most || s.others > 0 {
			continue
		}
		if all == nil {
			all = make([]*Part, len(hops))
		}
		p.Offset = s.extent.begin - least
		all[i] = &p
	}
	return all
}

func earlier(a, b uint32) uint32 {
	if before(b, a) {
		return b
	}
	return a
}

func later(a, b uint32) uint32 {
	if before(a, b) {
		return b
	}
	return a
}

// before compares sequence numbers, which wrap (RFC 9293, section 3.4).
func before(a, b uint32) bool { return int32(a-b) < 0 }
