package trace

import (
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// A form is how much of a flow's translation a tuple shows.
type form uint8

const (
	formBefore form = iota // nothing translated yet
	formAfter              // everything translated
	formHalf               // the source of one, the destination of the other
)

// flowRef says which flow a tuple belongs to, in which direction and form. The
// zero flowRef belongs to none.
type flowRef struct {
	flow  *trackedFlow
	reply bool
	form  form
	// about: the packet is an ICMP error that quotes a packet of the flow. Then
	// reply is the direction in which the error itself travels.
	about bool
}

// same reports whether both refer to one direction of one flow.
func (r flowRef) same(s flowRef) bool {
	return r.flow != nil && r.flow == s.flow && r.reply == s.reply && r.about == s.about
}

// trackedFlow is a conntrack entry and the time it lived.
type trackedFlow struct {
	netfilter.Flow
	// bornAfter and bornBefore enclose the birth; both are 0 for a flow that
	// is older than the capture.
	bornAfter, bornBefore int64
	died                  int64    // 0 while it lives
	shared                bool     // another flow has a tuple that this one has, too
	trails                []*trail // those that count on it
	inferred              bool     // made of two packets that are alike; the kernel told nothing
	// opener is the journey whose packet made the kernel confirm the flow. Where
	// several came before that was told, it can be any: crowded.
	opener  uint64
	crowded bool
	named   int64 // when an event last named it
	// answered is by when it had seen an answer; 0 where it has seen none.
	answered int64

	forms [2]forms   // by direction: original, reply
	nodes []formNode // their places in the flowTable; never grows

	// rules remembers which rules translated the first packet: source and
	// destination.
	rules [2]*Rule
	kinds [2]string
	// unruled is what found no rule for either.
	unruled [2]question
	// ruledSince is since when the rules of NAT were as they are in rules; ruleless:
	// no rule translates either, for sure.
	ruledSince [2]int64
	ruleless   [2]bool
	// tried is at which reading of the counters they were asked about the rules.
	tried [2]uint32
	met   [2]*meeting
	// notedAt is at which journey of each direction notBegun was said, and
	// outdatedAt what outdated says.
	notedAt, outdatedAt [2]uint64
	// queries remembers the last journeys of the original direction, so that
	// an answer finds its question.
	queries [8]query
	asked   int
	// unanswered counts the datagrams asked since the last answer. Once there
	// was more than one, which is answered can't be told any more: crossed.
	unanswered int
	crossed    bool
}

// mayBegin reports whether a packet that was seen at that time may have begun its flow.
func (r flowRef) mayBegin(at int64) bool {
	return r.flow != nil && at <= r.flow.bornBefore && !r.reply && !r.about
}

// begin notes a packet that was under way before the flow was confirmed. Where a
// connection begins with a handshake, none but a SYN can be the first.
func (t *trackedFlow) begin(journey uint64, h *packet.Headers) {
	switch {
	case h.Layers.Has(packet.LayerTCP) && h.TCPFlags&(packet.SYN|packet.ACK) != packet.SYN && t.opener != 0:
	case t.opener == 0:
		t.opener = journey
	case t.opener != journey:
		t.crowded = true
	}
}

// passed reports whether the entry proves that the rules let this packet pass: it
// is the one that began the flow, as is known when all packets are before which the
// flow was confirmed. Of later ones an entry tells nothing.
func (r flowRef) passed(journey uint64, now int64) bool {
	return r.flow != nil && !r.reply && !r.about && r.flow.opener == journey && !r.flow.crowded && r.flow.bornBefore <= now
}

// openedBefore returns when the flows were confirmed that a journey began which a host
// got, at the latest: not before that time is known whether another packet may have. 0:
// nothing rests on it.
func (e *entry) openedBefore() (at int64) {
	if e.steps > 0 { // what is on a trail begins nothing
		return 0
	}
	hops := e.hops()
	if hops[len(hops)-1].typ != capture.Host {
		return 0
	}
	for i := range hops {
		if f := hops[i].flow.flow; f != nil && f.opener == e.id && !f.crowded {
			at = max(at, f.bornBefore)
		}
	}
	return at
}

// question is what the answer to "which rule?" rests on, apart from the flow.
type question struct {
	rules    *netfilter.Ruleset
	topology *netinfo.Topology
	in, out  string
}

// forms are the tuples that packets of one direction can carry.
type forms struct{ before, after, half, otherHalf packet.Tuple }

// query is one journey of the original direction.
type query struct {
	journey uint64
	seq     uint16 // of an echo
	flags   uint8  // of a TCP segment
	ipID    uint16
	dns     uint16 // message id of a question to a name server
	hasDNS  bool
}

// newTrackedFlow computes the forms of both directions. The reply direction
// begins where the original ends, and the other way round.
func newTrackedFlow(f netfilter.Flow) *trackedFlow {
	t := &trackedFlow{}
	t.setFlow(f)
	return t
}

func (t *trackedFlow) setFlow(f netfilter.Flow) {
	t.Flow = f
	t.forms[0] = newForms(f.Original, f.Reply.Inverse(), false)
	t.forms[1] = newForms(f.Reply, f.Original.Inverse(), true)
	t.nodes = t.formNodes()
}

func newForms(before, after packet.Tuple, reply bool) forms {
	return forms{before: before, after: after, half: middle(before, after, reply), otherHalf: middle(after, before, reply)}
}

// middle is the tuple on the way from before to after whose destination is
// translated and whose source is not. An echo id is translated with the source
// of a request, and so with the destination of its reply.
func middle(before, after packet.Tuple, reply bool) packet.Tuple {
	m := before.Half(after)
	if p := before.Protocol; (p == packet.ICMP || p == packet.ICMPv6) && reply {
		m.SourcePort = after.SourcePort
	}
	return m
}

func (t *trackedFlow) direction(reply bool) *forms {
	if reply {
		return &t.forms[1]
	}
	return &t.forms[0]
}

// ask remembers a journey of the original direction.
func (t *trackedFlow) ask(q query) {
	t.queries[t.asked%len(t.queries)] = q
	t.asked++
	t.unanswered++
	t.crossed = t.crossed || t.unanswered > 1
}

// answer finds the question that a packet of the reply direction answers, where
// the packets themselves tell: an echo by its number, the beginning of a
// connection by its flags, a name by the message id. Any other datagram is an
// answer when exactly one was asked before it. again: it was looked up before, and
// is shown anew.
func (t *trackedFlow) answer(h *packet.Headers, a query, again bool) (uint64, bool) {
	switch {
	case h.IsEcho():
		return t.asker(func(q query) bool { return q.seq == h.ICMPSeq })
	case h.Layers.Has(packet.LayerTCP):
		return t.asker(func(q query) bool { return h.TCPFlags&packet.SYN != 0 && q.flags&packet.SYN != 0 })
	case a.hasDNS:
		return t.asker(func(q query) bool { return q.hasDNS && q.dns == a.dns })
	case !h.Layers.Has(packet.LayerUDP) || t.crossed || again != (t.unanswered == 0):
		return 0, false
	}
	t.unanswered = 0
	return t.asker(func(query) bool { return true })
}

// asker finds the newest journey of the original direction that ok accepts.
func (t *trackedFlow) asker(ok func(query) bool) (uint64, bool) {
	for i := t.asked - 1; i >= 0 && i >= t.asked-len(t.queries); i-- {
		if q := t.queries[i%len(t.queries)]; ok(q) {
			return q.journey, true
		}
	}
	return 0, false
}

// flowKey identifies an entry. The kernel's id is a hash of the entry's address
// and tuple (nf_ct_get_id): two of many can share one.
type flowKey struct {
	id       uint32
	original packet.Tuple
}

func keyOf(f *netfilter.Flow) flowKey { return flowKey{f.ID, f.Original} }

// flowIndex finds the flow of a tuple, for one namespace.
type flowIndex struct {
	byID    map[flowKey]*trackedFlow
	byTuple flowTable
	dead    []*trackedFlow // in the order of their death
	// asked has the translated UDP flows that live, by what their answers look
	// like apart from the address they come from: see askedKey.
	asked   map[packet.Tuple]*trackedFlow
	tracked [2]bool // something was: IPv4, IPv6
	silent  bool    // the kernel tells of no flow that begins
	zoned   bool    // rules or others put some flow into a zone
	// renumbers: connection tracking may rewrite what is said in some flow.
	renumbers bool
	// failures are what the kernel's statistics tell, oldest first.
	failures []netfilter.Failures
}

func newFlowIndex() *flowIndex {
	return &flowIndex{byID: map[flowKey]*trackedFlow{}, byTuple: newFlowTable(), asked: map[packet.Tuple]*trackedFlow{}}
}

// tracks reports whether connections of the packet's family are tracked where it
// was seen: something was, or a rule makes the kernel do so. The kernel begins to
// with the first rule that needs it, for each family by itself (nf_ct_netns_get).
func (c *Correlator) tracks(s *sighting) bool {
	x := c.flows[s.point.Namespace]
	return x != nil && (x.tracked[family(s.tuple)] || c.rulesTrack[s.point.Namespace][family(s.tuple)])
}

func family(t packet.Tuple) int {
	if t.Is4() {
		return 0
	}
	return 1
}

const (
	// keepDead is how long the flow of a packet that came before can still be asked
	// for after the flow died: longer than a packet can be on its way.
	keepDead = 5e9
	// maxDead is how many of them are kept: a full table ends a flow for each that
	// begins.
	maxDead = 1 << 15
)

// apply takes in one event. It returns the flow that the event says began; nil for
// other events.
func (x *flowIndex) apply(e *netfilter.Event) (began *trackedFlow) {
	x.tracked[family(e.Flow.Original)] = true
	key := keyOf(&e.Flow)
	old := x.byID[key]
	if old != nil && old.Reply != e.Flow.Reply {
		// The kernel reused the id, and its DESTROY was lost.
		x.bury(old, e.After)
		old = nil
	}
	if e.Kind == netfilter.Destroy {
		if old == nil {
			// Its birth was never told: packets of the last moments may still
			// need it.
			old = x.add(e.Flow, 0, 0)
		}
		x.bury(old, e.Before)
		return nil
	}
	if old == nil {
		var after, before int64
		if e.Kind == netfilter.New {
			after, before = e.After, e.Before
		}
		old = x.add(e.Flow, after, before)
	}
	if e.Kind == netfilter.New && old.bornBefore == 0 {
		// A dump under way told of it before its own news came.
		old.bornAfter, old.bornBefore = e.After, e.Before
		old.endTrails()
	}
	told := e.Flow
	told.Complete(&old.Flow)
	old.Flow = told
	x.renumbers = x.renumbers || renumbers(&told)
	old.named = e.Before
	if old.answered == 0 && e.Flow.Status&netfilter.SeenReply != 0 {
		old.answered = max(e.Before, 1)
	}
	if e.Kind == netfilter.New {
		return old
	}
	return nil
}

func (x *flowIndex) add(f netfilter.Flow, after, before int64) *trackedFlow {
	t := newTrackedFlow(f)
	t.bornAfter, t.bornBefore = after, before
	x.zoned = x.zoned || f.Zones() != (netfilter.Zones{})
	x.insert(t)
	return t
}

// insert makes a flow findable.
func (x *flowIndex) insert(t *trackedFlow) {
	x.byID[keyOf(&t.Flow)] = t
	if t.Reply.Protocol == packet.UDP && t.translated() {
		x.asked[askedKey(t.Reply)] = t
	}
	for i := range t.nodes {
		x.byTuple.add(&t.nodes[i])
	}
}

// correct replaces what an inferred flow was taken to translate. Who refers to it
// goes on to do so.
func (x *flowIndex) correct(t *trackedFlow, f netfilter.Flow) {
	delete(x.byID, keyOf(&t.Flow))
	if key := askedKey(t.Reply); x.asked[key] == t {
		delete(x.asked, key)
	}
	for i := range t.nodes {
		x.byTuple.remove(&t.nodes[i])
	}
	t.setFlow(f)
	x.insert(t)
}

// formNodes makes one node for each different tuple that packets of t can carry.
// Whole forms come before halves: where tuples are equal, the whole one counts.
func (t *trackedFlow) formNodes() (nodes []formNode) {
	add := func(tuple packet.Tuple, reply bool, form form) {
		if !slices.ContainsFunc(nodes, func(n formNode) bool { return n.tuple == tuple }) {
			nodes = append(nodes, formNode{tuple: tuple, ref: flowRef{flow: t, reply: reply, form: form}})
		}
	}
	nodes = make([]formNode, 0, 4) // more are rare: most flows are translated on one side at most
	add(t.forms[0].before, false, formBefore)
	add(t.forms[1].before, true, formBefore)
	add(t.forms[0].after, false, formAfter)
	add(t.forms[1].after, true, formAfter)
	for i, reply := range []bool{false, true} {
		add(t.forms[i].half, reply, formHalf)
		add(t.forms[i].otherHalf, reply, formHalf)
	}
	return nodes
}

// share notes that t has a tuple in common with another flow, so that the time of a
// packet decides whose it is.
func (t *trackedFlow) share() {
	t.shared = true
	t.endTrails()
}

// endTrails ends those that count on t.
func (t *trackedFlow) endTrails() {
	for _, tr := range t.trails {
		tr.epoch = 0
	}
	t.trails = nil
}

// bury marks a flow as dead; sweep removes it later.
func (x *flowIndex) bury(t *trackedFlow, at int64) {
	if t.died != 0 {
		return
	}
	t.died = max(at, 1)
	t.endTrails()
	if key := keyOf(&t.Flow); x.byID[key] == t {
		delete(x.byID, key)
	}
	if t.Reply.Protocol == packet.UDP {
		if key := askedKey(t.Reply); x.asked[key] == t {
			delete(x.asked, key)
		}
	}
	if len(x.dead) == maxDead {
		x.remove(maxDead / 8)
	}
	x.dead = append(x.dead, t)
}

// synced ends a dump that began at since: a flow that no event named since then
// is gone, though nobody told.
func (x *flowIndex) synced(since, at int64) {
	for _, t := range x.byID {
		if t.named < since {
			x.bury(t, at)
		}
	}
}

// sweep forgets flows that died long before now.
func (x *flowIndex) sweep(now int64) {
	n := 0
	for n < len(x.dead) && x.dead[n].died < now-keepDead {
		n++
	}
	x.remove(n)
}

// remove forgets the n that have been dead for longest.
func (x *flowIndex) remove(n int) {
	if n == 0 {
		return
	}
	for _, t := range x.dead[:n] {
		for i := range t.nodes {
			x.byTuple.remove(&t.nodes[i])
		}
	}
	x.dead = slices.Delete(x.dead, 0, n)
}

// forgetTimes makes every flow older than the capture, and what died swept
// soon, after the clock was set. The next dump says which live. What was read of the
// statistics is of no time any more.
func (x *flowIndex) forgetTimes() {
	for _, t := range x.byID {
		t.bornAfter, t.bornBefore, t.named, t.answered = 0, 0, 0, min(t.answered, 1)
	}
	for _, t := range x.dead {
		t.bornAfter, t.bornBefore, t.died = 0, 0, 1
	}
	x.failures = nil
}

// confirmLead is how long before its conntrack event a flow's first packet can
// have been at a tap: it is confirmed only when it leaves the last hook.
const confirmLead = 20e6

// find returns the flow that a packet with this tuple, seen at that time,
// belonged to. Ports and ids are reused, so the time decides between several; a packet
// that came when all of them had died has none, nor has one whose tuple flows have in
// different zones.
func (x *flowIndex) find(tuple *packet.Tuple, at int64) flowRef { return x.findIn(tuple, at, nil) }

// findIn is find for a packet that is looked up in some zones; nil: which is not known.
func (x *flowIndex) findIn(tuple *packet.Tuple, at int64, in *zones) flowRef {
	var late flowRef
	between := false
	for n := (*x.byTuple.head(tuple)).first(tuple); n != nil; n = n.next.first(tuple) {
		r := n.ref
		switch {
		case in != nil && !in.finds(r):
		case r.flow.early(at):
			late = r
		case r.flow.gone(at):
			between = true
		case in == nil && x.zoned && r.flow.shared && n.inOtherZone(at):
			return flowRef{}
		default:
			return r
		}
	}
	if between {
		// Between two lives of a tuple: the packet that begins the next one is
		// seen before the kernel tells of it.
		return late
	}
	return flowRef{}
}

// early reports whether a packet of that time came before the flow's first.
func (t *trackedFlow) early(at int64) bool {
	return t.bornAfter != 0 && at < t.bornAfter-confirmLead
}

// flowOf returns the flow that a packet belongs to: by its own tuple, or, for an
// ICMP error, by the tuple it quotes.
func (c *Correlator) flowOf(ns netns.ID, h *packet.Headers, at int64) flowRef {
	return c.flowIn(ns, h, at, nil)
}

// flowIn is flowOf for a packet that is looked up in some zones; nil: which is not known.
func (c *Correlator) flowIn(ns netns.ID, h *packet.Headers, at int64, in *netfilter.Zones) flowRef {
	if c.foreign {
		ns = 0 // whose packets these are nobody tells
	}
	x := c.flows[ns]
	if x == nil {
		return flowRef{}
	}
	var looked *zones
	quotes := h.Layers.Has(packet.LayerQuoted)
	if in != nil {
		looked = &zones{*in, quotes}
	}
	if quotes {
		return x.findIn(&h.Quoted, at, looked).quoted()
	}
	if isLaterPiece(h) {
		return flowRef{}
	}
	return x.findIn(&h.Tuple, at, looked)
}

// quoted is what an ICMP error is to the flow that the packet in it belongs to.
func (r flowRef) quoted() flowRef {
	if r.flow == nil {
		return r
	}
	r.reply, r.about = !r.reply, true
	// What the quoted packet had behind it, the error has before it.
	switch r.form {
	case formBefore:
		r.form = formAfter
	case formAfter:
		r.form = formBefore
	}
	return r
}
