package probe

import (
	"slices"
	"testing"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/trace"
)

func TestAgreement(t *testing.T) {
	o := outcome(packet.TCP, Silent, journey(1, trace.Dropped, syn, ubuntuNS))
	for _, c := range []struct {
		expected *Expectation
		want     Agreement
	}{
		{nil, NotCompared},
		{&Expectation{Result: Dropped}, AsExpected},
		{&Expectation{Result: Reached}, NotAsExpected},
		{&Expectation{Result: Reached, Unsure: "a set changes by itself"}, NotCompared},
	} {
		o.Expected = c.expected
		if got, _ := o.Agreement(); got != c.want {
			t.Errorf("%+v: %v, want %v", c.expected, got, c.want)
		}
	}
}

// Of a packet whose end is not known nothing can be as expected.
func TestUnfinishedIsNotCompared(t *testing.T) {
	o := outcome(packet.TCP, Silent, journey(1, trace.Unfinished, syn, ubuntuNS))
	for _, r := range []Result{Dropped, Lost} {
		o.Expected = &Expectation{Result: r}
		if got, _ := o.Agreement(); o.Result != Lost || got != NotCompared {
			t.Errorf("%s, where %s was expected: %v", o.Result, r, got)
		}
	}
}

// What was expected to be dropped without a rule's doing may be lost, unless it
// was seen to come further than that.
func TestLostWhereADropWasExpected(t *testing.T) {
	j := journey(1, trace.Left, syn, ubuntuNS, hostNS)
	o := outcome(packet.TCP, Silent, j)
	host := fixture().Namespace(hostNS)
	o.Expected = &Expectation{Result: Dropped, Stages: []Stage{{Namespace: host}}}
	j.Hops[1].Point.Direction = capture.In
	if got, _ := o.Agreement(); o.Result != Lost || got != Consistent {
		t.Errorf("%s, %v", o.Result, got)
	}
	j.Hops[1].Point.Direction = capture.Out
	if got, _ := o.Agreement(); got != NotAsExpected {
		t.Errorf("it came on: %v", got)
	}
}

// Not only the result has to be as expected, but also the rule and the translations.
func TestDifferences(t *testing.T) {
	one, other := netfilter.RuleRef{Chain: "FORWARD", Position: 1}, netfilter.RuleRef{Chain: "DOCKER-USER", Position: 2}
	masqueraded := packet.NewTuple(packet.TCP, addr("192.0.2.10"), syn.Destination(), syn.SourcePort, syn.DestinationPort)
	elsewhere := packet.NewTuple(packet.TCP, addr("192.0.2.11"), syn.Destination(), syn.SourcePort, syn.DestinationPort)
	dropped := func(r netfilter.RuleRef) *trace.Journey {
		j := journey(1, trace.Dropped, syn, ubuntuNS)
		j.Verdict.Rule = &trace.Rule{RuleRef: r}
		return j
	}
	reached := func(all ...trace.Translation) *trace.Journey {
		j := journey(1, trace.Delivered, syn, ubuntuNS)
		j.Translations = all
		return j
	}
	masquerades := func(after packet.Tuple) []Stage {
		return []Stage{{NAT: []Translated{{NATRule: netfilter.NATRule{Kind: "masquerade"}, Before: syn, After: after}}}}
	}
	saw := func(kind string, after packet.Tuple, rule *trace.Rule) trace.Translation {
		return trace.Translation{Kind: kind, Before: syn, After: after, Rule: rule}
	}
	for _, c := range []struct {
		name     string
		answer   AnswerResult
		journey  *trace.Journey
		expected *Expectation
		want     []Difference
	}{
		{"the rule", Silent, dropped(one), &Expectation{Result: Dropped, Rule: &one}, nil},
		{"another rule", Silent, dropped(other), &Expectation{Result: Dropped, Rule: &one}, []Difference{{"rule", "FORWARD, rule 1", "DOCKER-USER, rule 2"}}},
		{"a rule, not a policy", Silent, dropped(other), &Expectation{Result: Dropped, Reason: "dropped by the policy"},
			[]Difference{{"rule", "dropped by the policy", "DOCKER-USER, rule 2"}}},
		{"no rule seen", Silent, journey(1, trace.Dropped, syn, ubuntuNS), &Expectation{Result: Dropped, Rule: &one}, nil},
		{"not the answer", Silent, dropped(one), &Expectation{Result: Dropped, Rule: &one, Answer: true}, []Difference{{"packet", "its answer", "the packet"}}},
		{"another result", Silent, dropped(one), &Expectation{Result: RefusedBy}, []Difference{{"result", "refused", "dropped"}}},
		{"the translation", Replied, reached(saw("masquerade", masqueraded, &trace.Rule{})), &Expectation{Result: Reached, Stages: masquerades(masqueraded)}, nil},
		{"its rule not known", Replied, reached(saw("snat", masqueraded, nil)), &Expectation{Result: Reached, Stages: masquerades(masqueraded)}, nil},
		{"another kind", Replied, reached(saw("snat", masqueraded, &trace.Rule{})), &Expectation{Result: Reached, Stages: masquerades(masqueraded)},
			[]Difference{{"translation", "masquerade to 192.0.2.10", "snat to 192.0.2.10"}}},
		{"another address", Replied, reached(saw("masquerade", elsewhere, &trace.Rule{})), &Expectation{Result: Reached, Stages: masquerades(masqueraded)},
			[]Difference{{"translation", "masquerade to 192.0.2.10", "masquerade to 192.0.2.11"}}},
		{"none", Replied, reached(), &Expectation{Result: Reached, Stages: masquerades(masqueraded)}, []Difference{{"translation", "masquerade to 192.0.2.10", "none"}}},
		{"one too many", Replied, reached(saw("masquerade", masqueraded, nil)), &Expectation{Result: Reached}, []Difference{{"translation", "none", "masquerade to 192.0.2.10"}}},
		{"to itself", Replied, reached(), &Expectation{Result: Reached, Stages: masquerades(syn)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := outcome(packet.TCP, c.answer, c.journey)
			o.Expected = c.expected
			agreement, got := o.Agreement()
			if !slices.Equal(got, c.want) || (agreement == AsExpected) != (c.want == nil) {
				t.Errorf("%v %+v, want %+v", agreement, got, c.want)
			}
		})
	}
}
