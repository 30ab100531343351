package oracletest

import (
	"fmt"
	"slices"
	"time"
)

// Packet is what the oracle says of one packet: its sightings in the order of
// their time, and its conntrack entry. A datagram in pieces, and a TCP segment
// that is cut on its way, is one packet.
type Packet struct {
	Sightings []Sighting
	Entry     *Entry // nil where nothing is tracked
	Reply     bool
	// About: it is an ICMP error about a packet of Entry; Reply is the
	// direction in which the error itself travels.
	About bool
	// Ambiguous: packets that look the same were seen in different numbers at
	// different places, so that nobody can tell which of them was lost.
	Ambiguous bool

	begin, end uint32 // sequence numbers of TCP data
	baseID     uint16
}

// Pieces reports whether any sighting shows less than the whole packet.
func (p *Packet) Pieces() bool {
	for i := range p.Sightings {
		s := &p.Sightings[i]
		if s.piece() || s.TCPLength > 0 && (s.TCPSeq != p.begin || s.TCPSeq+s.TCPLength != p.end) {
			return true
		}
	}
	return false
}

// flow is a direction of a conntrack entry.
type flow struct {
	entry *Entry
	reply bool
	about bool
}

// Oracle knows all packets that passed.
type Oracle struct {
	Packets []*Packet
	byPoint map[point][]*Packet
	flows   map[tuple][]flow
	inside  map[tuple][]flow
}

// NewOracle groups sightings into packets. What makes two sightings one packet:
// the same flow and direction by conntrack's word (or, where nothing is
// tracked, the same addresses), and
//
//   - for pieces of a datagram the same identification (RFC 791),
//   - for TCP data, sequence numbers of which one sighting has all of the
//     other's, with an identification not further on than segments cut from one
//     buffer have,
//   - else the same numbers and the same payload; and when that fits several,
//     the same place in the order at each point.
//
// Entries are the host's; inside are those of containers that track by
// themselves, which tell of packets that the host has no entry for. Packets
// first seen before since are left out.
func NewOracle(entries, inside []Entry, sightings []Sighting, since int64) *Oracle {
	o := &Oracle{byPoint: map[point][]*Packet{}, flows: flowsOf(entries), inside: flowsOf(inside)}
	slices.SortStableFunc(sightings, func(a, b Sighting) int { return int(a.Time - b.Time) })
	wholePieces(sightings)
	g := grouping{oracle: o, cut: map[datagram]bool{}, datagrams: map[datagram]*Packet{}, streams: map[string][]*Packet{},
		turns: map[string]map[place]int{}, alike: map[string][]*Packet{}}
	for i := range sightings {
		if s := &sightings[i]; s.piece() {
			g.cut[datagram{g.way(s), s.IPID}] = true
		}
	}
	for i := range sightings {
		g.add(&sightings[i])
	}
	g.doubt()
	o.Packets = slices.DeleteFunc(o.Packets, func(p *Packet) bool { return p.Sightings[0].Time < since })
	for _, p := range o.Packets {
		for i := range p.Sightings {
			at := p.Sightings[i].point()
			if !slices.Contains(o.byPoint[at], p) {
				o.byPoint[at] = append(o.byPoint[at], p)
			}
		}
	}
	return o
}

// flowsOf finds entries by every tuple that their packets can carry.
func flowsOf(entries []Entry) map[tuple][]flow {
	numbers := map[string]int{"icmp": 1, "tcp": 6, "udp": 17}
	flows := map[tuple][]flow{}
	for i := range entries {
		e := &entries[i]
		add := func(source, dest Address, id int, reply bool) {
			k := tuple{numbers[e.Protocol], source, dest, id}
			if n := len(flows[k]); n == 0 || flows[k][n-1].entry != e {
				flows[k] = append(flows[k], flow{entry: e, reply: reply})
			}
		}
		before, after := e.Original, [2]Address{e.Reply[1], e.Reply[0]}
		add(before[0], before[1], e.ICMP[0], false)
		add(after[0], after[1], e.ICMP[1], false)
		add(e.Reply[0], e.Reply[1], e.ICMP[1], true)
		add(before[1], before[0], e.ICMP[0], true)
		// Halfway: one side translated (localhost and hairpin).
		add(before[0], after[1], e.ICMP[0], false)
		add(after[1], before[0], e.ICMP[0], true)
	}
	return flows
}

// flowAt returns the flow of a tuple at that time: the last that began by then.
func flowAt(flows map[tuple][]flow, t tuple, at int64) flow {
	// The news of a flow comes behind its first packet; that which is sent
	// again for one that was dropped comes later than this.
	const late = int64(500 * time.Millisecond)
	found := flow{}
	for _, f := range flows[t] {
		if f.entry.Time <= at+late {
			found = f
		}
	}
	return found
}

// wholePieces gives later fragments, which have no ports, the tuple of their
// first one at the same place.
func wholePieces(sightings []Sighting) {
	type key struct {
		place
		source, dest string
		protocol     int
		id           uint16
	}
	first := map[key]tuple{}
	for i := range sightings {
		s := &sightings[i]
		if !s.piece() {
			continue
		}
		k := key{s.place(), s.Source.IP, s.Dest.IP, s.Protocol, s.IPID}
		if s.Offset == 0 {
			first[k] = s.whole
		} else if t, ok := first[k]; ok {
			s.whole = t
		}
	}
}

// datagram names one that travels in pieces somewhere.
type datagram struct {
	way string
	id  uint16
}

