package record

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"

	"natlens/capture"
	"natlens/capture/pcapng"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// Config says what a Tape writes, and where.
type Config struct {
	// Open opens the file with that number, the first is 0. The Tape closes
	// it.
	Open func(part int) (io.WriteCloser, error)
	// Size and Every end a file and begin the next: when it has so many bytes
	// beside what it repeats of the one before, or covers so much time. 0 never
	// does.
	Size  int64
	Every time.Duration
	// Snaplen is how many bytes of each packet were captured at most.
	Snaplen int
	// Match picks the journeys that are written; nil takes all. What they are judged
	// by is written as well, and marked. Filter says in words what is picked.
	Match  func(*trace.Journey) bool
	Filter string
	// Leave says which journeys are never written; may be nil.
	Leave func(*trace.Journey) bool
	// Limit is how many of them are written at most; 0 never ends.
	Limit int
	// Others are written, too: packets that belong to no journey.
	Others bool
	// Application and OS are who writes, and on what; Host is its name.
	Application, OS, Host string
}

// Tape writes to files what passes on its way to a correlator. What it is given
// goes to both; Journey and Other must be called from the correlator's Sink. It
// is not safe for concurrent use. Writing may block: then the rings wait, and
// count what they lose.
//
// The first error is kept, see Err; after it nothing more is written.
type Tape struct {
	*trace.Correlator
	config  Config
	session string
	part    int
	written int // journeys
	file    io.WriteCloser
	w       *pcapng.Writer
	err     error

	beside *beside // nil when all is written
	picked picked  // and not told yet

	known   knowledge
	content [32]byte      // of the last topology that was written
	points  map[point]int // interfaces of this file's last section
	counts  []counter     // of each of this file's
	counted int           // how many of them are written
	drops   map[netns.ID]uint64
	named   map[string]bool // names that this file has
	told    versions        // what it says of the host

	headed   bool    // this file has its beginning
	further  bool    // this file has several sections
	headless bool    // and the last one does not tell yet whose it is
	places   []place // with which it begins, and that are not told yet
	repeated int64   // bytes with which it began
	packets  int     // in it

	underWay  bool  // there has been a watermark
	began     int64 // that when the file was begun, or the first since the clock was set
	mark      int64 // watermark that was written last
	skipped   int64 // watermark that was not written, because nothing depends on it
	busy      bool  // something depended on the last one
	observed  uint64
	completed int64
	flushed   int64
}

// point is what makes an interface of a file: a link by one name.
type point struct {
	namespace netns.ID
	ifindex   int32
	name      string
	link      pcapng.LinkType
}

type counter struct {
	namespace netns.ID
	received  uint64
}

// NewTape begins the first file. The correlator is to be told by AttachTo.
func NewTape(config Config) (*Tape, error) {
	t := &Tape{
		config: config, known: newKnowledge(), drops: map[netns.ID]uint64{},
		session: fmt.Sprintf("%x", time.Now().UnixNano()), part: -1,
	}
	if config.Match != nil {
		t.beside = newBeside()
		t.config.Filter = cmp.Or(config.Filter, "a program's own")
	}
	t.next()
	return t, t.err
}

// AttachTo sets the correlator that is told what the Tape is told, and makes it
// keep packets. It must be called once, before anything else.
func (t *Tape) AttachTo(c *trace.Correlator) {
	t.Correlator = c
	c.KeepPackets()
}

// Err returns what kept the Tape from writing; nil when nothing did.
func (t *Tape) Err() error { return t.err }

// SetTopology notes and hands on a topology.
func (t *Tape) SetTopology(topology *netinfo.Topology) {
	t.Correlator.SetTopology(topology)
	t.known.topology = topology
	t.known.keep(topology)
	t.told.keep(t.known.rulesets)
	if t.beside != nil {
		t.beside.know(topology)
	}
	written := topologyOf(topology)
	if content := written.content(); content != t.content {
		t.content = content
		t.version(versionKey{kind: kindTopology}, written, false)
		t.names()
	}
}

// SetRuleset notes and hands on a namespace's rules.
func (t *Tape) SetRuleset(r *netfilter.Ruleset) {
	t.Correlator.SetRuleset(r)
	t.known.rulesets[r.Namespace] = r
	t.version(versionKey{kindRuleset, r.Namespace}, r, false)
}

// Watch notes and hands on that a ring was attached.
func (t *Tape) Watch(ns netns.ID, since int64) {
	t.Correlator.Watch(ns, since)
	t.known.rings[ns] = ring{Namespace: ns, Since: since}
	t.note(kindRing, again[ring]{Value: t.known.rings[ns]})
}

// Forget notes and hands on that a ring was detached.
func (t *Tape) Forget(ns netns.ID, until int64) {
	t.Correlator.Forget(ns, until)
	t.known.forget(ns)
	t.note(kindRing, again[ring]{Value: ring{Namespace: ns, Until: until}})
	t.told.forget(ns)
}

