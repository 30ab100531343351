package trace

import (
	"bytes"
	"cmp"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
)

// pieceKey names a fragmented datagram at one place: the identification is its
// sender's, who may be any router that fragmented it again. Several that are under
// way can have one: senders count by themselves, and IPv4 has only 65536.
type pieceKey struct {
	protocol packet.Protocol
	id       uint32
}

// piece is a part that was seen of a packet: a fragment, or a datagram that was cut
// from a larger packet.
type piece struct {
	extent      extent
	fingerprint uint64
}

const (
	// maxSameID is how many journeys of one identification are asked whose a piece
	// is. Senders choose it, so that there could be any number.
	maxSameID = 32
	// maxWhole is among how many journeys of IPv6 fragments, the newest, that of a
	// packet is looked for which has no identification, or another one.
	maxWhole = 128
	// maxPieceHops is how many hops a journey in pieces can have: the largest
	// datagram, in pieces for links of 576 bytes, has about 120 at each point.
	// What a hop costs grows with the number of those before it.
	maxPieceHops = 1024
)

// findDatagram returns the journey of a fragment, or of a packet that may have
// been reassembled from fragments. A piece whose sibling was seen at the same
// point belongs with it; it has no ports, so it takes its sibling's tuple and
// flow. No identification joins what differs in its bytes.
func (c *Correlator) findDatagram(s *sighting, o *capture.Observation) (best int32, found *entry) {
	if s.extent.kind != extentFragment && len(c.parts.datagrams) == 0 {
		return 0, nil
	}
	var top claim
	var full []handle
	guesses := 0
	try := func(h handle) {
		e := c.live(h)
		if e == nil || c.another(e, s) {
			return
		}
		if e.length() >= maxPieceHops {
			full = append(full, h)
			return
		}
		if !e.mayBeWhole(s, o) {
			return
		}
		cl := c.claimOf(e, s, o.Fingerprint)
		if cl.fit == fitNone {
			return
		}
		if cl.fit.guessed() {
			guesses++
		}
		if n := cl.compare(&top); found == nil || n > 0 || n == 0 && e.id < found.id {
			top, best, found = cl, h.index, e
		}
	}
	switch {
	case s.extent.kind == extentFragment:
		for _, h := range c.parts.datagrams[pieceKey{s.h.Tuple.Protocol, s.h.FragmentID}] {
			try(h)
		}
		if found == nil && s.h.Layers.Has(packet.LayerIPv6) && s.h.FragmentOffset == 0 {
			return c.findRefragmented(s, o)
		}
	case s.h.Layers.Has(packet.LayerIPv4):
		for _, h := range c.parts.datagrams[pieceKey{s.h.Tuple.Protocol, uint32(s.h.IPID)}] {
			try(h)
		}
	default:
		// A whole IPv6 packet has no identification: its length must be that
		// of the pieces together.
		for _, h := range c.parts.whole.recent {
			if e := c.live(h); e != nil && e.hops()[0].h.Tuple.Protocol == s.h.Tuple.Protocol && e.reassembled() == wholeLength(s.h) {
				try(h)
			}
		}
	}
	if found == nil {
		for _, h := range full {
			c.giveUp(h)
		}
		return 0, nil
	}
	if top.fit.guessed() && guesses > 1 {
		return 0, nil
	}
	if top.sibling != nil && isLaterPiece(s.h) {
		s.tuple, s.flow = top.sibling.tuple, top.sibling.flow
	}
	if top.fit.guessed() {
		found.inferred = true
		if c.foreign {
			c.inferFlow(found, s)
		}
	}
	return best, found
}

// claim is what speaks for a fragment's being of a datagram.
type claim struct {
	fit fit
	// same: the same piece was seen elsewhere, byte for byte as far as those count.
	same    bool
	sibling *sighting // the piece before it, or another one, at the same point
	next    bool      // it is the one before
}