type grouping struct {
	oracle    *Oracle
	cut       map[datagram]bool
	datagrams map[datagram]*Packet
	streams   map[string][]*Packet
	turns     map[string]map[place]int
	alike     map[string][]*Packet
}

// flowOf returns the flow of a sighting: its own, or that of the packet that it
// quotes.
func flowOf(flows map[tuple][]flow, s *Sighting) flow {
	if s.quoted == nil {
		return flowAt(flows, s.whole, s.Time)
	}
	f := flowAt(flows, *s.quoted, s.Time)
	if f.entry != nil {
		f.reply, f.about = !f.reply, true
	}
	return f
}

// way names a direction of a conversation: by its entry, else by its addresses.
func (g *grouping) way(s *Sighting) string {
	if f := flowOf(g.oracle.flows, s); f.entry != nil {
		return fmt.Sprintf("%d flow %d at %d reply %v about %v", s.Protocol, f.entry.ID, f.entry.Time, f.reply, f.about)
	}
	return fmt.Sprintf("%d %v %v %d", s.Protocol, s.whole.source, s.whole.dest, s.whole.icmpID)
}

func (g *grouping) add(s *Sighting) {
	way := g.way(s)
	if d := (datagram{way, s.IPID}); g.cut[d] {
		p := g.datagrams[d]
		if p == nil || s.Time > p.Sightings[len(p.Sightings)-1].Time+int64(2*time.Second) {
			p = g.open(s) // identifications come round again
			g.datagrams[d] = p
		}
		p.Sightings = append(p.Sightings, *s)
		return
	}
	if s.TCPLength > 0 {
		g.addData(way, s)
		return
	}
	id := fmt.Sprintf("%s id %d len %d icmp %d/%d tcp %d/%d/%x %q", way, s.IPID, s.Length,
		s.ICMPType, s.ICMPSeq, s.TCPSeq, s.TCPAck, s.TCPFlags, s.payload)
	if g.turns[id] == nil {
		g.turns[id] = map[place]int{}
	}
	turn := g.turns[id][s.place()]
	g.turns[id][s.place()]++
	for len(g.alike[id]) <= turn {
		g.alike[id] = append(g.alike[id], g.open(s))
	}
	p := g.alike[id][turn]
	p.Sightings = append(p.Sightings, *s)
}

// addData finds the segment that was cut, or those that were merged.
func (g *grouping) addData(way string, s *Sighting) {
	const back = 2048 // segments; more than are under way
	begin, end := s.TCPSeq, s.TCPSeq+s.TCPLength
	recent := g.streams[way]
	joined := false
	for _, p := range recent[max(0, len(recent)-back):] {
		inside := !less(begin, p.begin) && !less(p.end, end)
		around := !less(p.begin, begin) && !less(end, p.end)
		switch ahead := int32(s.IPID - p.baseID); {
		case !inside && !around, p.covers(s):
			continue
		case inside && ahead > int32(begin-p.begin)/256, around && !inside && int32(p.baseID-s.IPID) > int32(p.begin-begin)/256:
			continue // the same data, sent again
		}
		p.Sightings = append(p.Sightings, *s)
		if joined = true; inside {
			return
		}
	}
	if joined {
		return
	}
	p := g.open(s)
	p.begin, p.end, p.baseID = begin, end, s.IPID
	p.Sightings = append(p.Sightings, *s)
	g.streams[way] = append(recent, p)
}

// covers reports whether data of s was seen at its place already.
func (p *Packet) covers(s *Sighting) bool {
	return slices.ContainsFunc(p.Sightings, func(o Sighting) bool {
		return o.place() == s.place() && less(o.TCPSeq, s.TCPSeq+s.TCPLength) && less(s.TCPSeq, o.TCPSeq+o.TCPLength)
	})
}

// less compares sequence numbers, which wrap.
func less(a, b uint32) bool { return int32(a-b) < 0 }

func (g *grouping) open(s *Sighting) *Packet {
	f := flowOf(g.oracle.flows, s)
	p := &Packet{Entry: f.entry, Reply: f.reply, About: f.about}
	g.oracle.Packets = append(g.oracle.Packets, p)
	return p
}

// doubt marks packets that look the same and were not seen equally often at
// every place.
func (g *grouping) doubt() {
	for id, packets := range g.alike {
		if len(packets) == 1 {
			continue
		}
		for _, n := range g.turns[id] {
			if n != len(packets) {
				for _, p := range packets {
					p.Ambiguous = true
				}
				break
			}
		}
	}
}

// direction is what the journey of a packet has to call it.
func (o *Oracle) direction(p *Packet) string {
	f := flow{p.Entry, p.Reply, p.About}
	for i := 0; f.entry == nil && i < len(p.Sightings); i++ {
		f = flowOf(o.inside, &p.Sightings[i])
	}
	switch {
	case f.entry == nil:
		return "none"
	case f.reply:
		return "reply"
	}
	return "original"
}

// find returns the packet that a hop is a sighting of: where several look the
// same at that point, the one with its stamp.
func (o *Oracle) find(h *Hop) *Packet {
	at := h.point()
	var best *Packet
	var bestApart time.Duration
	for _, p := range o.byPoint[at] {
		for i := range p.Sightings {
			if s := &p.Sightings[i]; s.point() == at {
				if d := apart(h, s); best == nil || d < bestApart {
					best, bestApart = p, d
				}
			}
		}
	}
	return best
}
