package oracletest

import (
	"slices"
	"strings"
	"time"
)

// relations are the earlier packets that a packet belongs to. Of several that fit,
// any will do.
type relations struct {
	asked   *Packet   // the question that it answers, where that can be told
	causes  []*Packet // what it is an error about
	data    []*Packet // TCP data, or what begins or ends a connection, that it sends again
	doubles []*Packet // those that it is a further copy of, soon enough to be known for it
}

// history is what was seen before a packet.
type history struct {
	oracle  *Oracle
	flows   map[*Entry]*dialogue
	tuples  map[tuple][]*Packet // that could be quoted
	streams map[beginning][]*Packet
	copies  map[point][]*Packet
}

// SoonAfter is within which time a copy is to be known for one: a journey that has ended
// is remembered for some tenths of a second, and who sends both may be interrupted between
// them for longer.
const SoonAfter = 250 * time.Millisecond

// beginning is what TCP data has in common with the same data when it is sent again, and
// a segment that begins or ends a connection without any. PSH is set as it comes.
type beginning struct {
	place
	source, dest Address
	seq          uint32
	flags        int
	bare         bool
}

// dialogue is what was asked and answered in a flow.
type dialogue struct {
	asked      []*Packet
	unanswered int
	crossed    bool // two datagrams went before an answer: from then on nobody can tell which it is to
}

// relate works out relations, from the first packet to the last.
func (o *Oracle) relate() map[*Packet]relations {
	h := history{oracle: o, flows: map[*Entry]*dialogue{}, tuples: map[tuple][]*Packet{}, streams: map[beginning][]*Packet{}, copies: map[point][]*Packet{}}
	all := map[*Packet]relations{}
	for _, p := range o.Packets {
		all[p] = h.next(p)
	}
	return all
}

func (h *history) next(p *Packet) (r relations) {
	first := &p.Sightings[0]
	if f := h.oracle.flow(p); f.entry != nil && !f.about {
		d := h.flows[f.entry]
		if d == nil {
			d = &dialogue{}
			h.flows[f.entry] = d
		}
		r.asked = d.next(p, f.reply)
	}
	for i := range p.Sightings {
		s := &p.Sightings[i]
		if s.quoted == nil {
			if others := h.tuples[s.whole]; len(others) == 0 || others[len(others)-1] != p {
				h.tuples[s.whole] = append(others, p)
			}
			continue
		}
		for _, q := range h.tuples[*s.quoted] {
			if !slices.Contains(r.causes, q) && q.isQuotedBy(s) {
				r.causes = append(r.causes, q)
			}
		}
	}
	if first.TCPLength > 0 || first.bare() {
		at := beginning{first.place(), first.Source, first.Dest, first.TCPSeq, first.TCPFlags &^ push, first.bare()}
		earlier := h.streams[at]
		h.streams[at] = append(earlier, p)
		for _, q := range earlier {
			if first.TCPLength > 0 || first.IPID == 0 || q.Sightings[0].IPID != first.IPID {
				r.data = append(r.data, q)
			}
		}
	}
	if first.IPID != 0 && !first.piece() {
		for _, q := range h.copies[first.point()] {
			if q.Sightings[0].payload == first.payload && time.Duration(first.Time-q.Sightings[0].Time) <= SoonAfter {
				r.doubles = append(r.doubles, q)
			}
		}
		h.copies[first.point()] = append(h.copies[first.point()], p)
	}
	return r
}

// next takes in a packet of the flow, and returns the question that it surely answers.
func (d *dialogue) next(p *Packet, reply bool) *Packet {
	if !reply {
		d.asked = append(d.asked, p)
		d.unanswered++
		d.crossed = d.crossed || d.unanswered > 1
		return nil
	}
	first := &p.Sightings[0]
	var isTo func(*Sighting) bool
	switch {
	case first.echo():
		isTo = func(q *Sighting) bool { return q.ICMPSeq == first.ICMPSeq }
	case first.TCPFlags&syn != 0:
		isTo = func(q *Sighting) bool { return q.TCPFlags&syn != 0 }
	case first.Protocol == udp && d.unanswered == 1 && !d.crossed:
		d.unanswered = 0
		isTo = func(*Sighting) bool { return true }
	default:
		return nil
	}
	for _, q := range slices.Backward(d.asked) {
		if isTo(&q.Sightings[0]) {
			return q
		}
	}
	return nil
}