// compare says which of two claims is better. Pieces of a datagram are sent one
// behind the other (ip_do_fragment), so that of siblings the latest counts.
func (c *claim) compare(d *claim) int {
	switch {
	case (c.sibling != nil) != (d.sibling != nil):
		return number(c.sibling != nil) - number(d.sibling != nil)
	case c.same != d.same:
		return number(c.same) - number(d.same)
	case c.next != d.next:
		return number(c.next) - number(d.next)
	case c.sibling != nil:
		return cmp.Compare(c.sibling.time, d.sibling.time)
	}
	return cmp.Compare(c.fit, d.fit)
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *Correlator) claimOf(e *entry, s *sighting, fingerprint uint64) (cl claim) {
	cl.same = slices.Contains(e.has().pieces, piece{s.extent, fingerprint})
	if s.extent.kind == extentFragment {
		if cl.sibling = c.sibling(e, s); cl.sibling != nil {
			cl.fit, cl.next = fitStamp, cl.sibling.extent.end == s.extent.begin
			return cl
		}
	}
	f, used := c.fits(e, s)
	if used || f == fitDoubt || f.guessed() && isLaterPiece(s.h) {
		return claim{} // a later piece has no ports to guess by
	}
	cl.fit = f
	return cl
}

// mayBeWhole reports whether the sighting can show the journey's datagram, or a part
// of it, as its bytes and lengths tell. Two that differ nowhere need one of them in
// pieces: what is whole twice has the same fingerprint, and is found by that.
func (e *entry) mayBeWhole(s *sighting, o *capture.Observation) bool {
	begin, end, last := s.extent.begin, s.extent.end, !s.h.MoreFragments
	if s.extent.kind != extentFragment {
		if len(e.has().pieces) == 0 {
			return false
		}
		begin, end = 0, wholeLength(s.h)
	}
	if size := e.datagramSize(); size != 0 && (end > size || last != (end == size)) {
		return false
	}
	if last && slices.ContainsFunc(e.has().pieces, func(p piece) bool { return p.extent.end > end }) || e.differs(piece{s.extent, o.Fingerprint}) {
		return false
	}
	return begin > 0 || e.beginsLike(o)
}

// differs reports whether the same part was seen elsewhere with other bytes.
func (e *entry) differs(p piece) bool {
	return slices.ContainsFunc(e.has().pieces, func(o piece) bool { return o.extent == p.extent && o.fingerprint != p.fingerprint })
}

// datagramSize is how many bytes of the datagram are behind its IP header; 0 while
// neither all of it nor its last piece was seen.
func (e *entry) datagramSize() uint32 {
	for i := range e.hops() {
		if h := &e.hops()[i]; h.extent.kind != extentFragment {
			return wholeLength(h.h)
		}
	}
	return e.reassembled()
}

// beginsLike reports whether the observation, which shows a datagram's beginning,
// has the bytes with which the journey's begins, as far as both are known.
func (e *entry) beginsLike(o *capture.Observation) bool {
	const enough = 32
	first := e.hops()[0].h // e.data() is of it
	if isLaterPiece(first) || int(first.PayloadOffset) > len(e.data()) {
		return true
	}
	if first.ICMPType != o.Headers.ICMPType || first.ICMPSeq != o.Headers.ICMPSeq {
		return false
	}
	a, b := first.Payload(e.data()), o.Headers.Payload(o.Data)
	n := min(len(a), len(b), enough)
	begin := 0
	if first.Layers&(packet.LayerTCP|packet.LayerUDP|packet.LayerICMP) == 0 {
		begin = min(n, 12) // of a header that NAT may change (SCTP's is the longest)
	}
	return bytes.Equal(a[begin:n], b[begin:n])
}

