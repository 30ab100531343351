package oracletest

import "testing"

// pieces are a datagram of two fragments, and data that is cut where it leaves after it
// was merged with more.
func pieces(six bool) *scene {
	s := newScene()
	s.flow("udp", 4000, 0)
	s.flow("tcp", 5000, 0)
	for _, words := range []string{"a long question", "the next one of"} { // no header tells them apart in IPv6
		first, second := question(4000, 0, words), question(4000, 0, "its end")
		if six {
			first.Source.IP, first.Dest.IP = back6, world6
			second.Source.IP, second.Dest.IP = back6, world6
		}
		first.Length, first.More = 1500, true
		second.Source.Port, second.Dest.Port, second.Length, second.Offset = 0, 0, 100, 1480
		places := leaving[:3] // as a bridge does that nothing is tracked on
		id := uint32(len(s.journeys))
		first.fragmentID, second.fragmentID = id, id
		if !six {
			first.IPID, second.IPID = uint16(id)+1, uint16(id)+1
			first.fragmentID, second.fragmentID = id+1, id+1
		}
		j := s.tell(s.packet(places, first), s.packet(places, second))
		for i := range j.Hops {
			j.Hops[i].Part = &Part{Index: i / 3, Of: 2, Offset: i / 3 * 1480}
		}
		j.Hops[3].From = new(0)
		j.Verdict.Result, j.Verdict.At = "vanished", 2.0
		if six {
			j.Direction = "none"
		}
	}
	data := func(seq, length uint32) Sighting {
		return Sighting{Protocol: tcp, Source: Address{back, 5000}, Dest: Address{world, 53}, IPID: uint16(seq / 1000), Length: int(52 + length),
			TCPSeq: seq, TCPLength: length, TCPAck: 1}
	}
	// 1000 to 3000 and 3000 to 4000 are merged at the bridge, and cut at the uplink.
	one, two := s.packet(leaving[:2], data(1000, 2000)), s.packet(leaving[:2], data(3000, 1000))
	merged := s.packet(leaving[2:3], data(1000, 3000))
	end := [][]Sighting{s.packet(leaving[3:], data(1000, 1000)), s.packet(leaving[3:], data(2000, 1000)), s.packet(leaving[3:], data(3000, 1000))}
	j := s.tell(one, merged, end[0], end[1])
	j.Hops[2].Merged = 1
	j.Hops[3].Part, j.Hops[4].Part, j.Hops[4].From = &Part{0, 2, 0}, &Part{1, 2, 1000}, new(2)
	j.Verdict.At = nil
	*j = between(*j, 2, 3)
	j = s.tell(two, merged, end[2])
	j.Hops[2].Merged = 1
	*j = between(*j, 2, 3)
	s.sightings = s.sightings[:len(s.sightings)-2] // what was merged was seen once
	s.sightings = append(s.sightings, end[2]...)
	return s
}

// between is the journey with one translation, there.
func between(j Journey, before, after int) Journey {
	j.Translations = j.Translations[:1]
	j.Translations[0].Between = [2]*int{&before, &after}
	j.Verdict.At = float64(after)
	return j
}

func TestPartsAreJudged(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(j []Journey)
		want  []Fault
	}{
		"nothing":                   {func([]Journey) {}, nil},
		"another number":            {func(j []Journey) { j[0].Hops[4].Part.Index = 0 }, []Fault{Parted}},
		"another sum":               {func(j []Journey) { j[0].Hops[1].Part.Of = 3 }, []Fault{Parted}},
		"another place in the data": {func(j []Journey) { j[2].Hops[4].Part.Offset = 99 }, []Fault{Parted}},
		"no piece":                  {func(j []Journey) { j[2].Hops[3].Part = nil }, []Fault{Parted}},
		"whole":                     {func(j []Journey) { j[2].Hops[0].Part = &Part{0, 1, 0} }, []Fault{Parted}},
		"not merged":                {func(j []Journey) { j[3].Hops[2].Merged = 0 }, []Fault{Parted}},
		"merged with two":           {func(j []Journey) { j[3].Hops[2].Merged = 2 }, []Fault{Parted}},
		"merged with one":           {func(j []Journey) { j[3].Hops[0].Merged = 1 }, []Fault{Parted}},
		"another fragment's offset": {func(j []Journey) { j[0].Hops[3].Part.Offset = 1400 }, []Fault{Joined, Split}},
		"a fragment of another datagram": {func(j []Journey) {
			a, b := j[0].Hops, j[1].Hops
			a[4], b[4] = b[4], a[4]
		}, []Fault{Joined, Split}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, six := range []bool{false, true} {
				s := pieces(six)
				c.spoil(s.journeys)
				s.expectFaults(t, c.want...)
			}
		})
	}
}
