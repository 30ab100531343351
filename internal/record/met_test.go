package record

import (
	"testing"

	"natlens/trace"
)

// Rules that the kernel's trace told of stand at the hops of their host, and bear its
// name, when the journey goes on at another one.
func TestTracedRulesStayAtTheirHops(t *testing.T) {
	one, two := &origin{name: "one"}, &origin{name: "two", host: 1}
	was := &trace.Met{Namespace: "host", Between: [2]int{-1, 0}}
	met := func(j *trace.Journey) *trace.Journey {
		j.Rules = []trace.Rule{{Evidence: trace.ByTrace, Met: was}, {Evidence: trace.ByRules}, {Evidence: trace.ByTrace, Met: &trace.Met{Namespace: "host", Between: [2]int{0, -1}}}}
		return j
	}
	came := met(passage(5, 1100, false, "192.0.2.10", 62))
	came.Verdict = trace.Verdict{Result: trace.Dropped, Rule: &came.Rules[2]}
	var told []*trace.Journey
	w := newWeaver(func(j *trace.Journey) { told = append(told, j) })
	w.take(one, 0, one.mark(met(passage(5, 1000, true, "192.0.2.10", 63))), 1000)
	w.take(two, 0, two.mark(came), 1100)
	w.flush()
	if len(told) != 1 || len(told[0].Hops) != 2 {
		t.Fatalf("%+v", told)
	}
	j := told[0]
	want := []*trace.Met{
		{Namespace: "host", Host: "one", Between: [2]int{-1, 0}}, nil, {Namespace: "host", Host: "one", Between: [2]int{0, -1}},
		{Namespace: "host", Host: "two", Between: [2]int{-1, 1}}, nil, {Namespace: "host", Host: "two", Between: [2]int{1, -1}},
	}
	same := func(a, b *trace.Met) bool { return a == b || a != nil && b != nil && *a == *b }
	for i := range j.Rules {
		if !same(j.Rules[i].Met, want[i]) {
			t.Errorf("rule %d: %+v, want %+v", i, j.Rules[i].Met, want[i])
		}
	}
	if v := j.Verdict; v.Hop != 1 || v.Rule == nil || !same(v.Rule.Met, want[5]) {
		t.Errorf("ended at hop %d by %+v", v.Hop, v.Rule)
	}
	if *was != (trace.Met{Namespace: "host", Between: [2]int{-1, 0}}) {
		t.Errorf("what others were told became %+v", was)
	}
}
