package trace

import (
	"natlens/capture"
	"natlens/capture/packet"
)

// sighting is one hop of a journey that is still open: what joining compares.
type sighting struct {
	seen
	time int64
	// h is all the headers. They belong to the Batch until the sighting is
	// added to an entry, and to the entry from then on.
	h      *packet.Headers
	extent extent
	quotes bool // h.Quoted is set
	// others is how many other packets it shows together with this one; that of
	// merged segments and datagrams is more than 0.
	others uint16
	kept   *keptPacket // nil unless packets are kept
	shift  *shift      // what was added to the numbers in h; nil for most
}

// seen is what a sighting has in common with those of other packets that go the same
// way.
type seen struct {
	point capture.Point
	link  *link
	space *space
	flow  flowRef
	// tuple is that of the headers; for a later fragment, its first one's.
	tuple packet.Tuple
	typ   capture.PacketType
}

// maxData is how much of a packet's bytes an open journey keeps.
const maxData = 256

// entry is one open journey. Entries are reused; generation tells the lives of
// one apart.
//
// Most of the time that pairing takes it waits for memory. An entry is three of the
// processor's cache lines, and what is asked of one that is let go stands in the
// first.
type entry struct {
	fingerprint uint64
	chain
	generation uint32
	life
	footprints
	showing
	store *[maxData]byte // see data
	slab  *slab
}

// data is what is kept of the packet's bytes.
func (e *entry) data() []byte { return e.store[:e.stored] }

// life is what begins anew with each use of an entry.
type life struct {
	id       uint64
	trail    *trail // the one it is on; nil when it has left it or has none
	*room           // nil unless hops are written out
	deadline int64  // watermark time at which it is settled or let go
	state    state
	steps    uint8 // how many of its trail's it has gone; 0 when hops are written out
	inferred bool  // a hop was joined without a flow
	counted  bool  // counters may tell which rule translated it
	tied     bool  // others fitted a sighting as well as this one
	lost     bool  // settled without an end
	arrival  arrivalState
	linkType packet.LinkType
}

// showing begins anew, too. Of most packets nobody asks for it before they are shown.
type showing struct {
	identity identity // when it was shown
	stored   uint16   // how much of store
	shownAs  uint64
	rare     *rare // nil for most
}

// rare is what few journeys have.
type rare struct {
	doubt       *doubt          // nil unless its hops may be another's
	refusal     *packet.Headers // the ICMP error that said why this journey ended
	proxied     *proxied        // what it is to a docker-proxy
	duplicateOf uint64
	resends     uint64      // the journey whose data this one sends again
	errorAbout  uint64      // the journey that this ICMP error is about
	refusedBy   uint64      // the journey of the error that ended this one
	resolved    *resolution // what named the address it goes to
	passedOn    *asked      // of which question this one is a server's
	pieces      []piece     // the parts that were seen, once for each hop
}

// also returns what it has of that, to be changed.
func (e *entry) also() *rare {
	if e.rare == nil {
		e.rare = new(rare)
	}
	return e.rare
}

// has returns a copy.
func (e *entry) has() (r rare) {
	if e.rare != nil {
		r = *e.rare
	}
	return r
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
	chunks []*[chunkSize]entry
	// generations has those of the entries; they are odd while an entry is in
	// use. What is left of a handle they tell without a look at the entry.
	generations []uint32
	free        []int32
	rooms       []*room // those that no entry uses
	limit       int
	warmth      int64 // see warm
	used        int
}

const chunkSize = 256

func (s *slab) at(i int32) *entry {
	n := uint32(i) // else the compiler divides with regard to signs
	return &s.chunks[n/chunkSize][n%chunkSize]
}

// take returns a cleared entry, or ok == false when the limit is reached.
func (s *slab) take() (int32, *entry, bool) {
	if len(s.free) == 0 {
		if len(s.chunks)*chunkSize >= s.limit {
			return 0, nil, false
		}
		base := int32(len(s.chunks) * chunkSize)
		chunk, data := new([chunkSize]entry), new([chunkSize][maxData]byte)
		for i := range chunk {
			chunk[i].slab, chunk[i].store = s, &data[i]
		}
		s.chunks = append(s.chunks, chunk)
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
	e.life, e.showing = life{}, showing{}
	return i, e, true
}

func (s *slab) release(i int32) {
	e := s.at(i)
	e.state, e.trail, e.rare, e.packets = stateFree, nil, nil, nil
	s.generations[i]++
	e.vacate()
	s.warm(e)
	s.free = append(s.free, i)
	s.used--
}

// warm touches what a new use of the entry writes to. It has not been used since it was
// shown, and is the next to be taken: many are released at once, so that the processor
// fetches their memory side by side, and not one by one as packets come. The sum is
// there for the compiler, which leaves out what nobody asks for.
func (s *slab) warm(e *entry) {
	s.warmth += int64(e.same.length) + int64(e.shownAs) + int64(e.store[0]) + int64(e.store[64])
}

// timer is one entry's turn in a queue. It comes to nothing when the entry's deadline has
// moved behind it: then there is another.
type timer struct {
	index      int32
	generation uint32
	due        int64
}

// timers is a queue in the order of due times. Those of entries that wait equally long
// come so. Nothing overtakes what stands before it: where waits differ, as do those of
// journeys whose end was seen, what waits less is due with what it stands behind, and
// journeys are shown in the order in which they ended.
type timers struct {
	queue []timer
	head  int
}

func (q *timers) push(t timer) {
	if n := len(q.queue); n > q.head {
		t.due = max(t.due, q.queue[n-1].due)
	}
	q.queue = append(q.queue, t)
}

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
