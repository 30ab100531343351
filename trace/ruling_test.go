package trace

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"natlens/netinfo/netfilter"
)

// What a rule for the state of connections sees of a packet is known when it is known
// whether somebody had answered by then.
func TestStateOfAConnectionAtATime(t *testing.T) {
	asked := udpTuple(port(internetIP, 5), port(hostIP, 53))
	entry := netfilter.Flow{ID: 1, Original: asked, Reply: asked.Inverse()}
	answered := entry
	answered.Status = netfilter.SeenReply
	helped := entry
	helped.Status = netfilter.Expected
	for _, c := range []struct {
		name   string
		events []netfilter.EventKind
		as     []netfilter.Flow
		reply  bool
		lost   bool
		want   netfilter.State
	}{
		{"nobody has answered", []netfilter.EventKind{netfilter.New}, []netfilter.Flow{entry}, false, false, netfilter.StateNew},
		{"nobody has, or it was not told", []netfilter.EventKind{netfilter.New}, []netfilter.Flow{entry}, false, true, netfilter.StateUnknown},
		{"answered before", []netfilter.EventKind{netfilter.New, netfilter.Update}, []netfilter.Flow{entry, answered}, false, false, netfilter.StateEstablished},
		{"an answer", []netfilter.EventKind{netfilter.New}, []netfilter.Flow{entry}, true, false, netfilter.StateEstablished},
		{"a helper expected it", []netfilter.EventKind{netfilter.New}, []netfilter.Flow{helped}, false, false, netfilter.StateUnknown},
	} {
		s := newStage(t)
		s.c.SetRuleset(&netfilter.Ruleset{Namespace: hostNS, Time: 1})
		for i, kind := range c.events {
			s.flow(kind, c.as[i])
			s.pass(10 * time.Millisecond)
		}
		if c.lost {
			s.c.AddFlows(&netfilter.Batch{Namespace: hostNS, Lost: 1, Through: s.now})
		}
		from, to := port(internetIP, 5), port(hostIP, 53)
		where := uplinkIn
		if c.reply {
			from, to, where = to, from, uplinkOut
		}
		s.see(where, udp(t, from, to, 3, "x"))
		packet := s.batch[0]
		s.pass(10 * time.Millisecond)
		var seen sighting
		s.c.look(&seen, &packet)
		if got := s.c.question(s.c.rulesets[hostNS], []sighting{seen}).State; got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}

	// Between two readings of events nobody knows.
	s := newStage(t)
	s.c.SetRuleset(&netfilter.Ruleset{Namespace: hostNS, Time: 1})
	s.flow(netfilter.New, entry)
	s.pass(10 * time.Millisecond)
	s.see(uplinkIn, udp(t, port(internetIP, 5), port(hostIP, 53), 3, "x"))
	packet := s.batch[0]
	s.flow(netfilter.Update, answered)
	s.pass(10 * time.Millisecond)
	var seen sighting
	s.c.look(&seen, &packet)
	if got := s.c.question(s.c.rulesets[hostNS], []sighting{seen}).State; got != netfilter.StateUnknown {
		t.Errorf("about the time of the answer: %v", got)
	}
}

// What a rule hands to a program or a socket did not vanish on the way out.
func TestHandedOverByARule(t *testing.T) {
	for _, flow := range []bool{true, false} {
		s := newDropStage(t)
		r := &netfilter.Ruleset{}
		if err := json.Unmarshal([]byte(`{"Namespace": 1, "Time": 1, "Whole": true, "Base": [[0, 0]], "Tables": [{"Family": "ip", "Name": "mangle", "Chains": [
			{"Name": "PREROUTING", "Base": true, "Type": "filter", "Hook": "prerouting", "Priority": -150, "Policy": 1,
			 "Rules": [{"Ref": {"Text": "queue", "Chain": "PREROUTING", "Position": 1}, "Expressions": [{"n": "queue"}]}]}]}]}`), r); err != nil {
			t.Fatal(err)
		}
		s.c.SetRuleset(r)
		from, to := port(backIP, 4000), port(internetIP, 8123)
		if flow {
			s.flow(netfilter.New, netfilter.Flow{ID: 2, Original: udpTuple(from, to), Reply: udpTuple(from, to).Inverse()})
		}
		s.toHost(udp(t, from, to, 3, "x"))
		s.pass(5 * time.Second)
		const want = "unfinished: PREROUTING #1 hands it to a program or a socket, or to another link; what becomes of it there is not known"
		if got := s.verdicts(); !strings.HasPrefix(got, want) {
			t.Errorf("a flow %v: %s\nwant %s", flow, got, want)
		}
	}
}

// A rule that writes another port into a packet makes another one of it for connection
// tracking: that this one has no entry tells of no drop.
func TestWrittenByARuleIsNoDrop(t *testing.T) {
	s := newDropStage(t)
	r := &netfilter.Ruleset{}
	if err := json.Unmarshal([]byte(`{"Namespace": 1, "Whole": true, "Base": [[0, 0]], "Tables": [{"Family": "netdev", "Name": "t", "Chains": [
		{"Name": "in", "Base": true, "Type": "filter", "Hook": "ingress", "Devices": ["eth0"], "Priority": 0, "Policy": 1, "Rules": [
			{"Ref": {"Family": "netdev", "Table": "t", "Chain": "in", "Position": 1}, "Expressions": [
				{"n": "immediate", "r": [0, 1], "h": [false, true], "d": "H0A="}, {"n": "payload", "r": [1, 0], "h": [true, false], "p": [2, 2, 2]}]}]}]}]}`), r); err != nil {
		t.Fatal(err)
	}
	s.c.SetRuleset(r)
	s.see(uplinkIn, udp(t, port(internetIP, 5), port(hostIP, 53), 1, "x"))
	s.pass(4 * time.Second)
	if got, want := s.verdicts(), "unfinished: in #1 writes other addresses or ports into it without NAT"; !strings.HasPrefix(got, want) {
		t.Errorf("%s\nwant %s", got, want)
	}
	if v := s.journeys[0].Verdict; v.Evidence != ByRules || v.Rule == nil || v.Rule.Chain != "in" {
		t.Errorf("%+v", v)
	}
}
