package trace

import (
	"fmt"

	"natlens/netinfo/netfilter"
)

// keepFailures is how many readings of the statistics that had moved are kept: they
// are read every second, and a journey waits less than 4.
const keepFailures = 16

func (x *flowIndex) failed(f *netfilter.Failures) {
	if f == nil {
		return
	}
	if len(x.failures) == keepFailures {
		x.failures = append(x.failures[:0], x.failures[1:]...)
	}
	x.failures = append(x.failures, *f)
}

// refusal says why connection tracking may have dropped a packet that came in and
// that would have begun a flow: its statistics moved at that time. Empty when they
// did not, or the packet began none. before is true where that was when the packet
// came in; else it was behind all rules.
func (x *flowIndex) refusal(s *sighting) (why string, before bool) {
	if s.flow.flow != nil || neverBegins(s.h) {
		return "", false
	}
	for i := range x.failures {
		f := &x.failures[i]
		if f.Dropped == 0 || s.time > f.Until || s.time+ruleDelay < f.Since {
			continue
		}
		span := fmt.Sprintf("it dropped %d packets within %.1f s", f.Dropped, float64(f.Until-f.Since)/1e9)
		if f.Dropped == 1 {
			span = fmt.Sprintf("it dropped one packet within %.1f s", float64(f.Until-f.Since)/1e9)
		}
		switch {
		case f.Full() && !f.FullNow():
			return "connection tracking's table was full for a moment: " + span, true
		case f.Full():
			return fmt.Sprintf("connection tracking's table was full (%d of %d): %s", f.Entries, f.MaxEntries, span), true
		case f.Dropped > f.InsertFailed:
			return "connection tracking could make no entry: " + span, true
		}
		return "connection tracking could not insert the entry, as another flow had the same addresses and ports (insert_failed): " + span, false
	}
	return "", false
}

// refusedEntry puts into v that connection tracking dropped the packet itself, where
// its statistics moved at that time and the rules would have let it pass.
func (c *Correlator) refusedEntry(s *sighting, rules *ruling, v *Verdict) bool {
	x := c.flows[s.point.Namespace]
	if x == nil || rules.stop != "" {
		return false
	}
	why, before := x.refusal(s)
	if why == "" {
		return false
	}
	v.Result, v.Evidence, v.Reason = Dropped, ByInference, why
	if v.Hook = netfilter.Postrouting; before {
		v.Hook = netfilter.Prerouting
	} else if s.space.has(s.h.Tuple.Destination()) {
		v.Hook = netfilter.Input
	}
	if rules.Verdict == netfilter.Accepted {
		v.By = "connection tracking"
	} else {
		v.Reason += "; or a rule dropped it"
	}
	return true
}