// AddFlows notes and hands on what connection tracking said.
func (t *Tape) AddFlows(b *netfilter.Batch) {
	if b.Namespace == 0 {
		t.Correlator.AddFlows(b)
		t.advanced()
		return
	}
	events := t.known.flows.news(b)
	silent := t.known.heardOf(b)
	if len(events) > 0 || b.Lost > 0 || b.Overruns > 0 || b.Malformed > 0 || silent != nil || b.Failures != nil {
		t.note(kindFlows, flows{Namespace: b.Namespace, Through: b.Through, Events: events, Lost: b.Lost, Overruns: b.Overruns, Malformed: b.Malformed, Silent: silent, Failures: b.Failures})
	}
	t.Correlator.AddFlows(b)
}

// AddSocket notes and hands on who holds a socket.
func (t *Tape) AddSocket(k trace.Socket) {
	t.note(kindSocket, k)
	t.Correlator.AddSocket(k)
}

// AddCounts notes and hands on what rules have counted.
func (t *Tape) AddCounts(n netfilter.Counts) {
	t.note(kindCounts, n)
	t.Correlator.AddCounts(n)
}

// AddHits notes and hands on what rules told.
func (t *Tape) AddHits(b *netfilter.HitBatch) {
	if b.Namespace == 0 {
		if b.Paused != 0 || b.PausedAt != 0 {
			t.note(kindHits, hitsOf(b))
		}
		t.Correlator.AddHits(b)
		t.advanced()
		return
	}
	t.note(kindHits, hitsOf(b))
	t.Correlator.AddHits(b)
}

// Observe hands packets on. They are written when their journeys come back.
func (t *Tape) Observe(b *capture.Batch) {
	if len(b.Lost) > 0 {
		t.note(kindLost, lost{Packets: b.Lost, Through: b.Through})
		for ns, n := range b.Lost {
			t.drops[ns] += n
		}
	}
	t.Correlator.Observe(b)
	t.advanced()
}

// Interrupt hands on that the clock was set, and notes it.
func (t *Tape) Interrupt(reason string) {
	t.Correlator.Interrupt(reason)
	t.settle(math.MaxInt64)
	t.note(kindInterrupt, interrupt{reason})
	t.mark, t.skipped, t.completed, t.flushed, t.began = 0, 0, 0, 0, 0
}

// Flush ends the capture: journeys that are open come back, and the last file is
// closed.
func (t *Tape) Flush() {
	// What waits is judged with what connection tracking has said by now.
	if heard := t.Heard(); heard != math.MaxInt64 {
		t.note(kindMark, mark{Through: t.Now(), Heard: heard})
	}
	t.Correlator.Flush()
	t.settle(math.MaxInt64)
	t.end()
}

// iface returns the interface of a packet in this file, making it at the first.
func (t *Tape) iface(o *capture.Observation, namespace, link string) int {
	p := point{o.Namespace, o.Ifindex, namespace + "/" + link, pcapng.LinkTypeOf(o.LinkType)}
	id, ok := t.points[p]
	if ok || t.err != nil {
		return id
	}
	if !t.headed {
		t.head()
	}
	id = t.point(p, namespace)
	t.local(kindInterface, place{Interface: id, Namespace: o.Namespace, Ifindex: o.Ifindex})
	return id
}

// point adds an interface to this file.
func (t *Tape) point(p point, namespace string) int {
	i := pcapng.Interface{
		LinkType: p.link, Snaplen: uint32(t.config.Snaplen), Name: clean(p.name),
		Comments: []string{fmt.Sprintf("namespace %v (%s), link %d", p.namespace, clean(namespace), p.ifindex)},
	}
	i.Description, i.MAC = t.known.describe(p.namespace, p.ifindex)
	if t.w.Full() {
		t.section()
	}
	id, err := t.w.Interface(i)
	if t.keep(err); err != nil {
		return 0
	}
	if t.further && t.headless { // behind a link, as in head
		t.header()
	}
	t.points[p] = id
	t.counts = append(t.counts, counter{namespace: p.namespace})
	return id
}

// note writes knowledge; it counts from the mark that stands before it.
func (t *Tape) note(kind uint32, value any) {
	if t.skipped != 0 {
		t.local(kindMark, mark{Through: t.skipped})
		t.mark, t.skipped = t.skipped, 0
	}
	t.local(kind, value)
}

// version notes what a host or rules are now; repeated: as the file before said.
func (t *Tape) version(key versionKey, value any, repeated bool) {
	write := t.note
	if repeated {
		write = t.local
	}
	data, err := json.Marshal(value)
	if t.keep(err); t.err == nil {
		t.told.write(key, data, repeated, write)
	}
}

func (t *Tape) local(kind uint32, value any) {
	if !t.headed {
		t.head()
	}
	if t.err != nil {
		return
	}
	data, err := json.Marshal(value)
	if err == nil {
		err = t.w.Local(pcapng.Local{Kind: kind, Data: data})
	}
	if t.keep(err); kind == kindHeader {
		return
	}
	// Who looks at the beginning of a file looks for the host behind the header.
	places := t.places
	t.places = nil
	for _, p := range places {
		t.local(kindInterface, p)
	}
}

// keep remembers the first error.
func (t *Tape) keep(err error) {
	if t.err == nil && err != nil {
		t.err = fmt.Errorf("write capture: %w", err)
	}
}
