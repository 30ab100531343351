package live

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// nearlyFull is from what percentage on a conntrack table is spoken of. It is
// asked for its size now and then only, while a full one comes and goes.
const nearlyFull = 95

// warnings puts into words what limits a watch, each limit once when it begins.
type warnings struct {
	say func(string)
	// full, blind and unlisted are the namespaces that were said to have a
	// full table, rules that can't be read, flows that can't be listed.
	full, blind, unlisted map[netns.ID]bool
	// refusing are those that were said to drop packets for want of an entry.
	refusing map[netns.ID]bool
	// clashes counts for each the packets that went on with another's entry.
	clashes map[netns.ID]uint64
	// silent are those that were said to tell of no flow that begins, exempt
	// those with rules that take packets out of connection tracking.
	silent, exempt map[netns.ID]bool
	// paused: it was said that rules are traced in a part of the time only.
	paused bool
}

// turn remembers a namespace's state and reports whether it has just begun.
func turn(states *map[netns.ID]bool, id netns.ID, now bool) (began bool) {
	if !now {
		delete(*states, id)
		return false
	}
	if *states == nil {
		*states = map[netns.ID]bool{}
	}
	began = !(*states)[id]
	(*states)[id] = true
	return began
}

// flows looks at what connection tracking said.
func (w *warnings) flows(b *netfilter.Batch, t *netinfo.Topology) {
	w.failures(b, t)
	if b.DumpError != nil || b.Synced {
		if turn(&w.unlisted, b.Namespace, b.DumpError != nil) {
			w.say(fmt.Sprintf("flows of %s that are older than the watch are unknown: %v", t.NamespaceName(b.Namespace), b.DumpError))
		}
	}
	if b.Synced && turn(&w.silent, b.Namespace, b.Silent) {
		w.say(fmt.Sprintf("connection tracking of %s tells of no flow that begins (net.netfilter.nf_conntrack_events = 0): "+
			"its translations are inferred until they are found in the table, and its drops are not told from deliveries", t.NamespaceName(b.Namespace)))
	}
	if b.Synced && turn(&w.full, b.Namespace, b.MaxEntries > 0 && uint64(b.Entries)*100 >= uint64(b.MaxEntries)*nearlyFull) {
		w.say(fmt.Sprintf("the conntrack table of %s is full or nearly, %d of %d: when it is, the kernel drops the packets of new flows "+
			"(sysctl net.netfilter.nf_conntrack_max)", t.NamespaceName(b.Namespace), b.Entries, b.MaxEntries))
	}
}

// failures looks at what connection tracking failed at: that it drops packets is said
// once, as it may go on for long.
func (w *warnings) failures(b *netfilter.Batch, t *netinfo.Topology) {
	f := b.Failures
	if f == nil {
		return
	}
	w.resolved(b.Namespace, f.Resolved, t)
	if f.Dropped == 0 || !turn(&w.refusing, b.Namespace, true) {
		return
	}
	why := "it could make no entry for them"
	switch {
	case f.Full() && !f.FullNow():
		why = "its table is full now and then (sysctl net.netfilter.nf_conntrack_max)"
	case f.Full():
		why = fmt.Sprintf("its table is full, %d of %d (sysctl net.netfilter.nf_conntrack_max)", f.Entries, f.MaxEntries)
	case f.InsertFailed > 0:
		why = "another flow had the same addresses and ports at the same moment (insert_failed)"
	}
	w.say(fmt.Sprintf("connection tracking of %s drops packets, %d of late: %s", t.NamespaceName(b.Namespace), f.Dropped, why))
}

// resolved counts clashes of which nothing was dropped. They are told the first time
// and whenever there are ten times as many: who asks for a name does it with two
// questions at once, and clashes a little all day.
func (w *warnings) resolved(id netns.ID, more uint64, t *netinfo.Topology) {
	if more == 0 {
		return
	}
	if w.clashes == nil {
		w.clashes = map[netns.ID]uint64{}
	}
	before := w.clashes[id]
	w.clashes[id] = before + more
	if len(fmt.Sprint(before)) == len(fmt.Sprint(before+more)) && before > 0 {
		return
	}
	w.say(fmt.Sprintf("connection tracking of %s resolved clashes, %d so far: first packets of one flow that came at the same moment, "+
		"as two DNS questions from one socket do; all went on, those that came second with the first one's entry (clash_resolve)",
		t.NamespaceName(id), before+more))
}

// rules looks at what was read of the rules.
func (w *warnings) rules(r *netfilter.Ruleset, t *netinfo.Topology) {
	if turn(&w.exempt, r.Namespace, r.Exempts()) {
		w.say(fmt.Sprintf("a rule of %s takes packets out of connection tracking (notrack): they are not translated, and their drops are not told from deliveries",
			t.NamespaceName(r.Namespace)))
	}
	if turn(&w.blind, r.Namespace, r.Unreadable != nil) {
		w.say(fmt.Sprintf("which rule translates is not said in %s: %v", t.NamespaceName(r.Namespace), r.Unreadable))
	}
}

// topology says what a new topology notes that the one before did not.
func (w *warnings) topology(last, t *netinfo.Topology) {
	for _, n := range t.Notes {
		if !slices.Contains(last.Notes, n) {
			w.say(n.About + ": " + n.Text)
		}
	}
	for _, states := range []map[netns.ID]bool{w.full, w.blind, w.unlisted, w.refusing, w.silent, w.exempt} {
		maps.DeleteFunc(states, func(id netns.ID, _ bool) bool { return t.Namespace(id) == nil })
	}
	maps.DeleteFunc(w.clashes, func(id netns.ID, _ uint64) bool { return t.Namespace(id) == nil })
}

// hits looks at what was told of the trace of rules.
func (w *warnings) hits(b *netfilter.HitBatch) {
	if b.PausedAt == 0 || w.paused {
		return
	}
	w.paused = true
	w.say("so many packets that asking each whether it is traced would cost too much: they are traced in a fifth of the time only, " +
		"until there are fewer; the summary tells for how long not")
}

func (w *warnings) clock(by time.Duration) {
	w.say(fmt.Sprintf("the clock was set by %v: packets on their way then are unfinished", by))
}
