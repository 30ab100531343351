package filter

import (
	"encoding/binary"
	"strconv"
)

// captured is some bytes that journeys do not keep of every hop: behind the header,
// or at a place that the packet itself tells, as tcp[12] tells where TCP's data
// begins. They are known at the first hop only, as far as they were captured and the
// journey has them (trace.Journey.Data).
type captured struct {
	header header
	offset value
	size   uint8 // 1, 2 or 4
}

func (c captured) value(s sighting) (uint32, bool) {
	if s.hop == nil || s.hop != &s.journey.Hops[0] {
		return 0, false
	}
	if _, ok := c.header.image(&s); !ok {
		return 0, false
	}
	offset, ok := c.offset.value(s)
	if !ok {
		return 0, false
	}
	data, begin := s.journey.Data, uint64(offset)
	switch c.header {
	case etherHeader:
	case ipHeader, ip6Header:
		begin += uint64(s.headers.NetworkOffset)
	default:
		if s.headers.TransportOffset == 0 {
			return 0, false
		}
		begin += uint64(s.headers.TransportOffset)
	}
	end := begin + uint64(c.size)
	if end > uint64(len(data)) || end > uint64(s.headers.NetworkOffset)+uint64(s.headers.Length) { // a link's padding is none of it
		return 0, false
	}
	switch b := data[begin:end]; c.size {
	case 1:
		return uint32(b[0]), true
	case 2:
		return uint32(binary.BigEndian.Uint16(b)), true
	default:
		return binary.BigEndian.Uint32(b), true
	}
}

func (c captured) kinds() kindSet {
	return field{header: c.header}.kinds().intersection(c.offset.kinds())
}

func (c captured) String() string {
	s := kept[c.header].name + "[" + c.offset.String()
	if c.size > 1 {
		s += ":" + strconv.Itoa(int(c.size))
	}
	return s + "]"
}