// Flags of TCP (RFC 9293, section 3.1).
const (
	fin  = 0x01
	syn  = 0x02
	rst  = 0x04
	push = 0x08
)

// bare reports whether it begins or ends a connection, without data.
func (s *Sighting) bare() bool {
	return s.Protocol == tcp && s.TCPLength == 0 && s.TCPFlags&(syn|fin) != 0 && s.TCPFlags&rst == 0 && !s.piece()
}

// echo reports whether it is one, or the reply (RFC 792, RFC 4443).
func (s *Sighting) echo() bool {
	return (s.Protocol == icmp || s.Protocol == icmp6) && slices.Contains([]int{0, 8, 128, 129}, s.ICMPType)
}

// isQuotedBy reports whether an error quotes the packet: by its identification, which
// only IPv4 has.
func (p *Packet) isQuotedBy(s *Sighting) bool {
	return slices.ContainsFunc(p.Sightings, func(o Sighting) bool {
		return o.whole == *s.quoted && (s.is6() || o.IPID == s.quotedID)
	})
}

// flow is that of a packet: the host's, else that of a container which tracks by itself.
func (o *Oracle) flow(p *Packet) flow {
	f := flow{entry: p.Entry, reply: p.Reply, about: p.About}
	for i := 0; f.entry == nil && i < len(p.Sightings); i++ {
		f = flowOf(o.inside, &p.Sightings[i])
	}
	return f
}

// checkRelated holds what a journey says of earlier ones against what was seen.
// journeys are all of them by their ids, found by their packets. What is there to be told
// has to be, where the host tracks connections.
func (c *checker) checkRelated(want relations, journeys map[uint64]*checker, found map[*Packet]*checker) {
	told := map[string][]*Packet{}
	for _, r := range c.journey.Related {
		other := journeys[r.ID]
		switch {
		case other == nil:
			c.bad(Unrelated, "%s %d, which is no journey", r.Why, r.ID)
			continue
		case other.packet == nil || other.packet.Ambiguous:
			continue // what is wrong with that is said there
		}
		told[r.Why] = append(told[r.Why], other.packet)
		if !c.relates(r.Why, want, other.packet) {
			c.bad(Unrelated, "%s %d, which it is not: %v", r.Why, r.ID, other.packet.Sightings[0])
		}
	}
	if c.host.Foreign || c.packet.Entry == nil {
		return
	}
	expect := func(why string, any []*Packet) {
		any = slices.DeleteFunc(slices.Clone(any), func(p *Packet) bool { return p.Ambiguous || found[p] == nil })
		if len(any) > 0 && len(told[why]) == 0 {
			c.bad(Unrelated, "not said: %s %v", why, any[len(any)-1].Sightings[0])
		}
	}
	if want.asked != nil {
		expect("reply_to", []*Packet{want.asked})
	}
	expect("error_about", want.causes)
	if len(told["duplicate_of"]) == 0 || !c.packet.Sightings[0].bare() { // without an identification it is both
		expect("retransmission_of", want.data)
	}
	expect("duplicate_of", want.doubles)
}

// relates reports whether q is what the packet is said to have to do with.
func (c *checker) relates(why string, want relations, q *Packet) bool {
	p, s := &c.packet.Sightings[0], &q.Sightings[0]
	switch why {
	case "reply_to":
		return q == want.asked
	case "error_about":
		return slices.Contains(want.causes, q)
	case "retransmission_of":
		return slices.Contains(want.data, q)
	case "duplicate_of":
		return p.point() == s.point() && p.payload == s.payload && s.Time <= p.Time
	case "proxied_as": // checkProxies compares the connections
		return c.journey.OneOfSeveral() || s.Time <= p.Time && (strings.HasPrefix(p.payload, s.payload) || strings.HasPrefix(s.payload, p.payload))
	}
	return false // nobody in the load asks for a name
}
