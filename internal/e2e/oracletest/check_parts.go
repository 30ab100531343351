package oracletest

// checkParts holds what the journey says of pieces, and of packets that were merged,
// against what tcpdump saw at the same place.
func (c *checker) checkParts() {
	for i, s := range c.hops {
		if s == nil {
			continue
		}
		h := &c.journey.Hops[i]
		want := c.packet.part(s)
		switch {
		case want == nil && h.Part != nil:
			c.bad(Parted, "hop %d: piece %+v, which was whole", i, *h.Part)
		case want != nil && h.Part == nil:
			c.bad(Parted, "hop %d: whole, which was piece %+v", i, *want)
		case want != nil && *h.Part != *want:
			c.bad(Parted, "hop %d: piece %+v, want %+v", i, *h.Part, *want)
		}
		if others := len(c.oracle.seen[s.moment()]) - 1; h.Merged != others {
			c.bad(Parted, "hop %d: merged with %d, want %d", i, h.Merged, others)
		}
	}
}

// part is which piece of the packet a sighting shows; nil when it shows all of it, or
// more.
func (p *Packet) part(s *Sighting) *Part {
	begin, whole := p.extent(s)
	if whole {
		return nil
	}
	part := Part{Offset: begin}
	for i := range p.Sightings {
		o := &p.Sightings[i]
		if o.place() != s.place() {
			continue
		}
		if at, whole := p.extent(o); !whole {
			part.Of++
			if at < begin {
				part.Index++
			}
		}
	}
	return &part
}

// extent is where in the packet a sighting begins, in bytes, and whether that is all
// of it.
func (p *Packet) extent(s *Sighting) (begin int, whole bool) {
	switch t := trainOf(s); {
	case s.piece():
		return s.Offset, false
	case s.TCPLength > 0:
		return int(int32(s.TCPSeq - p.begin)), !less(p.begin, s.TCPSeq) && !less(s.TCPSeq+s.TCPLength, p.end)
	case t != nil:
		return (t.n - int(p.begin)) * t.size, uint32(t.n) <= p.begin && t.end(s) >= p.end
	}
	return 0, true
}
