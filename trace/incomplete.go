package trace

import (
	"fmt"

	"natlens/capture"
	"natlens/netinfo"
)

// Pieces that nothing completes are kept where they would be put together, and dropped
// when the kernel has waited long enough. No rule has a part in that.

// incompleteness is whether pieces of a datagram are missing where it is put together.
type incompleteness uint8

const (
	complete   incompleteness = iota // or it is not put together there
	incomplete                       // not all came
	notAllSeen                       // the same, or some were not seen
)

const (
	// pieceMemory is how long before a piece others of its datagram may have come, unseen.
	pieceMemory = 1e9
	// maxGapsNamed is how many of the gaps between pieces are said.
	maxGapsNamed = 3
)

// completeness says whether all pieces were seen of a datagram that is to be put together
// behind the tap of s, which is one of its journey's hops and shows a piece.
func (c *Correlator) completeness(e *entry, s *sighting, hops []sighting) incompleteness {
	if !c.putsTogether(s) {
		return complete
	}
	pieces := piecesAt(s, hops)
	if !lacks(pieces) {
		return complete
	}
	began := hops[0].time
	if c.lostRing.since(began) > 0 || !s.space.watched(began-pieceMemory) || e.has().duplicateOf != 0 ||
		began < c.parts.forsaken+pieceMemory || c.piecesElsewhere(e, s) {
		return notAllSeen
	}
	return incomplete
}

// putsTogether reports whether the kernel waits for the other pieces behind that tap: for
// connection tracking, or for a program of the namespace.
func (c *Correlator) putsTogether(s *sighting) bool {
	if s.extent.kind != extentFragment || c.foreign || s.link == nil || s.point.Direction != capture.In || tagOf(s) != 0 {
		return false
	}
	switch {
	case s.link.master != (netinfo.LinkKey{}):
		return c.defragments(s)
	case s.typ != capture.Host:
		return false
	}
	return c.defragments(s) || s.space.hasDestination(&s.tuple)
}

// piecesElsewhere reports whether another journey has pieces that may be of the same
// datagram.
func (c *Correlator) piecesElsewhere(e *entry, s *sighting) bool {
	for _, h := range c.parts.datagrams[pieceKey{s.h.Tuple.Protocol, s.h.FragmentID}] {
		other := c.live(h)
		if other == nil || other == e {
			continue
		}
		for i := range other.hops() {
			o := &other.hops()[i]
			if o.point == s.point && o.extent.kind == extentFragment &&
				o.h.Tuple.Source() == s.h.Tuple.Source() && o.h.Tuple.Destination() == s.h.Tuple.Destination() {
				return true
			}
		}
	}
	return false
}

// awaitsPieces reports whether a journey came to its end, but not with all of its pieces.
func (c *Correlator) awaitsPieces(e *entry) bool {
	if e.rare == nil || len(e.rare.pieces) == 0 {
		return false
	}
	hops := e.hops()
	c.inOrder(hops)
	hops = c.reassembled(e, hops)
	s := &hops[len(hops)-1]
	result, _ := c.end(s)
	return result == Delivered && c.completeness(e, s, hops) == incomplete
}

// forsake notes that a journey is let go, whose pieces others may miss.
func (p *parts) forsake(e *entry) {
	if e.rare != nil && len(e.rare.pieces) > 0 {
		p.forsaken = max(p.forsaken, e.lastSeen())
	}
}

// lacking reports whether a datagram was last seen in pieces of which some are missing,
// and puts that into v.
func (c *Correlator) lacking(e *entry, hops []sighting, v *Verdict) bool {
	s := &hops[len(hops)-1]
	switch c.completeness(e, s, hops) {
	case notAllSeen:
		v.Result, v.Reason = Unfinished, "unknown: not all of its pieces were seen"
	case incomplete:
		wait, setting := 30, "net.ipv4.ipfrag_time"
		if !s.h.Tuple.Is4() {
			wait, setting = 60, "net.ipv6.ip6frag_time"
			if c.defragments(s) {
				setting = "net.netfilter.nf_conntrack_frag6_timeout"
			}
		}
		v.Reason = fmt.Sprintf("%s: the kernel waits %d s for the rest (%s), then drops what came", missingPieces(piecesAt(s, hops)), wait, setting)
	case complete:
		return false
	}
	return true
}

// missingPieces says which bytes of a datagram none of the pieces has. They are counted
// from 0 behind its IP header.
func missingPieces(pieces []*sighting) string {
	came := "only one of its pieces came"
	if len(pieces) > 1 {
		came = fmt.Sprintf("only %d of its pieces came", len(pieces))
	}
	var missing []string
	for i, g := range gaps(pieces) {
		if i == maxGapsNamed {
			missing = append(missing, "others")
			break
		}
		missing = append(missing, fmt.Sprintf("bytes %d to %d", g.begin, g.end-1))
	}
	if sizeOf(pieces) == 0 {
		missing = append(missing, fmt.Sprintf("all behind byte %d", lastOf(pieces)))
	}
	if len(missing) == 1 && sizeOf(pieces) == 0 {
		return came + ", " + missing[0] + " is missing"
	}
	return came + ", " + list(missing) + " are missing"
}

// lastOf is the last byte that any of the pieces has.
func lastOf(pieces []*sighting) (last uint32) {
	for _, p := range pieces {
		last = max(last, p.extent.end-1)
	}
	return last
}
