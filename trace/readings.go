package trace

import (
	"fmt"
	"slices"
	"strings"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// readings are the rules that a namespace had lately, oldest first: a packet is judged
// when it was waited for, and by then its rules may be others.
type readings []reading

// reading is one of them.
type reading struct {
	*netfilter.Ruleset
	since int64 // when it was read; 0 after the clock was set
	delay int64 // how long after the change that may have been
	// exempts: they take packets out of connection tracking.
	exempts bool
}

// maxReadings is how many are kept of a namespace, and of those none that another
// replaced keepRules ago.
const maxReadings = 8

// newReading tells how sharply the time of a reading is known.
func newReading(r *netfilter.Ruleset) reading {
	x := reading{r, r.Time, rulesDelay, r.Exempts()}
	if len(r.Legacy()) > 0 {
		x.delay = legacyRulesDelay
	}
	return x
}

func (x readings) add(r *netfilter.Ruleset) readings {
	return append(x, newReading(r)).since(r.Time)
}

// since leaves out what no packet can need any more that is open now.
func (x readings) since(now int64) readings {
	n := max(0, len(x)-maxReadings)
	for n < len(x)-1 && x[n+1].since < now-keepRules {
		n++
	}
	return slices.Delete(x, 0, n)
}

// met returns the readings of which a packet may have met the rules that came at that
// time: the last one before, and those so soon after it that the rules may have changed
// before it came. known is false where none was made before, or it could not be read;
// then they are the first that there were.
func (x readings) met(at int64) (met readings, known bool) {
	first, end := -1, 0
	for i := range x {
		if x[i].since < at {
			first = i
		}
		if x[i].since < at+x[i].delay {
			end = i + 1
		}
	}
	if first < 0 {
		return x[:min(max(end, 1), len(x))], false
	}
	return x[first:end], x[first].Unreadable == nil
}

// forgetReadings keeps the rules as they are, after the clock was set.
func forgetReadings(all map[netns.ID]readings) {
	for ns, x := range all {
		newest := x[len(x)-1]
		newest.since = 0
		all[ns] = readings{newest}
	}
}

// changed reports whether rules may have changed between two times.
func (x readings) changed(after, before int64) bool {
	return slices.ContainsFunc(x, func(r reading) bool { return r.since > after && r.since-r.delay <= before })
}

// exempt reports whether some of them take packets out of connection tracking.
func (x readings) exempt() bool {
	return slices.ContainsFunc(x, func(r reading) bool { return r.exempts })
}

// standing reports whether it is known which rules of the namespace a packet met.
func (c *Correlator) standing(s *sighting) bool {
	met, known := c.readings[s.point.Namespace].met(s.time)
	return known && len(met) == 1
}

// rule evaluates the rules of the namespace in which the last of hops was seen, as they
// were then: what they do there with a packet that came in and was not seen to leave, or
// that a bridge sent to its ports. Rules of NAT are asked for the first packet of a flow
// only. Where it is not known which of several readings it met, nothing is sure but what
// all of them say.
func (c *Correlator) rule(hops []sighting) (r ruling, ok bool) {
	s := &hops[len(hops)-1]
	met, known := c.readings[s.point.Namespace].met(s.time)
	if len(met) == 0 || !c.mayRule() {
		return r, false
	}
	if r, ok = c.evaluate(met[0].Ruleset, hops); !ok {
		return r, false
	}
	suspects, same, rejecting := r.suspect(nil), true, r
	for _, later := range met[1:] {
		other, _ := c.evaluate(later.Ruleset, hops)
		suspects, same = other.suspect(suspects), same && other.says(&r)
		if other.Verdict == netfilter.Rejected {
			rejecting = other
		}
	}
	r.standing = known && same
	if r.standing || len(suspects) == 0 && same {
		return r, true
	}
	why := "the rules changed about that time"
	if !known {
		why = "the rules of that time are not known"
	}
	r = ruling{rules: r.rules, piece: r.piece, dated: true}
	if r.Unsure = why; len(suspects) > 0 {
		r.Unsure = fmt.Sprintf("%s; %s", strings.Join(suspects, " or "), why)
	}
	if len(suspects) == 1 && rejecting.Verdict == netfilter.Rejected {
		r.rejecting = &rejecting
	}
	return r, true
}

// turnsAway returns the ruling of a packet of which is known that a rule rejected it, by
// what that rule sent: the only one that may have done so was there.
func (r ruling) turnsAway() ruling {
	if r.rejecting != nil {
		return *r.rejecting
	}
	return r
}

// suspect adds what drops the packet to a list of such rules.
func (r *ruling) suspect(list []string) []string {
	var v Verdict
	if !r.decide(&v) || v.By == "" || slices.Contains(list, v.By) {
		return list
	}
	return append(list, v.By)
}

// says reports whether two readings make the same of a packet. A rule may have another
// place in its chain.
func (r *ruling) says(other *ruling) bool {
	switch {
	case r.Verdict != other.Verdict || r.Hook != other.Hook || r.stop != other.stop || r.to != other.to:
		return false
	case r.Decisive != nil && other.Decisive != nil:
		a, b := r.Decisive.RuleRef, other.Decisive.RuleRef
		a.Position, a.Handle, b.Position, b.Handle = 0, 0, 0, 0
		return a == b
	case r.Policy != nil && other.Policy != nil:
		return r.Policy.ID() == other.Policy.ID()
	}
	return r.Decisive == nil && other.Decisive == nil && r.Policy == nil && other.Policy == nil
}

// redirectedAs is redirected by the rules that the packet may have met. Where a tap saw
// what became of it, one of them has to say so; else, with a zero Tuple, all have to.
func (c *Correlator) redirectedAs(s *sighting, seen packet.Tuple) (r redirection, ok bool) {
	met, _ := c.readings[s.point.Namespace].met(s.time)
	for i := range met {
		one, will := c.redirectedBy(met[i].Ruleset, s)
		switch {
		case seen.Valid():
			if will && one.after == seen {
				return one, true
			}
		case i == 0:
			r, ok = one, will
		case will != ok || one.after != r.after:
			return redirection{}, false
		}
	}
	return r, ok
}
