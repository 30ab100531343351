package trace

import "natlens/capture/packet"

// Where TCP's packets are cut or merged, they are followed by the bytes that they
// carry. Several open journeys can carry the same: what was lost is sent again, and not
// always in packets of the same size. Then a piece, or what was merged, is of one of
// them alone.

// stake is the claim of a journey to a sighting with bytes which it carries.
type stake struct {
	handle
	entry  *entry
	stream *stream
	extent extent // of the journey's bytes
	used   bool   // it was seen with those bytes at that point already
	proof  proof
}

// proof says how much speaks for a claim, least first.
type proof uint8

const (
	proofAgainst  proof = iota // its headers are another's
	proofNone                  // nothing does, nor against it
	proofCourse                // it was seen merged just so, or passed there until that byte
	proofMultiple              // its identification fits, if several segments stay together
	proofNumber                // its identification is that of its place among the segments
)

// award returns whose the sighting is. Where nothing else tells, it is of those that
// began last: they send again what is taken to be lost. That it may have been late
// instead is said, unless what was sent meanwhile came on before.
func (c *Correlator) award(stakes []stake, s *sighting) (found []handle) {
	rivals := contested(stakes)
	if rivals {
		for i := range stakes {
			stakes[i].proof = c.prove(stakes[i].entry, s)
		}
	}
	for i := range stakes {
		x := &stakes[i]
		if !x.used && (!rivals || c.prevails(x, stakes, s)) {
			found = append(found, x.handle)
		}
	}
	return found
}

// contested reports whether several may claim the same bytes. In their order those that
// were merged follow each other.
func contested(stakes []stake) bool {
	for i := 1; i < len(stakes); i++ {
		if before(stakes[i].extent.begin, stakes[i-1].extent.end) {
			return true
		}
	}
	return false
}

// prevails reports whether no other claim to the same bytes is better. Those that are
// as good are in doubt with it.
func (c *Correlator) prevails(x *stake, stakes []stake, s *sighting) bool {
	for i := range stakes {
		if y := &stakes[i]; y.entry != x.entry && y.extent.meets(x.extent) && y.beats(x) {
			return false
		}
	}
	for i := range stakes {
		y := &stakes[i]
		switch {
		case y.entry == x.entry || y.proof != x.proof || !y.extent.meets(x.extent):
		case y.used && x.younger(y):
			// What was to be passed there once was, and that is its own.
		case y.used:
			c.share([]*entry{x.entry, y.entry}, &doubt{bytes: true, why: "both passed " + s.linkName() + ", which first is not known"})
		case !c.overtaken(y, x, s):
			c.share([]*entry{y.entry, x.entry}, &doubt{bytes: true, why: y.entry.silent(s)})
		}
	}
	return true
}

// beats reports whether the claim is better than another. What passed there already
// claims nothing more, but an identification tells that it passed twice.
func (x *stake) beats(y *stake) bool {
	if x.proof != y.proof {
		return x.proof > y.proof && (!x.used || x.proof >= proofMultiple)
	}
	return !x.used && x.younger(y)
}

// younger reports whether it began later.
func (x *stake) younger(y *stake) bool {
	if a, b := x.entry.began(), y.entry.began(); a != b {
		return a > b
	}
	return x.entry.id > y.entry.id
}

// overtaken reports whether data that was sent behind the old packet, and before it was
// sent again, came to that point before: as queues keep order, the old one never will.
func (c *Correlator) overtaken(old, again *stake, s *sighting) bool {
	for i := range old.stream.recent {
		r := &old.stream.recent[i]
		if r.extent.kind == extentAll || r.extent.meets(old.extent) {
			continue
		}
		e := c.live(r.handle)
		if e == nil || e.began() <= old.entry.began() || e.began() >= again.entry.began() {
			continue
		}
		steps := e.steps
		passed := e.seenAt(s.point, nil)
		e.fold(steps)
		if passed {
			return true
		}
	}
	return false
}

// prove says how much speaks for it that the sighting is of the journey, by what the
// kernel leaves alone where it cuts (tcp_gso_segment in net/ipv4/tcp_offload.c), and asks
// for where it merges (tcp_gro_receive): what is acknowledged, and the options.
func (c *Correlator) prove(e *entry, s *sighting) proof {
	hops := e.hops()
	first := &hops[0]
	if first.h.TCPAck != s.h.TCPAck || !sameOptions(first.h, e.data(), s.h, c.judged) || e.rare != nil && e.rare.refusal != nil {
		return proofAgainst
	}
	if p := identified(first, s); p != proofNone {
		return p
	}
	for i := range hops {
		h := &hops[i]
		switch later := s.time - h.time; {
		case h.point != s.point && h.extent == s.extent && h.others > 0,
			h.point == s.point && h.extent.end == s.extent.begin && later >= 0 && later < comesOn:
			return proofCourse
		}
	}
	return proofNone
}

// sameOptions reports whether TCP's options do not differ, as far as both are known.
func sameOptions(h *packet.Headers, a []byte, g *packet.Headers, b []byte) bool {
	const fixed = 20 // RFC 9293, section 3.1
	from, to := int(h.TransportOffset)+fixed, int(h.PayloadOffset)
	size := int(g.PayloadOffset) - int(g.TransportOffset) - fixed
	if to-from != size {
		return false
	}
	at := int(g.TransportOffset) + fixed
	return from > len(a) || at > len(b) || sameBytes(a[from:min(to, len(a))], 0, b[at:min(at+size, len(b))])
}

// identified says what the identifications of two packets tell, of which one is to be a
// part of the other. The kernel counts up from segment to segment (inet_gso_segment in
// net/ipv4/af_inet.c), and merges those that do so, or that all bear the same and may
// not be fragmented (inet_gro_receive).
func identified(a, b *sighting) proof {
	if !a.h.Layers.Has(packet.LayerIPv4) || !b.h.Layers.Has(packet.LayerIPv4) {
		return proofNone
	}
	if before(b.extent.begin, a.extent.begin) {
		a, b = b, a
	}
	ahead, behind := uint32(b.h.IPID-a.h.IPID), b.extent.begin-a.extent.begin
	switch {
	case ahead == 0 && a.h.IPID == 0:
		return proofNone
	case ahead == 0 && (behind == 0 || a.h.DF && b.h.DF):
		return proofNumber
	case ahead == 0 || behind == 0 || behind%ahead != 0:
		return proofAgainst
	}
	each, size := behind/ahead, b.extent.end-b.extent.begin
	last := !before(b.extent.end, a.extent.end)
	switch {
	case size == each || size < each && last:
		return proofNumber
	case size%each == 0 || size > each && last:
		return proofMultiple
	}
	return proofAgainst
}
