package oracletest

import (
	"fmt"
	"slices"
	"strings"
)

// Train writes the nth of so many datagrams that a program hands over in one packet
// (UDP_SEGMENT, udp(7)): of that size, which must be 64 at least. Its words say to
// which packet it belongs, so that the oracle can tell without any header.
func Train(number, n, of, size int) []byte {
	w := fmt.Appendf(nil, "natlens train %08d, datagram %03d of %03d, %05d bytes ", number, n, of, size)
	for len(w) < size {
		w = append(w, byte('a'+(number+len(w))%26))
	}
	return w[:size]
}

// train is what Train wrote.
type train struct{ number, n, of, size int }

// trainOf reads what a sighting's payload begins with; nil when that is none.
func trainOf(s *Sighting) *train {
	if !strings.HasPrefix(s.payload, "natlens train ") {
		return nil
	}
	var t train
	if n, _ := fmt.Sscanf(s.payload, "natlens train %d, datagram %d of %d, %d bytes", &t.number, &t.n, &t.of, &t.size); n != 4 {
		return nil
	}
	return &t
}

// end is the number behind that of the last datagram that a sighting shows.
func (t *train) end(s *Sighting) uint32 {
	header := 28 // of IPv4 and of UDP
	if s.is6() {
		header = 48
	}
	return uint32(t.n + (s.Length-header+t.size-1)/t.size)
}

// addTrain adds a sighting to the packets that it shows: to the one that was cut, or
// to each of those that were merged.
func (g *grouping) addTrain(id string, t *train, s *Sighting) {
	begin, end := uint32(t.n), t.end(s)
	joined := false
	for _, p := range g.trains[id] {
		if begin < p.end && p.begin < end && !slices.ContainsFunc(p.Sightings, func(o Sighting) bool {
			return o.place() == s.place() && trainOf(&o).n == t.n
		}) {
			p.Sightings = append(p.Sightings, *s)
			joined = true
		}
	}
	if joined {
		return
	}
	p := g.open(s)
	p.begin, p.end = begin, end
	p.Sightings = append(p.Sightings, *s)
	g.trains[id] = append(g.trains[id], p)
}
