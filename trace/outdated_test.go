package trace

import (
	"slices"
	"testing"
	"time"

	"natlens/netinfo/netfilter"
)

// otherRules is a Ruleset in which another rule masquerades.
func otherRules(t *testing.T, at int64) *netfilter.Ruleset {
	t.Helper()
	r := masquerades(t)
	r.Time = at
	return r
}

// Rules are those of today; a flow may be older.
func TestRulesThatChangedSinceTheFlowBegan(t *testing.T) {
	notes := func(x *counting, i int) []string { return x.journeys[i].Notes }

	x := newCounting(t, netfilter.Forward)
	x.out(1, 1, true)
	x.pass(time.Second)
	x.c.SetRuleset(countingRules(t, netfilter.Input)) // the rules of NAT are the same
	x.out(1, 2, false)
	x.pass(time.Second)
	x.c.SetRuleset(otherRules(t, x.now))
	x.out(1, 3, false)
	x.pass(time.Second)
	x.out(1, 4, false)
	x.pass(time.Second)
	if len(x.journeys) != 4 || len(notes(x, 0))+len(notes(x, 1))+len(notes(x, 3)) != 0 || !slices.Equal(notes(x, 2), []string{noteGone}) {
		t.Errorf("a rule that went: %d journeys, the third notes %q", len(x.journeys), notes(x, 2))
	}
	if tr := x.journeys[3].Translations[0]; tr.Rule == nil || tr.Rule.Handle != 7 {
		t.Errorf("the rule that translated the first packet was #7, not %+v", tr.Rule)
	}

	// A flow of which no packet was seen before the change: the rule is today's.
	x = newCounting(t, netfilter.Forward)
	x.late(1)
	x.pass(time.Second)
	x.c.SetRuleset(otherRules(t, x.now))
	x.out(1, 2, false)
	x.pass(4 * time.Second)
	if got := notes(x, 0); !slices.Equal(got, []string{noteChanged}) {
		t.Errorf("a rule of today on an older flow: %q", got)
	}

	// And one that no rule of today would translate.
	x = newCounting(t, netfilter.Forward)
	x.c.SetRuleset(countingRules(t, netfilter.Forward))
	x.late(1)
	x.pass(time.Second)
	none := &netfilter.Ruleset{Namespace: hostNS, Time: x.now}
	x.c.SetRuleset(none)
	x.out(1, 2, false)
	x.pass(4 * time.Second)
	if got := notes(x, 0); !slices.Equal(got, []string{noteNoRule}) {
		t.Errorf("no rule of today: %q", got)
	}
}

// When rules changed is not to be compared with what begins after the clock was set
// back.
func TestRulesThatChangedBeforeTheClockWasSet(t *testing.T) {
	x := newCounting(t, netfilter.Forward)
	x.pass(time.Second)
	x.c.SetRuleset(otherRules(t, x.now))
	x.pass(time.Second)
	x.c.Interrupt("the clock was set back meanwhile")
	x.now -= 500e9
	x.out(1, 1, true)
	x.pass(4 * time.Second)
	if len(x.journeys) != 1 || len(x.journeys[0].Translations) != 1 || len(x.journeys[0].Notes) != 0 {
		t.Errorf("%d journeys, the first notes %q", len(x.journeys), x.journeys[0].Notes)
	}
}
