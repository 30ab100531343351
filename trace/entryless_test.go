package trace

import (
	"testing"
	"time"

	"natlens/netinfo/netfilter"
)

// A packet that would have begun a flow, and was let pass by the rules, is refused by
// connection tracking where its statistics moved at that time; and no other is.
func TestRefusedByConnectionTracking(t *testing.T) {
	full := netfilter.Failures{Dropped: 3, Entries: 65536, MaxEntries: 65536}
	for _, c := range []struct {
		name     string
		rules    func(*testing.T) *netfilter.Ruleset
		f        netfilter.Failures
		late     time.Duration // how much later than the packet the readings are
		hook     netfilter.Hook
		by       string
		evidence Evidence
		reason   string
	}{
		{"full", countInput, full, 0, netfilter.Prerouting, "connection tracking", ByInference,
			"connection tracking's table was full (65536 of 65536): it dropped 3 packets within 1.0 s"},
		{"entries thrown out", countInput, netfilter.Failures{Dropped: 1, EarlyDropped: 2, Entries: 100, MaxEntries: 65536}, 0, netfilter.Prerouting, "connection tracking", ByInference,
			"connection tracking's table was full for a moment: it dropped one packet within 1.0 s"},
		{"no entry", countInput, netfilter.Failures{Dropped: 2, Entries: 10, MaxEntries: 65536}, 0, netfilter.Prerouting, "connection tracking", ByInference,
			"connection tracking could make no entry: it dropped 2 packets within 1.0 s"},
		{"clash", countInput, netfilter.Failures{Dropped: 2, InsertFailed: 2, Entries: 10, MaxEntries: 65536}, 0, netfilter.Input, "connection tracking", ByInference,
			"connection tracking could not insert the entry, as another flow had the same addresses and ports (insert_failed): it dropped 2 packets within 1.0 s"},
		{"nothing was dropped", countInput, netfilter.Failures{Resolved: 2}, 0, netfilter.Input, "", ByInference,
			"connection tracking never confirmed it: a rule dropped it before a program of host could get it"},
		{"another time", countInput, full, 2 * time.Second, netfilter.Input, "", ByInference,
			"connection tracking never confirmed it: a rule dropped it before a program of host could get it"},
		{"a rule drops it anyhow", dropsInput, full, 0, netfilter.Input, "INPUT #1", ByRules,
			"unless before that connection tracking's table was full (65536 of 65536): it dropped 3 packets within 1.0 s"},
	} {
		s := newDropStage(t)
		s.c.SetRuleset(c.rules(t))
		s.pass(time.Second)
		s.see(uplinkIn, udp(t, port(internetIP, 4000), port(hostIP, 8000), 3, "hello"))
		at := s.now + c.late.Nanoseconds()
		s.pass(time.Second)
		c.f.Since, c.f.Until = at-5e8, at+5e8
		s.c.AddFlows(&netfilter.Batch{Namespace: hostNS, Through: s.now, Failures: &c.f})
		s.pass(4 * time.Second)
		v := sole(t, s).Verdict
		if v.Result != Dropped || v.Hook != c.hook || v.By != c.by || v.Evidence != c.evidence || v.Reason != c.reason {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

// countInput is a Ruleset of the host that lets everything pass.
func countInput(t *testing.T) *netfilter.Ruleset {
	r := dropsInput(t)
	return &netfilter.Ruleset{Namespace: r.Namespace, Time: 1}
}

// Readings from before the clock was set back tell nothing of packets that have the
// same times.
func TestRefusalsBeforeTheClockWasSet(t *testing.T) {
	s := newDropStage(t)
	s.c.SetRuleset(countInput(t))
	s.pass(20 * time.Second)
	full := netfilter.Failures{Dropped: 3, Entries: 65536, MaxEntries: 65536, Since: s.now - 10e9, Until: s.now}
	s.c.AddFlows(&netfilter.Batch{Namespace: hostNS, Through: s.now, Failures: &full})
	s.c.Interrupt("the clock was set meanwhile")
	s.now -= 8e9
	s.see(uplinkIn, udp(t, port(internetIP, 4000), port(hostIP, 8000), 3, "hello"))
	s.pass(time.Second)
	s.pass(4 * time.Second)
	if v := sole(t, s).Verdict; v.By != "" || v.Reason != "connection tracking never confirmed it: a rule dropped it before a program of host could get it" {
		t.Errorf("%+v", v)
	}
}
