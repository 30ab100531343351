package record

import "natlens/trace"

// remeet changes how a journey's packet met rules. What it was told of them may belong
// to others, too, and stays as it is.
func remeet(j *trace.Journey, change func(*trace.Met)) {
	if r := j.Verdict.Rule; r != nil { // first: it may be one of those below
		again := *r
		again.Met = changedMet(r.Met, change)
		j.Verdict.Rule = &again
	}
	for i := range j.Rules {
		j.Rules[i].Met = changedMet(j.Rules[i].Met, change)
	}
}

func changedMet(m *trace.Met, change func(*trace.Met)) *trace.Met {
	if m == nil {
		return nil
	}
	again := *m
	change(&again)
	return &again
}