// findRefragmented returns the journey of a datagram's first piece that somebody
// made who had reassembled it: IPv6 fragments get a new identification then
// (net/ipv6/ip6_output.c, ip6_fragment) and may be cut at other places, so that
// only the flow and the datagram's beginning are left to go by. Where two such
// datagrams are under way, which it is can't be told.
func (c *Correlator) findRefragmented(s *sighting, o *capture.Observation) (best int32, found *entry) {
	for _, h := range c.parts.whole.recent {
		e := c.live(h)
		if e == nil || e == found || e.hops()[0].h.Tuple.Protocol != s.h.Tuple.Protocol || c.another(e, s) || !e.beginsLike(o) {
			continue
		}
		if f, used := c.fits(e, s); used || f <= fitGuess {
			continue
		}
		if found != nil {
			return 0, nil
		}
		best, found = h.index, e
	}
	return best, found
}

// another reports whether the journey is sure to be another packet's: at the
// sighting's point it had other addresses.
func (c *Correlator) another(e *entry, s *sighting) bool {
	first := &e.hops()[0]
	if first.point != s.point || c.foreign && s.point.Ifindex == 0 {
		return false
	}
	a, b := &first.h.Tuple, &s.h.Tuple
	return a.Destination16() != b.Destination16() || a.Source() != b.Source()
}

// giveUp shows a journey that is in too many pieces as it stands, and forgets it.
func (c *Correlator) giveUp(h handle) {
	e := c.live(h)
	if e == nil {
		return // it was among them twice: once for each identification that it had
	}
	c.parts.forsake(e)
	if e.state != stateShown {
		c.counters.Evicted++
		c.settle(h.index, e, "it is in too many pieces to wait for the next")
	}
	c.drop(h.index)
}

// reassembled returns how many bytes the pieces at one point make together,
// which is known once the last one was seen; 0 before.
func (e *entry) reassembled() uint32 {
	for i := range e.hops() {
		if h := &e.hops()[i]; h.extent.kind == extentFragment && !h.h.MoreFragments {
			return h.extent.end
		}
	}
	return 0
}

// wholeLength is what the fragments of the packet would make together.
func wholeLength(h *packet.Headers) uint32 {
	if h.TransportOffset == 0 {
		return h.PayloadLength
	}
	return uint32(h.PayloadOffset-h.TransportOffset) + h.PayloadLength
}

// sibling returns another piece of the datagram at the sighting's point: the one
// before it, else the latest.
func (c *Correlator) sibling(e *entry, s *sighting) (found *sighting) {
	again := false
	for i := range e.hops() {
		h := &e.hops()[i]
		if h.point != s.point || h.h.FragmentID != s.h.FragmentID || !h.h.Layers.Has(packet.LayerFragment) {
			continue
		}
		if h.h.Tuple.Source() != s.h.Tuple.Source() || h.h.Tuple.Destination() != s.h.Tuple.Destination() {
			continue
		}
		if h.extent.meets(s.extent) {
			if again = again || c.anonymous(e, s); again {
				continue
			}
			return nil // it was here already
		}
		if found == nil || found.extent.end != s.extent.begin {
			found = h
		}
	}
	return found
}

// rememberDatagram makes a journey findable by an identification, and reports
// whether it was not before. Of too many with one the oldest is let go.
func (c *Correlator) rememberDatagram(key pieceKey, h handle) (added bool) {
	all := c.parts.datagrams[key]
	if slices.Contains(all, h) {
		return false
	}
	if len(all) >= maxSameID {
		all = slices.DeleteFunc(all, func(h handle) bool { return c.live(h) == nil })
	}
	if len(all) >= maxSameID {
		c.letGo(all[0].index, c.live(all[0]))
		all = slices.Delete(all, 0, 1)
	}
	c.parts.datagrams[key] = append(all, h)
	return true
}

// mayBeFragmented reports whether a router with a smaller link ahead would cut
// the packet: it is large and allows it. Most senders forbid it.
func mayBeFragmented(h *packet.Headers) bool {
	const everyLinkTakes = 576 // RFC 791, section 3.1
	return h.Layers.Has(packet.LayerIPv4) && !h.DF && h.IPID != 0 && h.Length > everyLinkTakes
}
