package text

import (
	"fmt"

	"natlens/capture/packet"
	"natlens/trace"
)

// laterPiece reports whether another hop at the same point stands for this one:
// pieces of a datagram go one way, and the first one's line says how many.
func laterPiece(h *trace.Hop) bool { return h.Part != nil && h.Part.Index > 0 }

// shownFor returns the hop whose line stands for the one with that index: for a later
// piece that is the first one at its point. -1 where there is no such hop.
func (c *card) shownFor(i int) int {
	h := hopAt(c.j, i)
	switch {
	case h == nil:
		return -1
	case c.Verbose || !laterPiece(h):
		return i
	}
	for k := range c.j.Hops {
		if o := &c.j.Hops[k]; o.Point == h.Point && o.Part != nil && o.Part.Index == 0 {
			return k
		}
	}
	return i
}

// part says that a hop saw a piece, and how many there were; or that it was the
// first to see the packet merged with others.
func (c *card) part(h, previous *trace.Hop) string {
	p := h.Part
	switch {
	case previous != nil && h.MergedWith == previous.MergedWith && p == nil:
		return ""
	case h.MergedWith == 1:
		return "merged with 1 other"
	case h.MergedWith > 1:
		return fmt.Sprintf("merged with %d others", h.MergedWith)
	case p == nil:
		return ""
	}
	word := "segment"
	if h.Headers.Layers.Has(packet.LayerFragment) {
		word = "fragment"
	}
	switch {
	case c.Verbose:
		return fmt.Sprintf("%s %d of %d, at %d", word, p.Index+1, p.Of, p.Offset)
	case p.Of == 1:
		return "1 " + word + " of it"
	}
	return fmt.Sprintf("in %d %ss", p.Of, word)
}

// inPieces reports whether any hop saw the datagram in pieces.
func inPieces(j *trace.Journey) bool {
	for i := range j.Hops {
		if j.Hops[i].Part != nil {
			return true
		}
	}
	return false
}

// length returns the bytes of the IP packet: where it was seen whole, at the
// first such hop, else its pieces' together.
func length(j *trace.Journey) uint32 {
	if len(j.Hops) == 0 {
		return 0
	}
	for i := range j.Hops {
		if h := &j.Hops[i]; h.Part == nil && h.MergedWith == 0 {
			return j.Hops[i].Headers.Length
		}
	}
	first := &j.Hops[0]
	sum := first.Headers.Length
	for i := 1; i < len(j.Hops); i++ {
		if h := &j.Hops[i]; h.Point == first.Point {
			sum += h.Headers.Length - uint32(h.Headers.PayloadOffset-h.Headers.NetworkOffset)
		}
	}
	return sum
}
