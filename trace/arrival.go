package trace

import (
	"slices"

	"natlens/capture"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// arrivals are the namespaces whose rules may drop what has come to them, which is
// behind the last tap.
type arrivals map[netns.ID]*arrivalSpace

// arrivalSpace is the rules that such a namespace had lately.
type arrivalSpace struct {
	rules   []arrivalRules // oldest first
	dropped int64          // when the last packet came that they drop; 0: none did
}

// arrivalRules is one reading of them.
type arrivalRules struct {
	*netfilter.Ruleset
	may   bool  // they may drop something
	delay int64 // how long after the change they may have been read
}

const (
	// maxArrivals is how many packets that came to their end are walked through the rules
	// in a second of their time. It is no part of maxRulings: what a busy host gets
	// must not take the rulings from what was dropped on its way.
	maxArrivals = 500
	// arrivalMemory is for how long it counts that a rule dropped another packet.
	arrivalMemory = 5e9
	// rulesDelay is how long after a change rules may be read, as changes are gathered;
	// those of iptables-legacy are looked for every second.
	rulesDelay       = 700e6
	legacyRulesDelay = 1.5e9
	// keepRules is for longer than a journey waits for its next hop.
	keepRules = 10e9
	// maxKeptRules is how many readings are kept.
	maxKeptRules = 16
)

// set takes in the rules of a namespace.
func (all arrivals) set(r *netfilter.Ruleset) {
	x, may := all[r.Namespace], r.MayDrop(netfilter.Prerouting, netfilter.Input)
	switch {
	case x == nil && (!may || r.Unreadable != nil):
		return
	case x == nil:
		x = &arrivalSpace{}
		all[r.Namespace] = x
	}
	delay := int64(rulesDelay)
	if len(r.Legacy()) > 0 {
		delay = legacyRulesDelay
	}
	x.rules = append(x.rules, arrivalRules{r, may, delay})
	for len(x.rules) > maxKeptRules || len(x.rules) > 1 && x.rules[1].Time < r.Time-keepRules {
		x.rules = slices.Delete(x.rules, 0, 1)
	}
	if !slices.ContainsFunc(x.rules, func(r arrivalRules) bool { return r.may }) {
		delete(all, r.Namespace)
	}
}

// forgetTimes keeps the rules as they are, after the clock was set.
func (all arrivals) forgetTimes() {
	for _, x := range all {
		x.rules, x.dropped = x.rules[len(x.rules)-1:], 0
	}
}

// met returns the readings of which a packet may have met the rules that came at that
// time, as far as they are made: the last one before, and those so soon after it that
// the rules may have changed before it came. None where they were not known yet, or
// could drop nothing.
func (x *arrivalSpace) met(at int64) []arrivalRules {
	if x == nil {
		return nil
	}
	first, end := -1, 0
	for i := range x.rules {
		if x.rules[i].Time < at {
			first = i
		}
		if x.rules[i].Time < at+x.rules[i].delay {
			end = i + 1
		}
	}
	if first < 0 || !slices.ContainsFunc(x.rules[first:end], func(r arrivalRules) bool { return r.may }) {
		return nil
	}
	return x.rules[first:end]
}

// arrivalState is what the rules were found to make of a packet that came to its end.
type arrivalState uint8

const (
	arrivalUnasked arrivalState = iota
	arrivalPassed               // they let it pass, or it is not known
	arrivalStopped              // they drop it, as far as they were read
)

// halts reports whether the rules of the namespace that a journey came to drop its
// packet there: it then has no end that was seen, and waits as others do that have none,
// until it is known whether the rules were others by then, and what they counted.
func (c *Correlator) halts(e *entry) bool {
	switch {
	case c.sink.Journey == nil || e.arrival != arrivalUnasked || e.shownAs != 0:
		return false
	case c.awaitsPieces(e):
		return true
	case len(c.arrivals) == 0:
		return false
	}
	steps, hops := e.steps, e.hops()
	c.inOrder(hops)
	hops = c.reassembled(e, hops)
	for i := len(hops) - 1; i >= 0; i-- {
		if result, _ := c.end(&hops[i]); result == Delivered && hops[i].typ == capture.Host {
			e.arrival = c.arrives(e.id, hops[:i+1])
			break
		}
	}
	if e.arrival == arrivalStopped {
		return true
	}
	e.fold(steps)
	return false
}

// arrives asks the rules of the namespace that the last of a journey's hops is in, if
// they may be asked yet.
func (c *Correlator) arrives(id uint64, hops []sighting) arrivalState {
	s := &hops[len(hops)-1]
	x := c.arrivals[s.point.Namespace]
	rules := x.met(s.time)
	switch {
	case len(rules) == 0 || s.flow.passed(id, c.now):
		return arrivalPassed
	case !c.arrived.spend(c.now, maxArrivals):
		return arrivalUnasked
	}
	if _, first, _ := c.askAll(rules, hops); first {
		x.dropped = max(x.dropped, s.time)
		return arrivalStopped
	}
	return arrivalPassed
}

// askAll walks a packet through all the rules that it may have met where the last of
// hops saw it. r is what the newest make of it; first and all report whether the oldest
// of them are sure to drop it, and all of them are.
func (c *Correlator) askAll(rules []arrivalRules, hops []sighting) (r ruling, first, all bool) {
	all = true
	for i := range rules {
		r, _ = c.evaluate(rules[i].Ruleset, hops)
		// Else the routes lead it on from here.
		here := r.Hook == netfilter.Ingress || r.Hook == netfilter.Prerouting || r.Hook == netfilter.Input
		drops := here && (r.Verdict == netfilter.Dropped || r.Verdict == netfilter.Rejected)
		first, all = first || i == 0 && drops, all && drops
	}
	return r, first, all
}

// stopped reports whether the rules drop a packet that came to the namespace it is for,
// where the last of hops saw it, or may have, and puts that into v. asked is what they
// said before.
func (c *Correlator) stopped(hops []sighting, v *Verdict, asked arrivalState) bool {
	s := &hops[len(hops)-1]
	x := c.arrivals[s.point.Namespace]
	rules := x.met(s.time)
	if len(rules) == 0 || s.typ != capture.Host || asked == arrivalPassed {
		return false
	}
	unknown := Verdict{
		Result: Unfinished, Hop: len(hops) - 1, Evidence: ByTap,
		Reason: "it came to " + s.space.name + "; whether a rule dropped it there is unknown: ",
	}
	if asked == arrivalUnasked && !c.arrived.spend(c.now, maxArrivals) {
		if x.dropped == 0 || s.time-x.dropped > arrivalMemory {
			return false
		}
		*v = unknown
		v.Reason += "more come at once than the rules are asked about"
		return true
	}
	switch r, first, all := c.askAll(rules, hops); {
	case all:
		*v = Verdict{Hop: len(hops) - 1}
		c.sentence(s, &r, v)
	case first || asked == arrivalStopped:
		*v = unknown
		v.Reason += "the rules changed about that time"
	default:
		return false
	}
	return true
}
