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
	// different places while it was under way, so that nobody can tell which of
	// them was lost.
	Ambiguous bool
	// borderline: whether it is depends on which of two sockets stamped first.
	borderline bool

	begin, end uint32 // sequence numbers of TCP data; of a train, numbers of its datagrams
	baseID     uint16
}

// Pieces reports whether any sighting shows less than the whole packet.
func (p *Packet) Pieces() bool {
	for i := range p.Sightings {
		s := &p.Sightings[i]
		if s.piece() || s.Length != p.Sightings[0].Length && trainOf(s) != nil || s.TCPLength > 0 && (s.TCPSeq != p.begin || s.TCPSeq+s.TCPLength != p.end) {
			return true
		}
	}
	return false
}

// Oracle knows all packets that passed.
type Oracle struct {
	Packets []*Packet
	seen    map[moment][]*Packet // when and where
	stamps  map[point][]int64    // of what was seen there, in order, each once
	flows   map[tuple][]flow
	inside  map[tuple][]flow
	said    map[[2]Address]string // the first data of each direction of a TCP connection
}

// NewOracle groups sightings into packets. What makes two sightings one packet:
// the same flow and direction by conntrack's word (or, where nothing is
// tracked, the same addresses), and
//
//   - for pieces of a datagram the same identification (RFC 791),
//   - for datagrams that were handed over in one packet, what is written in them,
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
	sightings = bothWays(sightings)
	slices.SortStableFunc(sightings, func(a, b Sighting) int { return int(a.Time - b.Time) })
	wholePieces(sightings)
	o := &Oracle{flows: flowsOf(entries, sightings), inside: flowsOf(inside, sightings), said: map[[2]Address]string{}}
	g := grouping{oracle: o, cut: map[datagram]bool{}, datagrams: map[datagram]*Packet{}, streams: map[string][]*Packet{},
		trains: map[string][]*Packet{}, turns: map[string]map[place]int{}, alike: map[string][]*Packet{}}
	for i := range sightings {
		if s := &sightings[i]; s.piece() {
			g.cut[g.datagram(s)] = true
		}
	}
	for i := range sightings {
		s := &sightings[i]
		g.add(s)
		if ends := [2]Address{s.Source, s.Dest}; s.TCPLength > 0 && o.said[ends] == "" {
			o.said[ends] = s.payload
		}
	}
	g.doubt()
	o.Packets = slices.DeleteFunc(o.Packets, func(p *Packet) bool { return p.Sightings[0].Time < since })
	o.index()
	return o
}

// index makes packets findable by when and where they were seen.
func (o *Oracle) index() {
	o.seen, o.stamps = map[moment][]*Packet{}, map[point][]int64{}
	for _, p := range o.Packets {
		for i := range p.Sightings {
			m := p.Sightings[i].moment()
			if !slices.Contains(o.seen[m], p) {
				o.seen[m] = append(o.seen[m], p)
			}
			o.stamps[m.at] = append(o.stamps[m.at], m.time)
		}
	}
	for at, stamps := range o.stamps {
		slices.Sort(stamps)
		o.stamps[at] = slices.Compact(stamps)
	}
}

// WithoutLinks is the same oracle for who sees all links of a namespace without being
// told which is which.
func (o *Oracle) WithoutLinks() *Oracle {
	same := &Oracle{flows: o.flows, inside: o.inside, said: o.said}
	for _, p := range o.Packets {
		other := *p
		other.Sightings = slices.Clone(p.Sightings)
		for i := range other.Sightings {
			other.Sightings[i].Ifindex = 0
		}
		same.Packets = append(same.Packets, &other)
	}
	same.index()
	return same
}

// bothWays adds what is sent to a loopback, of which tcpdump records only that it
// comes in.
func bothWays(sightings []Sighting) []Sighting {
	var all []Sighting
	for _, s := range sightings {
		if s.Ifindex == loopback && !s.Out {
			sent := s
			sent.Out, sent.Type, sent.unrecorded = true, outgoing, true
			all = append(all, sent)
		}
		all = append(all, s)
	}
	return all
}

// wholePieces gives later fragments, which have no ports, the tuple of their
// first one at the same place: the nearest in time, as they need not come in order.
func wholePieces(sightings []Sighting) {
	type key struct {
		place
		source, dest string
		protocol     int
		id           uint32
	}
	keyOf := func(s *Sighting) key { return key{s.place(), s.Source.IP, s.Dest.IP, s.Protocol, s.fragmentID} }
	first := map[key][]*Sighting{}
	for i := range sightings {
		if s := &sightings[i]; s.piece() && s.Offset == 0 {
			first[keyOf(s)] = append(first[keyOf(s)], s)
		}
	}
	for i := range sightings {
		s := &sightings[i]
		if !s.piece() || s.Offset == 0 {
			continue
		}
		var nearest *Sighting
		for _, f := range first[keyOf(s)] {
			if nearest == nil || max(f.Time-s.Time, s.Time-f.Time) < max(nearest.Time-s.Time, s.Time-nearest.Time) {
				nearest = f
			}
		}
		if nearest != nil {
			s.whole, s.beginning = nearest.whole, nearest.beginning
		}
	}
}

// datagram names one that travels in pieces somewhere: by its identification, or,
// in IPv6, where who cuts it again gives it another, by what it begins with.
type datagram struct {
	way       string
	id        uint16
	beginning string
}

func (g *grouping) datagram(s *Sighting) datagram {
	d := datagram{way: g.way(s), id: s.IPID}
	if s.is6() {
		d.beginning = s.beginning[:min(len(s.beginning), 24)]
	}
	return d
}

type grouping struct {
	oracle    *Oracle
	cut       map[datagram]bool
	datagrams map[datagram]*Packet
	streams   map[string][]*Packet
	trains    map[string][]*Packet
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
	if d := g.datagram(s); g.cut[d] {
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
	if t := trainOf(s); t != nil {
		g.addTrain(fmt.Sprintf("%s train %d", way, t.number), t, s)
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
// every place. There a sighting is surely of one of them only as long as no
// further one had set out when it was made.
func (g *grouping) doubt() {
	for id, packets := range g.alike {
		for at, n := range g.turns[id] {
			if n == len(packets) {
				continue
			}
			surely, most := g.certain(packets, at, stampsApart), g.certain(packets, at, -stampsApart)
			for i, p := range packets[surely:] {
				p.borderline = (!p.Ambiguous || p.borderline) && i < most-surely
				p.Ambiguous = true
			}
		}
	}
}

// stampsApart is by how much the stamps of two sockets differ for one packet, unless
// the kernel was interrupted between them.
const stampsApart = int64(5 * time.Microsecond)

// certain is how many of the first of packets that look the same are surely those
// that were seen at a place, with a margin for the next one's setting out.
func (g *grouping) certain(packets []*Packet, at place, margin int64) int {
	for i, p := range packets {
		seen := slices.IndexFunc(p.Sightings, func(s Sighting) bool { return s.place() == at })
		if seen < 0 || i+1 < len(packets) && packets[i+1].Sightings[0].Time <= p.Sightings[seen].Time+margin {
			return i
		}
	}
	return len(packets)
}

// direction is what the journey of a packet has to call it.
func (o *Oracle) direction(p *Packet) string {
	f := o.flow(p)
	switch {
	case f.entry == nil:
		return "none"
	case f.reply:
		return "reply"
	}
	return "original"
}
