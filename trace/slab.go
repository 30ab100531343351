package trace

import (
	"natlens/capture"
	"natlens/capture/packet"
)

// sighting is one hop of a journey that is still open: what joining compares,
// in two of the processor's cache lines.
type sighting struct {
	time  int64
	point capture.Point
	link  *link
	space *space
	flow  flowRef
	// h is all the headers. They belong to the Batch until the sighting is
	// added to an entry, and to the entry from then on.
	h *packet.Headers
	// tuple is that of h; for a later fragment, its first one's.
	tuple  packet.Tuple
	typ    capture.PacketType
	quotes bool // h.Quoted is set
	// others is how many other packets it shows together with this one; that of
	// merged segments and datagrams is more than 0.
	others uint16
	extent extent
	kept   *keptPacket // nil unless packets are kept
}

// maxData is how much of a packet's bytes an open journey keeps.
const maxData = 256

// inlineHops is how many hops an entry has room for. Most packets need no more:
// the container's link, its veth, the bridge, the uplink.
const inlineHops = 4

// entry is one open journey. Entries are reused; generation tells the lives of
// one apart.
type entry struct {
	fingerprint uint64
	generation  uint32
	next        int32 // in its chain of prints; -1 ends
	hops        []sighting
	life
	data    []byte
	inline  [inlineHops]sighting
	headers [inlineHops]packet.Headers // of the first hops
}

// life is what begins anew with each use of an entry.
type life struct {
	id          uint64
	trail       *trail // the one it is on; nil when it has left it or has none
	state       state
	deadline    int64 // watermark time at which it is settled or let go
	shownAs     uint64
	duplicateOf uint64
	resends     uint64          // the journey whose data this one sends again
	inferred    bool            // a hop was joined without a flow
	counted     bool            // counters may tell which rule translated it
	tied        bool            // others fitted a sighting as well as this one
	lost        bool            // settled without an end
	doubt       *doubt          // nil unless its hops may be another's
	identity    identity        // when it was shown
	errorAbout  uint64          // the journey that this ICMP error is about
	refusal     *packet.Headers // the ICMP error that said why this journey ended
	refusedBy   uint64          // its journey
	proxied     *proxied        // what it is to a docker-proxy; nil for most
	resolved    *resolution     // what named the address it goes to; nil for most
	passedOn    *asked          // of which question this one is a server's; nil for most
	pieces      []piece         // the parts that were seen, once for each hop
	linkType    packet.LinkType
}

// add appends a sighting, takes its headers over and returns it as the entry has it.
func (e *entry) add(s *sighting) *sighting {
	n := len(e.hops)
	e.hops = append(e.hops, *s)
	if n < inlineHops {
		e.headers[n] = *s.h
		e.hops[n].h = &e.headers[n]
		return &e.hops[n]
	}
	h := *s.h
	e.hops[n].h = &h
	return &e.hops[n]
}

type state uint8

const (
	stateFree     state = iota
	statePending        // more hops are expected
	stateTerminal       // its end was seen; settled after a short grace
	stateShown          // emitted; kept for late hops
)

// slab is a bounded store of entries that grows in chunks and never shrinks.
type slab struct {
	chunks [][]entry
	// generations has those of the entries; they are odd while an entry is in
	// use. What is left of a handle they tell without a look at the entry.
	generations []uint32
	free        []int32
	limit       int
	used        int
}

const chunkSize = 256

func (s *slab) at(i int32) *entry { return &s.chunks[i/chunkSize][i%chunkSize] }

// take returns a cleared entry, or ok == false when the limit is reached.
func (s *slab) take() (int32, *entry, bool) {
	if len(s.free) == 0 {
		if len(s.chunks)*chunkSize >= s.limit {
			return 0, nil, false
		}
		base := int32(len(s.chunks) * chunkSize)
		s.chunks = append(s.chunks, make([]entry, chunkSize))
		s.generations = append(s.generations, make([]uint32, chunkSize)...)
		for i := int32(chunkSize - 1); i >= 0; i-- {
			s.free = append(s.free, base+i)
		}
	}
	i := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	s.used++
	e := s.at(i)
	s.generations[i]++
	e.generation = s.generations[i]
	e.next, e.life, e.data = -1, life{}, e.data[:0]
	if e.hops = e.hops[:0]; cap(e.hops) == 0 {
		e.hops = e.inline[:0]
	}
	return i, e, true
}

func (s *slab) release(i int32) {
	e := s.at(i)
	e.state, e.trail = stateFree, nil
	s.generations[i]++
	for k := range e.hops { // drop the pointers, which would keep flows and links
		h := &e.hops[k]
		h.link, h.space, h.flow.flow, h.h, h.kept = nil, nil, nil, nil, nil
	}
	if cap(e.hops) > inlineHops {
		e.hops = nil // room that few packets need
	}
	s.free = append(s.free, i)
	s.used--
}

// timer is one entry's turn in a queue of equal waiting times. An entry whose
// deadline has moved meanwhile is queued again when its turn comes.
type timer struct {
	index      int32
	generation uint32
	due        int64
}

// timers is a queue in the order of due times; that holds because every timer
// in it waits equally long.
type timers struct {
	queue []timer
	head  int
}

func (q *timers) push(t timer) { q.queue = append(q.queue, t) }

// all returns the timers that are still queued.
func (q *timers) all() []timer { return q.queue[q.head:] }

// pop returns the next timer that is due.
func (q *timers) pop(now int64) (timer, bool) {
	if q.head == len(q.queue) || q.queue[q.head].due > now {
		return timer{}, false
	}
	t := q.queue[q.head]
	q.head++
	if q.head == len(q.queue) {
		q.queue, q.head = q.queue[:0], 0
	} else if q.head > 4096 && q.head > len(q.queue)/2 {
		n := copy(q.queue, q.queue[q.head:])
		q.queue, q.head = q.queue[:n], 0
	}
	return t, true
}
