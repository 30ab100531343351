package probe

import (
	"fmt"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/trace"
)

// Agreement says whether what was observed is what was expected.
type Agreement uint8

const (
	NotCompared Agreement = iota // nothing was expected for sure
	AsExpected
	// Consistent: a drop was expected, and no more was seen than that it came no further.
	Consistent
	NotAsExpected
)

// Difference is one thing that was not as it was expected. What is "result"; where that is
// the same, "rule", "translation", or "packet": which one was dropped.
type Difference struct{ What, Expected, Observed string }

// Agreement compares what became of the packet with the expectation: the result, the rule
// that ended it, and what was made of its addresses. There are differences when it is
// NotAsExpected.
func (o *Outcome) Agreement() (Agreement, []Difference) {
	e := o.Expected
	switch {
	case e == nil || e.Unsure != "" || o.Failed != nil || o.Sent == (Sent{}) && o.Answer.Result != NotSent && o.Answer.Result != Forbidden:
		return NotCompared, nil
	case o.Result == Lost && o.Cause.Journey != nil && o.Cause.Journey.Verdict.Result == trace.Unfinished:
		return NotCompared, nil // too little was seen of it
	case e.Result == Dropped && o.Result == Lost && (e.Answer || !o.cameOn()):
		return Consistent, nil // a drop that no rule makes, or one that was not watched
	}
	var all []Difference
	switch {
	case e.Result != o.Result:
		all = append(all, Difference{"result", string(e.Result), string(o.Result)})
	case o.Result == Dropped:
		all = o.otherDrop()
	case o.Result == Reached || o.Result == RefusedBy:
		all = o.otherTranslations()
	}
	if len(all) > 0 {
		return NotAsExpected, all
	}
	return AsExpected, nil
}

// cameOn reports whether the packet was seen to leave the namespace in which it was
// expected to end.
func (o *Outcome) cameOn() bool {
	if len(o.Expected.Stages) == 0 {
		return true
	}
	end := o.Expected.Stages[len(o.Expected.Stages)-1].Namespace.ID
	return slices.ContainsFunc(o.Journeys.There, func(j *trace.Journey) bool {
		return slices.ContainsFunc(j.Hops, func(h trace.Hop) bool { return h.Point.Namespace == end && h.Point.Direction == capture.Out })
	})
}

// otherDrop compares what was dropped, and by which rule. A drop of which no rule was
// observed differs from none that was expected.
func (o *Outcome) otherDrop() []Difference {
	e := o.Expected
	if e.Answer != o.Cause.Answer {
		which := map[bool]string{false: "the packet", true: "its answer"}
		return []Difference{{"packet", which[e.Answer], which[o.Cause.Answer]}}
	}
	var observed *netfilter.RuleRef
	by := ""
	switch j := o.Cause.Journey; {
	case o.Cause.Rule != nil:
		observed = o.Cause.Rule
	case j != nil && j.Verdict.Rule != nil:
		observed = &j.Verdict.Rule.RuleRef
	case j != nil:
		by = j.Verdict.By
	}
	switch {
	case observed == nil && (by == "" || e.Rule == nil):
		return nil
	case observed == nil:
		return []Difference{{"rule", ruleName(e.Rule), by}}
	case e.Rule == nil:
		return []Difference{{"rule", e.Reason, ruleName(observed)}}
	case !sameRule(e.Rule, observed):
		return []Difference{{"rule", ruleName(e.Rule), ruleName(observed)}}
	}
	return nil
}

func ruleName(r *netfilter.RuleRef) string { return fmt.Sprintf("%s, rule %d", r.Chain, r.Position) }

// sameRule compares by what people see: the same rule may have been read twice.
func sameRule(a, b *netfilter.RuleRef) bool {
	return a.Family == b.Family && a.Table == b.Table && a.Chain == b.Chain && a.Position == b.Position && a.Text == b.Text
}

// otherTranslations compares what was made of the addresses on the way there.
func (o *Outcome) otherTranslations() (all []Difference) {
	var expected, observed []change
	for i := range o.Expected.Stages {
		for _, x := range o.Expected.Stages[i].NAT {
			if c := (change{x.Kind, x.Before, x.After, true}); c.changes() {
				expected = append(expected, c)
			}
		}
	}
	journeys := o.Journeys.There[:min(1, len(o.Journeys.There))]
	if made := o.Journeys.Proxied(); made != nil {
		journeys = append(slices.Clone(journeys), made)
	}
	for _, j := range journeys {
		for i := range j.Translations {
			if t := &j.Translations[i]; !t.Undo && t.Kind != trace.Proxy {
				observed = append(observed, change{t.Kind, t.Before, t.After, t.Rule != nil})
			}
		}
	}
	if len(journeys) == 0 {
		return nil
	}
	for i := range max(len(expected), len(observed)) {
		want, got := "none", "none"
		if i < len(expected) {
			want = expected[i].String()
		}
		if i < len(observed) {
			got = observed[i].String()
		}
		if i >= len(expected) || i >= len(observed) || !expected[i].is(observed[i]) {
			all = append(all, Difference{"translation", want, got})
		}
	}
	return all
}

// change is a translation of one end.
type change struct {
	kind          string
	before, after packet.Tuple
	ruled         bool // the rule is known, and with it the kind
}

// changes reports whether it does: masquerading to the address that a packet has does not.
func (c change) changes() bool { return c.before != c.after }

func (c change) ofDestination() bool { return c.kind == "dnat" || c.kind == "redirect" }

// is compares an expected change with an observed one. Without a rule SNAT and DNAT are
// said of every kind; a netmap changes either end.
func (c change) is(o change) bool {
	if c.kind != o.kind && (o.ruled || c.kind != "netmap" && c.ofDestination() != o.ofDestination()) {
		return false
	}
	return !c.after.Valid() || c.to() == o.to()
}

func (c change) to() string {
	if c.before.Destination() != c.after.Destination() || c.ofDestination() {
		return c.after.Destination().String()
	}
	return c.after.Source().String()
}

func (c change) String() string {
	if !c.after.Valid() {
		return c.kind
	}
	return c.kind + " to " + c.to()
}
