package trace

import (
	"slices"

	"natlens/netinfo/netfilter"
)

// counted is what the counters of a namespace's rules say, and who may have moved
// them: the drops that were settled lately.
type counted struct {
	reads []netfilter.Counts    // oldest first
	drops []ruledDrop           // oldest first
	asked [keepAskedTimes]int64 // when address resolution was seen there last
	asks  int
	from  int64 // before that, drops are not remembered
	nat   countedNAT
}

// ruledDrop is a packet that a rule dropped.
type ruledDrop struct {
	time int64
	rule netfilter.RuleID // or policy; zero: not known
	sure bool             // it is that one; else it may be any
}

const (
	keepReads = 16
	// keepAskedTimes is how many messages of address resolution are remembered; when
	// more came lately, nothing is said of them.
	keepAskedTimes = 64
	keepDrops      = 4096
	// maxUndecided is how many open journeys are asked whether they may have
	// moved a counter, and maxOpen among how many they are looked for.
	maxUndecided = 16
	maxOpen      = 1024
	// ruleDelay is how long after its last tap a packet may meet a rule.
	ruleDelay = 50e6
)

// AddCounts takes in what the rules of a namespace have counted.
func (c *Correlator) AddCounts(n netfilter.Counts) {
	x := c.countedAt(n)
	if n.Since == 0 || len(x.reads) > 0 && x.reads[len(x.reads)-1].Start != n.Since {
		x.reads = x.reads[:0] // what moved before can't be told
	}
	if len(x.reads) == keepReads {
		x.reads = append(x.reads[:0], x.reads[1:]...)
	}
	x.reads = append(x.reads, n)
	x.nat.read(x.reads[0].Start)
}

func (c *Correlator) countedAt(n netfilter.Counts) *counted {
	x := c.counted[n.Namespace]
	if x == nil {
		x = &counted{}
		c.counted[n.Namespace] = x
	}
	return x
}

// confirmed reports whether the rule's counter moved by exactly the packets that
// it is known to have dropped about the time of this one, and no other packet may
// have moved it. It remembers the packet as such a drop.
func (c *Correlator) confirmed(s *sighting, r *ruling) bool {
	x := c.counted[s.point.Namespace]
	if x == nil {
		return false
	}
	id, sure := r.decisive()
	drop := ruledDrop{time: s.time, rule: id, sure: sure}
	x.remember(drop)
	if !sure || c.lostRing.since(s.time) > 0 {
		return false
	}
	after, before, moved, ok := x.around(s.time, drop.rule)
	if !ok || moved == 0 || c.readings[s.point.Namespace].changed(after, before) || x.from > after || x.resolved(after-ruleDelay, before) && r.rules.SeesOthers(id) {
		return false
	}
	var known uint64
	for _, d := range x.drops {
		switch {
		case d.time < after-ruleDelay || d.time > before:
		case !d.sure:
			return false
		case d.rule == drop.rule:
			known++
		}
	}
	open, ok := c.undecided(s, drop.rule, after-ruleDelay, before)
	return ok && known+open == moved
}

// resolves notes a message of address resolution, which rules of frames may count.
func (x *counted) resolves(at int64) {
	x.asked[x.asks%len(x.asked)] = at
	x.asks++
}

// resolved reports whether there was such a message between two times, or may have been.
func (x *counted) resolved(after, before int64) bool {
	oldest := x.asked[x.asks%len(x.asked)]
	return oldest >= after || slices.ContainsFunc(x.asked[:], func(at int64) bool { return at >= after && at <= before })
}

// decisive names the rule or the policy that ended the packet's way; false where
// none did, or it is not known which.
func (r *ruling) decisive() (id netfilter.RuleID, sure bool) {
	switch {
	case r.Decisive != nil:
		return r.Decisive.ID(), true
	case r.Policy != nil:
		return r.Policy.ID(), true
	}
	return id, false
}

// around sums up how far a rule's counter moved in the readings around a time:
// from the last one that was over by then to the first that began well after it.
func (x *counted) around(at int64, rule netfilter.RuleID) (after, before int64, moved uint64, ok bool) {
	first := -1
	for i := range x.reads {
		if x.reads[i].End <= at {
			first = i
		}
	}
	if first < 0 {
		return 0, 0, 0, false
	}
	for i := first + 1; i < len(x.reads); i++ {
		for _, n := range x.reads[i].Moved {
			if n.Rule == rule {
				moved += n.Packets
			}
		}
		if x.reads[i].Start >= at+ruleDelay {
			return x.reads[first].Start, x.reads[i].End, moved, true
		}
	}
	return 0, 0, 0, false
}

func (x *counted) remember(d ruledDrop) {
	if len(x.drops) == keepDrops {
		x.from = x.drops[keepDrops/2].time
		x.drops = append(x.drops[:0], x.drops[keepDrops/2:]...)
	}
	x.drops = append(x.drops, d)
}

// undecided counts the journeys that are still open, were seen last in that
// namespace at that time, and are dropped by the rule for sure; false when one of
// them may be, or when there are too many to ask.
func (c *Correlator) undecided(s *sighting, rule netfilter.RuleID, after, before int64) (n uint64, ok bool) {
	var asked []*entry
	pending := c.settling[statePending-1].all()
	if len(pending) > maxOpen {
		return 0, false
	}
	for _, t := range pending {
		e := c.turn(statePending, t)
		if e == nil || e.length() == 0 {
			continue
		}
		last := &e.hops()[len(e.hops())-1]
		if last.time == s.time && last.point == s.point && last.extent == s.extent || last.point.Namespace != s.point.Namespace || !rulable(last) || last.time < after || last.time > before {
			continue
		}
		if asked = append(asked, e); len(asked) > maxUndecided {
			return 0, false
		}
	}
	for _, e := range asked {
		hops := c.reassembled(e, e.hops())
		switch c.completeness(e, &hops[len(hops)-1], hops) {
		case incomplete:
			continue // no rule has seen it
		case notAllSeen:
			return 0, false
		case complete:
		}
		r, known := c.rule(hops)
		switch id, sure := r.decisive(); {
		case !known || r.Verdict == "":
			return 0, false
		case sure && id == rule:
			n++
		case !sure && r.Verdict != netfilter.Accepted:
			return 0, false
		}
	}
	return n, true
}
