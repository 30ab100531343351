package trace

import (
	"natlens/capture"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// countedNAT is who may have moved the counters of a namespace's rules of NAT: only
// packets that begin a flow meet them.
type countedNAT struct {
	births []*trackedFlow // that connection tracking told of, oldest first
	// strangers are when packets were seen that would begin a flow and began none;
	// a rule may have translated them before they were dropped.
	strangers []int64
	from      int64  // before that, neither is remembered
	readings  uint32 // how many there were
}

const (
	keepBirths    = 4096
	keepStrangers = 1024
	// maxBirths is how many flows may have begun around one for a counter to be
	// asked about it: each of them has to be looked at.
	maxBirths = 64
	// settleCounted is how long the first packet of a translated flow waits for the
	// counters that tell by which rule.
	settleCounted = 40e6
)

func (x *countedNAT) born(t *trackedFlow) {
	if len(x.births) == keepBirths {
		x.from = max(x.from, x.births[keepBirths/2].bornBefore)
		x.births = append(x.births[:0], x.births[keepBirths/2:]...)
	}
	x.births = append(x.births, t)
}

func (x *countedNAT) passed(at int64) {
	if len(x.strangers) == keepStrangers {
		x.from = max(x.from, x.strangers[keepStrangers/2])
		x.strangers = append(x.strangers[:0], x.strangers[keepStrangers/2:]...)
	}
	x.strangers = append(x.strangers, at)
}

// read notes a reading of the counters, and forgets what is older than the oldest
// that is remembered.
func (x *countedNAT) read(oldest int64) {
	x.readings++
	n := 0
	for n < len(x.births) && x.births[n].bornBefore < oldest-ruleDelay {
		n++
	}
	if n > 0 {
		x.births = append(x.births[:0], x.births[n:]...)
	}
	n = 0
	for n < len(x.strangers) && x.strangers[n] < oldest-ruleDelay {
		n++
	}
	x.strangers = append(x.strangers[:0], x.strangers[n:]...)
}

// began takes in that a flow began.
func (c *Correlator) began(ns netns.ID, t *trackedFlow) {
	if x := c.counted[ns]; x != nil {
		x.nat.born(t)
	}
}

// strange takes in a packet that was seen coming in and is seen no more. Only if it
// would have begun a flow and began none, rules of NAT may have met it.
func (c *Correlator) strange(s *sighting) {
	if s.flow.flow != nil || s.point.Direction != capture.In {
		return
	}
	if x := c.counted[s.point.Namespace]; x != nil && !neverBegins(s.h) {
		x.nat.passed(s.time)
	}
}

// countSoon asks for a reading of the counters that can tell which rule translated a
// flow, and reports whether it is worth waiting for: there must be an earlier one.
func (c *Correlator) countSoon(f *trackedFlow) bool {
	if f.inferred || !f.translated() {
		return false
	}
	if c.sink.Count != nil {
		c.sink.Count(f.Namespace)
	}
	x := c.counted[f.Namespace]
	return x != nil && x.before(f) >= 0
}

// before returns the last reading that was over when the flow's first packet came;
// -1 when there is none.
func (x *counted) before(f *trackedFlow) int {
	for i := len(x.reads) - 1; i >= 0; i-- {
		if x.reads[i].End <= f.bornAfter-confirmLead {
			return i
		}
	}
	return -1
}

// moved reports whether the counter of the rule that translated a flow says so:
// between two readings around its birth it moved by exactly the flows that the rules
// say it translated, and no other packet can have moved it. It is tried once for each
// reading.
func (c *Correlator) moved(f *trackedFlow, which side, hook netfilter.Hook) bool {
	x, rules := c.counted[f.Namespace], c.rulesets[f.Namespace]
	index := c.flows[f.Namespace]
	if x == nil || rules == nil || index == nil || index.silent || f.bornBefore == 0 || f.tried[which] == x.nat.readings {
		return false
	}
	f.tried[which] = x.nat.readings
	first := x.before(f)
	if first < 0 {
		return false
	}
	after := x.reads[first].Start
	if rules.Time > after || x.nat.from > after-ruleDelay || c.lostFlows.since(after) > 0 {
		return false
	}
	id := f.rules[which].ID()
	var counted uint64
	for _, read := range x.reads[first+1:] {
		for _, n := range read.Moved {
			if n.Rule == id {
				counted += n.Packets
			}
		}
		if read.Start < f.bornBefore || counted == 0 {
			continue
		}
		if n, ok := c.movers(f, which, hook, after, read.End); ok && n == counted {
			return c.noneElse(f, hook, after, read.End)
		}
	}
	return false
}

// movers counts the flows that may have begun between two times and of which it is
// known whether the rule that translated f translated them, too; false when it is not
// known of all.
func (c *Correlator) movers(f *trackedFlow, which side, hook netfilter.Hook, after, before int64) (n uint64, ok bool) {
	births := c.counted[f.Namespace].nat.births
	asked := 0
	for i := len(births) - 1; i >= 0 && births[i].bornBefore >= after; i-- {
		b := births[i]
		if b.bornAfter-confirmLead > before {
			continue
		}
		if asked++; asked > maxBirths {
			return 0, false
		}
		switch c.movedBy(b, f, which, hook) {
		case netfilter.True:
			n++
		case netfilter.NotKnown:
			return 0, false
		case netfilter.False:
		}
	}
	return n, true
}

// movedBy says whether the rule that translated f met a packet of b, as the rules
// tell.
func (c *Correlator) movedBy(b, f *trackedFlow, which side, hook netfilter.Hook) netfilter.Fact {
	rule, rules, s := f.rules[which], c.rulesets[f.Namespace], c.hosts.space(f.Namespace)
	switch {
	case b == f:
		return netfilter.True
	case b.rules[which] != nil:
		return netfilter.FactOf(b.rules[which].ID() == rule.ID())
	case b.translatedAt(which, s) != hook:
		return netfilter.False // it does not come by
	}
	if b.met[which] == nil || b.met[which].rules != rules {
		if !c.mayRule() {
			return netfilter.NotKnown
		}
		q := c.asks(b, which, "", "", s)
		b.met[which] = &meeting{rules: rules, match: q}
	}
	switch m := b.met[which].match; m.Certainty {
	case netfilter.Covered:
		return netfilter.FactOf(m.Rule.ID() == rule.ID())
	case netfilter.NoRule:
		return netfilter.False
	}
	if f.kinds[which] == Masquerade && !s.has(b.Original.Source()) && !b.SourceNAT() {
		return netfilter.False // its source would be another
	}
	return netfilter.NotKnown
}

// meeting is what rules of NAT make of a flow of which no packet told by which links
// it goes.
type meeting struct {
	rules *netfilter.Ruleset
	match netfilter.Match
}

// noneElse reports whether no packet but those that began flows can have met the
// rules of NAT at that hook between two times.
func (c *Correlator) noneElse(f *trackedFlow, hook netfilter.Hook, after, before int64) bool {
	rules := c.rulesets[f.Namespace]
	switch hook {
	case netfilter.Postrouting, netfilter.Input:
		// What is translated there has only the rest of the hook before it.
		return !rules.MayDrop(hook)
	case netfilter.Output:
		// No tap sees what is dropped on the way out.
		return !rules.MayDrop(netfilter.Output, netfilter.Postrouting)
	case netfilter.Prerouting:
		return !c.anyStranger(f.Namespace, after-ruleDelay, before)
	}
	return false
}

// anyStranger reports whether a packet that would begin a flow, and had none when it
// was seen last, came in between two times; also when there are too many to look at.
func (c *Correlator) anyStranger(ns netns.ID, after, before int64) bool {
	for _, at := range c.counted[ns].nat.strangers {
		if at >= after && at <= before {
			return true
		}
	}
	pending := c.settling[statePending-1].all()
	if len(pending) > maxOpen || c.lostRing.since(after) > 0 {
		return true
	}
	for _, t := range pending {
		e := c.turn(statePending, t)
		if e == nil || e.length() == 0 {
			continue
		}
		s := &e.hops()[len(e.hops())-1]
		if s.flow.flow == nil && s.point.Namespace == ns && s.point.Direction == capture.In && s.time >= after && s.time <= before && !neverBegins(s.h) {
			return true
		}
	}
	return false
}
