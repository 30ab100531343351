package trace

import (
	"cmp"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// What comes in pieces is put together where connections are tracked, behind the tap and
// before any rule of IP (NF_IP_PRI_CONNTRACK_DEFRAG; nf_defrag_ipv4.c,
// nf_defrag_ipv6_hooks.c). So it is the whole datagram that rules, NAT and programs get:
// with ports, and all of its bytes.

// reassembled returns a journey's hops as what stands behind their taps sees them: pieces
// that are put together there as the whole datagram, each in its place. Only what is in
// pieces is changed, in a copy.
func (c *Correlator) reassembled(e *entry, hops []sighting) []sighting {
	if c.foreign || e.rare == nil || len(e.rare.pieces) == 0 {
		return hops
	}
	whole := slices.Clone(hops)
	for i := range whole {
		if c.defragments(&hops[i]) {
			c.assemble(e.id, &whole[i], hops)
		}
	}
	return whole
}

// defragments reports whether the sighting is of a piece of a datagram that connection
// tracking puts together behind that tap.
func (c *Correlator) defragments(s *sighting) bool {
	if s.extent.kind != extentFragment || s.point.Direction != capture.In || s.link == nil || !c.tracks(s) {
		return false
	}
	// What a bridge passes on by itself is put together for bridge netfilter alone.
	return s.link.master == (netinfo.LinkKey{}) || c.rulesets[s.point.Namespace].SeesBridged(s.h.Tuple.Is4()) == netfilter.True
}

// assemble makes of a piece the datagram, as far as pieces were seen where it was; it
// stays what it is where the first was not.
func (c *Correlator) assemble(journey uint64, s *sighting, hops []sighting) {
	pieces := piecesAt(s, hops)
	first := pieces[0]
	if first.extent.begin != 0 {
		return
	}
	h := *first.h
	h.Layers &^= packet.LayerFragment
	h.MoreFragments = s.h.MoreFragments // of the piece in whose place it is
	if !lacks(pieces) {
		more := sizeOf(pieces) - first.extent.end
		h.Length += more
		h.PayloadLength += more
		if h.Layers.Has(packet.LayerIPv6) {
			h.Length -= fragmentHeader
		}
	} else {
		h.Length = 0 // not known
	}
	s.h, s.tuple, s.flow = &h, first.tuple, first.flow
	if s.flow.flow != nil {
		return
	}
	// A flow begins when the last piece has come, which can be after the first was judged.
	s.flow = c.trackedAs(first)
	if r := s.flow; r.mayBegin(first.time) {
		r.flow.begin(journey, first.h)
	}
}

// fragmentHeader is the length of that of IPv6 (RFC 8200, section 4.5).
const fragmentHeader = 8

// composed reports whether the sighting is of pieces put together.
func (s *sighting) composed() bool {
	return s.extent.kind == extentFragment && !s.h.Layers.Has(packet.LayerFragment)
}

// inPieces reports whether what stands before IP's own rules sees less than s shows: a
// later piece, or one of several.
func (s *sighting) inPieces() bool { return isLaterPiece(s.h) || s.composed() }

// piecesAt returns the pieces of a datagram that were seen where one was, in the order of
// their bytes.
func piecesAt(s *sighting, hops []sighting) (pieces []*sighting) {
	for i := range hops {
		h := &hops[i]
		if h.point == s.point && h.extent.kind == extentFragment && h.h.FragmentID == s.h.FragmentID {
			pieces = append(pieces, h)
		}
	}
	slices.SortStableFunc(pieces, func(a, b *sighting) int { return cmp.Compare(a.extent.begin, b.extent.begin) })
	return pieces
}

// sizeOf is how many bytes the whole has; 0 where its last piece is not among them.
func sizeOf(pieces []*sighting) uint32 {
	for _, p := range pieces {
		if !p.h.MoreFragments {
			return p.extent.end
		}
	}
	return 0
}

// gaps are the bytes between pieces that none of them has.
func gaps(pieces []*sighting) (all []extent) {
	end := uint32(0)
	for _, p := range pieces {
		if p.extent.begin > end {
			all = append(all, extent{extentFragment, end, p.extent.begin})
		}
		end = max(end, p.extent.end)
	}
	return all
}

// lacks reports whether the pieces are not all of a datagram.
func lacks(pieces []*sighting) bool { return sizeOf(pieces) == 0 || len(gaps(pieces)) > 0 }
