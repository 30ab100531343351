package trace

import (
	"time"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// Sink takes what a Correlator finds. Its functions are called on the
// goroutine that feeds the Correlator and must not block or call back.
type Sink struct {
	// Journey may be nil: then journeys are counted, and no record is built.
	Journey func(*Journey)
	ARP     func(ARP) // may be nil
	// Other takes each packet that belongs to no journey, address resolution and
	// group membership among them; may be nil. It shares memory with its Batch.
	Other func(*capture.Observation)
	// Socket asks for the holder of a socket; may be nil. The answer goes to
	// AddSocket, soon or never.
	Socket func(SocketQuery)
	// Count asks for a reading of the counters of a namespace's rules that begins
	// from now on; may be nil. The answer goes to AddCounts, soon or never.
	Count func(netns.ID)
}

// Correlator joins observations into journeys. It is a state machine without a
// clock of its own: time is that of what it is fed, so that a file gives the
// same journeys as the wire. It is not safe for concurrent use.
//
// Everything is fed in any order; observations wait until both the rings and
// connection tracking have said that nothing older will come.
type Correlator struct {
	sink     Sink
	hosts    hosts
	flows    map[netns.ID]*flowIndex
	rulesets map[netns.ID]*netfilter.Ruleset
	readings map[netns.ID]readings // the last of them, and those before
	nat      map[netns.ID]natRules
	asking   neighbours
	counted  map[netns.ID]*counted
	names    map[netns.ID]*names
	// ruled counts the packets that were walked through rules, and arrived those that had
	// come to their end.
	ruled, arrived budget
	arrivals       arrivals
	droppers       map[netns.ID]droppers
	// rulesTrack: rules there make the kernel track connections (IPv4, IPv6).
	rulesTrack map[netns.ID][2]bool
	exempts    map[netns.ID]bool // whose rules take packets out of connection tracking, or did lately
	zones      map[netns.ID]bool // whose rules choose zones of connection tracking, or did
	zoned      bool              // somewhere rules choose zones, or a flow has, or had, one
	copiers    map[netns.ID][]netfilter.RuleRef
	renumbers  bool                  // somewhere a flow's sequence numbers change, or did
	renumbered map[uint64]renumbered // by the fingerprint that it has behind the change

	waiting      waiting
	ringThrough  int64
	flowThrough  int64
	hasConntrack bool
	now          int64 // the watermark: all before it has been released
	swept        int64
	unheard      int64 // packets before that time may have been judged without conntrack's word
	replayed     int64 // see SetHeard; 0: nothing was missing

	slab      slab
	byPrint   prints
	trails    trails
	epoch     uint32 // counts the changes of what is known of the host: see trail
	unsettled int64  // up to then the time decides which namespaces had a ring
	parts     parts
	foreign   bool   // packets are all that is known
	judged    []byte // the packet that is being joined
	proxies   proxies
	hosted    hosted
	walks     walks
	keep      bool      // packets, not only what is in their headers
	kept      int       // bytes of packets
	settling  [3]timers // by state: pending, terminal, shown
	lastID    uint64
	lostRing  losses // packets, by rings
	lostFlows losses // events, by connection tracking
	forgotten map[netns.ID]int64
	from      []int // see parents
	counters  Counters
	patience  int64 // settlePending, or what SetPatience said
}

// maxAlike is how many journeys of packets that look the same can be open at
// once: each sighting is compared with all of them.
const maxAlike = 128

const (
	// settleTerminal is how long a journey whose end was seen waits for
	// branches of a flood.
	settleTerminal = 10e6
	// settleDialled is how long the first packet of a connection by a
	// docker-proxy waits, so that it can be said whose socket it is.
	settleDialled = 60e6
	// settlePending is how long a journey waits for its next hop: neighbour
	// resolution gives up after 3 s.
	settlePending = 3.5e9
	// keepShown is how long a late hop can still amend a journey.
	keepShown = 300e6
	// conntrackPatience is how long observations wait for connection
	// tracking when it says nothing: its reader may have to wait for a
	// processor.
	conntrackPatience = 1e9
	// clockStep is by how much a source can seem to go back without the
	// clock having been set: a ring that comes late holds the others up.
	clockStep = 1e9
)

// DefaultOpen is how many journeys a Correlator keeps open at once.
const DefaultOpen = 1 << 16

// New returns a Correlator that keeps at most open journeys at a time; beyond
// that the oldest are let go and counted.
func New(open int, sink Sink) *Correlator {
	c := &Correlator{
		sink:     sink,
		hosts:    newHosts(),
		flows:    map[netns.ID]*flowIndex{},
		rulesets: map[netns.ID]*netfilter.Ruleset{},
		readings: map[netns.ID]readings{},
		nat:      map[netns.ID]natRules{},
		asking:   neighbours{},
		counted:  map[netns.ID]*counted{},
		names:    map[netns.ID]*names{},

		rulesTrack: map[netns.ID][2]bool{},
		exempts:    map[netns.ID]bool{},
		zones:      map[netns.ID]bool{},
		copiers:    map[netns.ID][]netfilter.RuleRef{},
		renumbered: map[uint64]renumbered{},
		arrivals:   arrivals{},
		droppers:   map[netns.ID]droppers{},
		slab:       slab{limit: open},
		trails:     newTrails(),
		parts:      newParts(),
		proxies:    newProxies(),
		hosted:     newHosted(),
		walks:      newWalks(),
		patience:   settlePending,

		forgotten: map[netns.ID]int64{},
	}
	c.byPrint = newPrints(&c.slab)
	c.proxies.ask = sink.Socket
	return c
}

// SetPatience says how long a journey waits for its next hop, instead of 3.5 s. A
// shorter time calls what hangs in address resolution vanished before that has
// failed. It must be called before anything is fed.
func (c *Correlator) SetPatience(d time.Duration) { c.patience = d.Nanoseconds() }

// SetTopology replaces what is known of the host.
func (c *Correlator) SetTopology(t *netinfo.Topology) {
	c.epoch++
	c.hosts.set(t)
	c.proxies.set(t)
	c.hosted.set(t)
	c.recognise()
}

// SetRuleset replaces what is known of one namespace's rules.
func (c *Correlator) SetRuleset(r *netfilter.Ruleset) {
	c.epoch++
	c.rulesets[r.Namespace] = r
	c.readings[r.Namespace] = c.readings[r.Namespace].add(r)
	c.learnNAT(r)
	c.learnCopiers(r)
	c.rulesTrack[r.Namespace] = [2]bool{r.Tracks(true), r.Tracks(false)}
	if c.readings[r.Namespace].exempt() {
		c.exempts[r.Namespace] = true
	} else {
		delete(c.exempts, r.Namespace)
	}
	if r.SetsZones() {
		c.zones[r.Namespace], c.zoned = true, true // for good: entries that they made stay
	}
	c.arrivals.set(r)
	c.droppers[r.Namespace] = droppersOf(r)
}

// Watch says since when the namespace has a ring, in nanoseconds since the Unix
// epoch.
func (c *Correlator) Watch(ns netns.ID, since int64) {
	if x := c.flows[ns]; x != nil && c.forgotten[ns] != 0 {
		x.tracked = [2]bool{} // it may be another with the number of the one that went
	}
	delete(c.forgotten, ns)
	s := c.hosts.space(ns)
	if s.gone != 0 { // another with the number of the one that went
		*s = space{id: ns, name: ns.String(), version: s.version + 1, lives: s.lives + 1}
	}
	s.since, s.until = since, 0
	c.hosts.meet(s, since)
	c.epoch++
	c.unsettled = max(c.unsettled, since)
}

// AddFlows takes in what connection tracking said: about one namespace, or, in
// a Batch without one, how far all of them have been read.
func (c *Correlator) AddFlows(b *netfilter.Batch) {
	if b.Namespace == 0 {
		if b.Through < c.flowThrough-clockStep {
			c.flowThrough = 0 // Observe meets the step, too
		}
		c.flowThrough = max(c.flowThrough, b.Through)
		c.advance()
		return
	}
	x := c.flows[b.Namespace]
	if x == nil {
		x = newFlowIndex()
		c.flows[b.Namespace] = x
		c.epoch++
	}
	for i := range b.Events {
		if t := x.apply(&b.Events[i]); t != nil {
			c.began(b.Namespace, t)
		}
	}
	c.zoned = c.zoned || x.zoned
	c.renumbers = c.renumbers || x.renumbers
	x.failed(b.Failures)
	// What can't be read is as good as lost.
	c.counters.Undecoded += b.Malformed
	if lost := max(b.Lost, b.Overruns) + b.Malformed; lost > 0 {
		c.lostFlows.add(b.Through, lost)
	}
	if b.Synced {
		x.synced(b.SyncedSince, b.Through)
	}
	x.silent = b.Silent || x.silent && !b.Synced
}

// AwaitFlows says that connection tracking is listened to, so that observations
// wait for its word from the first one on.
func (c *Correlator) AwaitFlows() { c.hasConntrack = true }

// Forget says that the namespace has no ring since that time. What is known of
// its flows and rules is dropped when no packet can need it any more.
func (c *Correlator) Forget(ns netns.ID, until int64) {
	c.hosts.space(ns).until = until
	c.forgotten[ns] = until
	c.epoch++
	c.unsettled = max(c.unsettled, until)
}

// Observe takes in packets.
func (c *Correlator) Observe(b *capture.Batch) {
	if b.Through != 0 && b.Through < c.ringThrough-clockStep {
		c.Interrupt("the clock was set back meanwhile")
	}
	c.AddLost(b.Lost, b.Through)
	c.waiting.add(b.Observations)
	c.ringThrough = max(c.ringThrough, b.Through)
	c.advance()
}

// Flush ends all: what waits is released, and every open journey is settled as
// it stands.
func (c *Correlator) Flush() { c.settleAll("the capture ended before its next hop") }

// Interrupt says that stamps before this moment and after it can't be compared,
// because the clock was set. Every open journey is settled as it stands, for
// that reason.
func (c *Correlator) Interrupt(reason string) {
	c.settleAll(reason)
	c.ringThrough, c.flowThrough, c.walks.through, c.now, c.swept, c.unheard, c.replayed = 0, 0, 0, 0, 0, 0, 0
	c.parts.forsaken = 0
	c.lostRing.forgetTimes()
	c.lostFlows.forgetTimes()
	c.walks.lost.forgetTimes()
	c.walks.pauses = nil
	for _, x := range c.flows {
		x.forgetTimes()
	}
	c.hosts.forgetTimes()
	c.epoch++
	c.unsettled = 0
	clear(c.names)
	clear(c.parts.controls)
	c.proxies.forgetTimes()
	c.hosted.forget()
	clear(c.counted)
	clear(c.asking)
	clear(c.renumbered)
	c.arrivals.forgetTimes()
	forgetReadings(c.readings)
	for ns, known := range c.nat {
		c.nat[ns] = natRules{rules: known.rules}
	}
	for ns := range c.forgotten {
		c.forgotten[ns] = 1
	}
}

// Counters returns what was done so far.
func (c *Correlator) Counters() Counters {
	n := c.counters
	n.RingDrops, n.ConntrackLost = c.lostRing.total, c.lostFlows.total-n.Undecoded
	return n
}

// Open returns how many journeys are open.
func (c *Correlator) Open() int { return c.slab.used }

// advance releases what nothing older can precede any more.
func (c *Correlator) advance() {
	mark := c.ringThrough
	if c.hasConntrack {
		mark = min(mark, max(c.flowThrough, c.ringThrough-conntrackPatience))
	}
	if c.walks.awaited {
		mark = min(mark, max(c.walks.through, c.ringThrough-conntrackPatience))
	}
	if mark <= c.now {
		return
	}
	if mark > c.Heard() {
		c.unheard = mark
	}
	c.release(mark)
	c.now = mark
	c.hurry()
	c.expire()
	c.settleWalks(false)
	if c.now-c.swept > 1e9 {
		c.swept = c.now
		c.sweep()
	}
}

// sweep lets go of what no packet can need any more.
func (c *Correlator) sweep() {
	for _, x := range c.flows {
		x.sweep(c.now)
	}
	for ns, at := range c.forgotten {
		if at < c.now-keepDead {
			delete(c.flows, ns)
			c.epoch++
			delete(c.rulesets, ns)
			delete(c.readings, ns)
			delete(c.nat, ns)
			delete(c.counted, ns)
			delete(c.rulesTrack, ns)
			delete(c.exempts, ns)
			delete(c.zones, ns)
			delete(c.copiers, ns)
			delete(c.arrivals, ns)
			delete(c.droppers, ns)
			delete(c.walks.spaces, ns)
			delete(c.names, ns)
			delete(c.forgotten, ns)
		}
	}
	for ns, x := range c.readings {
		c.readings[ns] = x.since(c.now)
	}
	c.trails.sweep(c.now)
	c.sweepParts()
	c.sweepRenumbered()
	c.sweepInferred()
	c.sweepNames()
	c.proxies.sweep(c.now)
	c.asking.sweep(c.now)
	c.lostRing.sweep(c.now)
	c.lostFlows.sweep(c.now)
	c.walks.lost.sweep(c.now)
}

func (c *Correlator) process(o *capture.Observation) {
	c.counters.Observations++
	h := &o.Headers
	if h.Layers&(packet.Malformed|packet.Truncated) != 0 {
		c.misread(o)
	}
	if h.Layers.Has(packet.LayerARP) || isOfLink(h) {
		c.seeARP(o)
		c.passOn(o)
		return
	}
	if !h.IsIP() {
		c.counters.Ignored++
		c.passOn(o)
		return
	}
	var kept *keptPacket
	if c.keep {
		kept = c.keepPacket(o)
	}
	head, same := c.byPrint.oldest(o.Fingerprint)
	var t *trail
	switch {
	case same == nil:
		if c.renumbers && c.pairAsSent(o, kept) {
			return
		}
		if t = c.trailOf(o); c.begins(t, h) {
			c.begin(t, o, kept)
			return
		}
	case same.alike == 1 && c.treads(same, o):
		c.tread(head, same, o, kept)
		return
	}
	c.pair(o, head, t, kept, nil)
}

// misread counts a packet whose headers could not be read to their end.
func (c *Correlator) misread(o *capture.Observation) {
	if !o.Headers.Layers.Has(packet.Malformed) && int(o.WireLength) > len(o.Data) {
		c.counters.Cut++
	} else {
		c.counters.Malformed++
	}
}

// pair finds the journey that a packet belongs to, or begins it. head is the oldest that
// looks like it, -1 when there is none, and then t is the trail that begins where it was
// seen. by is how its numbers changed on the way; o has them as they were.
func (c *Correlator) pair(o *capture.Observation, head int32, t *trail, kept *keptPacket, by *shift) {
	var s sighting
	h := &o.Headers
	if t.known() {
		s.seen = t.seen[0]
		s.time, s.h, s.extent = o.Time, h, extentOf(h)
	} else {
		c.look(&s, o)
	}
	s.kept, s.shift = kept, by
	c.judged = o.Data
	found := c.find(head, &s)
	i, e := found.index, found.entry
	if e == nil && head >= 0 && c.renumbers && by == nil && c.pairAsSent(o, kept) {
		return
	}
	var resends uint64
	if e == nil {
		home := t.known() && t.home
		var covered []handle
		if covered, resends = c.findStream(&s, t); len(covered) == 0 && !home {
			covered = c.findMerged(&s, h.Payload(o.Data))
		}
		if len(covered) > 0 {
			s.others = uint16(len(covered) - 1)
			for _, h := range covered {
				c.join(h, c.live(h), &s)
			}
			return
		}
		if !home || len(c.parts.trains) > 0 {
			i, e = c.findTrain(&s, h.Payload(o.Data), o.Fingerprint)
		}
		if e == nil {
			i, e = c.findDatagram(&s, o)
		}
	}
	if e == nil {
		i, e = c.open(o, head)
		if isControl(h) {
			if again := c.parts.begun(e.id, &s); found.duplicate == 0 {
				resends = again
			}
		}
		if e.trail = t; found.duplicate != 0 || resends != 0 {
			e.also().duplicateOf, e.also().resends = found.duplicate, resends
		}
		if found.doubtful != (handle{}) {
			if twin := c.live(found.doubtful); twin != nil { // else it made room for this one
				c.mark([]*entry{twin, e}, turnedRound)
			}
		}
		if h.Layers.Has(packet.LayerQuoted) {
			c.refuse(e, &s)
		} else if isReset(h) {
			c.resetBy(e, &s)
		}
		c.remember(handle{i, e.generation}, &s, t)
		if c.asksHosted(&s) {
			c.askHosted(e, &s, true)
		}
	}
	if s.extent.kind == extentFragment || s.extent.kind == extentSegment {
		e.also().pieces = append(e.also().pieces, piece{s.extent, o.Fingerprint})
	}
	if c.proxies.concern(&s.h.Tuple) {
		c.proxies.follow(e, &s, o.Data)
	}
	if t.known() && e.length() == 0 {
		e.stepFirst(o.Time, h, kept)
		c.schedule(i, e, o.Time, t.endsAt(0))
		return
	}
	c.join(handle{i, e.generation}, e, &s)
}

// look fills in a sighting with what is known of the packet where it was seen. It
// does so field by field: a composite would be made elsewhere and copied at once,
// which waits for its last stores.
func (c *Correlator) look(s *sighting, o *capture.Observation) {
	p, h := o.Point(), &o.Headers
	at := c.hosts.at(p)
	if at.link == nil {
		c.hosts.meet(at.space, o.Time)
	}
	s.time, s.point, s.typ = o.Time, p, o.Type
	s.link, s.space = at.link, at.space
	s.h, s.tuple, s.quotes = h, h.Tuple, h.Layers.Has(packet.LayerQuoted)
	s.flow, s.extent = c.trackedAs(s), extentOf(h)
}

// join adds a sighting to a journey.
func (c *Correlator) join(h handle, e *entry, s *sighting) {
	c.underWay(e, s)
	ends := c.terminal(s)
	c.learn(e, s, ends)
	if f := s.flow.flow; f != nil && f.inferred {
		f.named = max(f.named, s.time)
	}
	if r := s.flow; r.mayBegin(s.time) {
		r.flow.begin(e.id, s.h)
		e.counted = e.counted || c.countSoon(r.flow)
	}
	e.add(s)
	if s.extent.kind == extentFragment {
		c.remember(h, s, nil)
	}
	c.schedule(h.index, e, s.time, ends)
}

// isOfLink reports messages of IP that never leave their link: those of ICMPv6 that do
// for IPv6 what ARP does for IPv4 (RFC 4861), and those by which hosts say which groups
// they listen to (IGMP, MLD).
func isOfLink(h *packet.Headers) bool {
	switch h.Tuple.Protocol {
	case packet.IGMP:
		return true
	case packet.ICMPv6:
		return h.Layers.Has(packet.LayerICMP) && (h.ICMPType >= 130 && h.ICMPType <= 137 || h.ICMPType == 143)
	}
	return false
}

// open begins a journey. head is the index of the oldest that looks like it; -1 when
// there is none.
func (c *Correlator) open(o *capture.Observation, head int32) (int32, *entry) {
	i, e, ok := c.slab.take()
	for !ok {
		c.evict()
		head, _ = c.byPrint.oldest(o.Fingerprint)
		i, e, ok = c.slab.take()
	}
	e.id, e.fingerprint = c.nextID(o), o.Fingerprint
	e.linkType = o.LinkType
	e.stored = uint16(copy(e.store[:], o.Data))
	if head >= 0 && c.slab.at(head).alike >= maxAlike {
		c.letGo(head, c.slab.at(head))
	}
	c.byPrint.add(i)
	return i, e
}
