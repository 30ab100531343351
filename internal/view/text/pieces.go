package text

import (
	"fmt"

	"natlens/capture/packet"
	"natlens/trace"
)

// laterPiece reports whether another hop at the same point stands for this one:
// pieces of a datagram go one way, and the first one's line says how many.
func laterPiece(h *trace.Hop) bool { return h.Part != nil && h.Part.Index > 0 }

// part says that a hop saw a piece, and how many there were.
func (c *card) part(h *trace.Hop) string {
	p := h.Part
	if p == nil {
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
		return "in 1 " + word
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
		if j.Hops[i].Part == nil {
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
