package trace

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// exempts is a Ruleset that takes datagrams to a port out of connection tracking,
// and masquerades all that leaves.
func exempts(t *testing.T, port uint16) *netfilter.Ruleset {
	t.Helper()
	r := &netfilter.Ruleset{}
	number := base64.StdEncoding.EncodeToString([]byte{byte(port >> 8), byte(port)})
	if err := json.Unmarshal(fmt.Appendf(nil, `{"Namespace": 1, "Whole": true, "Base": [[0, 0], [1, 0]], "Tables": [
		{"Family": "ip", "Name": "raw", "Chains": [{"Name": "PREROUTING", "Base": true, "Type": "filter", "Hook": "prerouting", "Priority": -300, "Policy": 1,
			"Rules": [{"Ref": {"Text": "dport notrack"}, "Expressions": [
				{"n": "payload", "r": [0, 1], "h": [false, true], "p": [2, 2, 2]}, {"n": "cmp", "r": [1, 0], "h": [true, false], "d": %q}, {"n": "notrack"}]}]}]},
		{"Family": "ip", "Name": "nat", "Chains": [{"Name": "POSTROUTING", "Base": true, "NAT": true, "Hook": "postrouting", "Priority": 100, "Policy": 1,
			"Rules": [{"Ref": {"Text": "masquerade"}, "Expressions": [{"n": "masq"}]}]}]}]}`, number), r); err != nil {
		t.Fatal(err)
	}
	for to, want := range map[uint16]netfilter.Fact{port: netfilter.True, port + 1: netfilter.False} {
		p := netfilter.Packet{Tuple: packet.NewTuple(packet.UDP, backIP, internetIP, 1, to), InLink: "docker0"}
		if got := r.Exempted(netfilter.Prerouting, p); got != want {
			t.Fatalf("the rule is not understood: port %d: %v", to, got)
		}
	}
	return r
}

// A rule that takes some packets out of connection tracking says nothing of the
// others: theirs is dropped when it has no entry.
func TestOnlyWhatARuleExemptsIsExempt(t *testing.T) {
	const notrack = "; whether a rule dropped it there is unknown: a rule takes it out of connection tracking (notrack); the rules as they are let it pass"
	for to, want := range map[uint16]string{53: "unfinished: it came to host" + notrack, 54: "dropped: connection tracking never confirmed it: "} {
		s := newDropStage(t)
		s.c.SetRuleset(exempts(t, 53))
		s.see(uplinkIn, udp(t, port(internetIP, 5), port(hostIP, to), 1, "x"))
		s.pass(4 * time.Second)
		if got := s.verdicts(); !strings.HasPrefix(got, want) {
			t.Errorf("to port %d: %s\nwant %s", to, got, want)
		}
	}
}

// The host's answer to a question that is not tracked makes a flow, of which the
// question looks like a reply.
func TestAnswerToWhatIsNotTracked(t *testing.T) {
	s := newDropStage(t)
	s.c.SetRuleset(exempts(t, 53))
	asked, answered := packet.NewTuple(packet.UDP, internetIP, hostIP, 5, 53), packet.NewTuple(packet.UDP, hostIP, internetIP, 53, 5)
	s.see(uplinkIn, udp(t, port(internetIP, 5), port(hostIP, 53), 1, "question"))
	s.flow(netfilter.New, netfilter.Flow{ID: 7, Original: answered, Reply: asked})
	s.see(uplinkOut, udp(t, port(hostIP, 53), port(internetIP, 5), 2, "answer"))
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	if len(s.journeys) != 2 {
		t.Fatalf("%d journeys: %s", len(s.journeys), s.verdicts())
	}
	answer, question := s.journeys[0], s.journeys[1]
	if question.Direction != NoDirection || len(question.Flows) != 0 || question.Verdict.Result != Unfinished {
		t.Errorf("the question is %s of %v, %+v", question.Direction, question.Flows, question.Verdict)
	}
	if answer.Direction != Original || len(answer.Flows) != 1 || answer.Verdict.Result != Left {
		t.Errorf("the answer is %s of %v, %+v", answer.Direction, answer.Flows, answer.Verdict)
	}
}

// What is not tracked is not translated either: that is how it leaks. A rule for
// others is no excuse for what connection tracking found INVALID.
func TestLeakOfWhatIsNotTracked(t *testing.T) {
	for to, want := range map[uint16][2]string{
		53: {"a rule takes it out of connection tracking (notrack), so it is not translated", ""},
		54: {"connection tracking has no entry for it (INVALID, as one with a wrong checksum is), so it is not translated", knownFix},
	} {
		s := newDropStage(t)
		s.c.SetRuleset(exempts(t, 53))
		for _, where := range []at{backOut, vethIn, bridgeIn, uplinkOut} {
			s.see(where, udp(t, port(backIP, 1), netip.AddrPortFrom(internetIP, to), 7, "out"))
		}
		s.pass(50 * time.Millisecond)
		s.pass(50 * time.Millisecond)
		if len(s.journeys) != 1 {
			t.Fatalf("%d journeys: %s", len(s.journeys), s.verdicts())
		}
		j := s.journeys[0]
		if got := [2]string{j.Verdict.Reason, strings.Join(j.Notes, "; ")}; !j.Verdict.Leak || got != want {
			t.Errorf("to port %d: leak %v, %q, want %q", to, j.Verdict.Leak, got, want)
		}
	}
}

// A packet is judged when it was waited for: by then the rule can be gone that took it
// out of connection tracking, or have come.
func TestExemptByTheRulesOfThePacketsTime(t *testing.T) {
	for exempt, want := range map[bool]string{
		true:  "unfinished: it came to host; whether a rule dropped it there is unknown: a rule takes it out of connection tracking (notrack)",
		false: "dropped: connection tracking never confirmed it: ",
	} {
		s := newDropStage(t)
		rules, others := exempts(t, 53), exempts(t, 54)
		if !exempt {
			rules, others = others, rules
		}
		rules.Time = 1
		s.c.SetRuleset(rules)
		s.see(uplinkIn, udp(t, port(internetIP, 5), port(hostIP, 53), 1, "x"))
		s.pass(2 * time.Second)
		others.Time = s.now
		s.c.SetRuleset(others)
		s.pass(4 * time.Second)
		if got := s.verdicts(); !strings.HasPrefix(got, want) {
			t.Errorf("exempt %v: %s\nwant %s", exempt, got, want)
		}
	}
}
