package trace

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"natlens/netinfo/netfilter"
)

// dropsInput is a Ruleset of the host whose only rule drops what comes to INPUT
// by UDP and counts it.
func dropsInput(t *testing.T) *netfilter.Ruleset {
	t.Helper()
	r := &netfilter.Ruleset{}
	if err := json.Unmarshal([]byte(`{"Namespace": 1, "Time": 1, "Whole": true, "Base": [[0, 0]], "Tables": [{"Family": "ip", "Name": "filter", "Xtables": true, "Chains": [
		{"Name": "INPUT", "Base": true, "Type": "filter", "Hook": "input", "Policy": 1, "Rules": [
			{"Ref": {"Backend": "iptables-nft", "Family": "ip", "Table": "filter", "Chain": "INPUT", "Position": 1, "Handle": 7, "Text": "-A INPUT -p udp -j DROP"}, "Expressions": [
				{"n": "meta", "k": 16, "r": [0, 1], "h": [false, true]}, {"n": "cmp", "r": [1, 0], "h": [true, false], "d": "EQ=="},
				{"n": "counter"}, {"n": "immediate", "h": [false, true], "v": {"Code": 0}}]}]}]}]}`), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// A counter confirms a rule when it moved by what that rule is known to have
// dropped, and by no more.
func TestCounterConfirmsTheRule(t *testing.T) {
	rule := netfilter.RuleID{Family: "ip", Table: "filter", Chain: "INPUT", Handle: 7}
	for _, c := range []struct {
		name    string
		packets int
		moved   uint64
		want    Evidence
	}{
		{"one and one", 1, 1, ByCounter},
		{"three and three", 3, 3, ByCounter},
		{"another packet moved it", 1, 2, ByRules},
		{"it did not move", 1, 0, ByRules},
		{"fewer than were dropped", 3, 2, ByRules},
	} {
		s := newDropStage(t)
		s.c.SetRuleset(dropsInput(t))
		read := func(since int64, moved uint64) int64 {
			n := netfilter.Counts{Namespace: hostNS, Start: s.now, End: s.now + 1e6, Since: since}
			if moved > 0 {
				n.Moved = []netfilter.Count{{Rule: rule, Packets: moved}}
			}
			s.c.AddCounts(n)
			return n.Start
		}
		s.pass(time.Second)
		since := read(0, 0)
		s.pass(100 * time.Millisecond)
		for i := range c.packets {
			s.see(uplinkIn, udp(t, port(internetIP, uint16(4000+i)), port(hostIP, 8000), uint16(3+i), "hello"+strings.Repeat("x", i)))
			s.pass(10 * time.Millisecond)
		}
		s.pass(100 * time.Millisecond)
		read(since, c.moved)
		s.pass(4 * time.Second)
		if len(s.journeys) != c.packets {
			t.Fatalf("%s: %d journeys", c.name, len(s.journeys))
		}
		for _, j := range s.journeys {
			if v := j.Verdict; v.Result != Dropped || v.By != "INPUT #1" || v.Evidence != c.want || v.Rule == nil || v.Rule.Evidence != c.want || v.Hook != netfilter.Input {
				t.Errorf("%s: %+v, want evidence %s", c.name, v, c.want)
			}
		}
	}
}

// The counter of a policy confirms it as that of a rule does.
func TestCounterConfirmsThePolicy(t *testing.T) {
	policy := netfilter.ChainRef{Backend: netfilter.IPTablesLegacy, Family: "ip", Table: "filter", Name: "INPUT"}
	for moved, want := range map[uint64]Evidence{0: ByRules, 1: ByCounter, 2: ByRules} {
		s := newDropStage(t)
		r := &netfilter.Ruleset{}
		if err := json.Unmarshal([]byte(`{"Namespace": 1, "Time": 1, "Whole": true, "Base": [[0, 0]], "Tables": [{"Family": "ip", "Name": "filter", "Legacy": true, "Xtables": true, "Chains": [
			{"Name": "INPUT", "Base": true, "Type": "filter", "Hook": "input", "Policy": 0}]}]}`), r); err != nil {
			t.Fatal(err)
		}
		s.c.SetRuleset(r)
		s.pass(time.Second)
		since := s.now
		s.c.AddCounts(netfilter.Counts{Namespace: hostNS, Start: since, End: since + 1e6})
		s.pass(100 * time.Millisecond)
		s.see(uplinkIn, udp(t, port(internetIP, 4000), port(hostIP, 8000), 3, "hello"))
		s.pass(100 * time.Millisecond)
		n := netfilter.Counts{Namespace: hostNS, Start: s.now, End: s.now + 1e6, Since: since}
		if moved > 0 {
			n.Moved = []netfilter.Count{{Rule: policy.ID(), Packets: moved}}
		}
		s.c.AddCounts(n)
		s.pass(4 * time.Second)
		if v := s.journeys[0].Verdict; v.Result != Dropped || v.By != "the policy of INPUT" || v.Evidence != want || v.Rule != nil {
			t.Errorf("moved by %d: %+v, want evidence %s", moved, v, want)
		}
	}
}

// A flood that is dropped is not walked through the rules packet by packet.
func TestRulingsAreLimited(t *testing.T) {
	s := newDropStage(t)
	s.c.SetRuleset(dropsInput(t))
	const packets = maxRulings + 100
	for i := range packets {
		s.see(uplinkIn, udp(t, port(internetIP, uint16(4000+i)), port(hostIP, 8000), uint16(3+i), "hello"))
	}
	s.pass(4 * time.Second)
	by := map[Evidence]int{}
	for _, j := range s.journeys {
		by[j.Verdict.Evidence]++
	}
	if by[ByRules] != maxRulings || by[ByInference] != packets-maxRulings {
		t.Errorf("%v of %d, want %d evaluated", by, packets, maxRulings)
	}
}
