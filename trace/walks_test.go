package trace

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// walkRules is a filter table with a chain of the user's own, and masquerade.
func walkRules(t *testing.T) *netfilter.Ruleset {
	t.Helper()
	r := &netfilter.Ruleset{}
	if err := json.Unmarshal([]byte(`{"Namespace": 1, "Tables": [
		{"Family": "ip", "Name": "filter", "Chains": [
			{"Name": "FORWARD", "Base": true, "Type": "filter", "Hook": "forward", "Priority": 0, "Policy": 1, "Rules": [{"Ref": {"Handle": 3, "Text": "jump USER"}}]},
			{"Name": "INPUT", "Base": true, "Type": "filter", "Hook": "input", "Priority": 0, "Policy": 1},
			{"Name": "OUTPUT", "Base": true, "Type": "filter", "Hook": "output", "Priority": 0, "Policy": 0},
			{"Name": "USER", "Rules": [{"Ref": {"Handle": 4, "Position": 1, "Text": "drop it"}}, {"Ref": {"Handle": 5, "Text": "let it"}}]}]},
		{"Family": "ip", "Name": "nat", "Chains": [
			{"Name": "POSTROUTING", "Base": true, "NAT": true, "Hook": "postrouting", "Priority": 100, "Policy": 1,
			 "Rules": [{"Ref": {"Handle": 7, "Text": "masquerade"}, "Expressions": [{"n": "masq"}]}]}]}]}`), r); err != nil {
		t.Fatal(err)
	}
	r.Namespace = hostNS
	return r
}

// told is a trace being told to a stage.
type told struct {
	s  *stage
	id uint32 // the kernel's
}

// hits tells of a frame: first of our own rule, then of each line, such as
// "filter USER 4 drop", "filter FORWARD 3 jump:USER" or "nat POSTROUTING policy
// accept". A line that begins with "+" is the first of its base chain.
func (k told) hits(start string, frame []byte, lines ...string) {
	all := []netfilter.Hit{k.hit("+inet "+netfilter.TraceTable+"1 "+start+" 1 continue", frame), k.hit("inet "+netfilter.TraceTable+"1 "+start+" policy accept", frame)}
	for _, line := range lines {
		all = append(all, k.hit(line, frame))
	}
	k.tell(all)
}

func (k told) tell(all []netfilter.Hit) {
	k.s.c.AddHits(&netfilter.HitBatch{Namespace: hostNS, Hits: all, Through: k.s.now})
}

func (k told) hit(line string, frame []byte) netfilter.Hit {
	rest, first := strings.CutPrefix(line, "+")
	words := strings.Fields(rest)
	if len(words) == 4 {
		words = append([]string{"ip"}, words...)
	}
	h := netfilter.Hit{After: k.s.now - 5e6, Before: k.s.now, Trace: k.id, Family: words[0], Table: words[1], Chain: words[2], Kind: netfilter.RuleHit}
	if words[3] == "policy" {
		h.Kind = netfilter.PolicyHit
	} else if _, err := fmt.Sscan(words[3], &h.Handle); err != nil {
		k.s.t.Fatal(err)
	}
	verdict, target, _ := strings.Cut(words[4], ":")
	h.Verdict, h.Target = netfilter.HitVerdict(verdict), target
	if first {
		p := &netfilter.TracedPacket{}
		p.SetData(slices.Clone(frame[14:min(len(frame), 14+40)]))
		h.Packet = p
	}
	return h
}

// traceStage is a stage with a tracer and rules. Flow 1 pings through the
// masquerade.
func traceStage(t *testing.T) *stage {
	s := newStage(t)
	s.c.SetRuleset(walkRules(t))
	s.c.AwaitHits()
	return s
}

// later lets time pass, with the trace read to its end.
func (s *stage) later(d time.Duration) {
	s.c.AddHits(&netfilter.HitBatch{Through: s.now + int64(d)})
	s.pass(d)
}

// walkOfRules writes what a journey tells of the rules: hook, chain, verdict.
func walkOfRules(j *Journey) string {
	var words []string
	for _, r := range j.Rules {
		what := r.Text
		m := r.Met
		if m == nil {
			words = append(words, what+" ["+string(r.Evidence)+"]")
			continue
		}
		if m.Policy {
			what = "policy of " + r.Chain
		}
		words = append(words, fmt.Sprintf("%s %v: %s %s%s", m.Hook, m.Between, what, m.Verdict, m.Target))
	}
	return strings.Join(words, "; ")
}

func sole(t *testing.T, s *stage) *Journey {
	t.Helper()
	if len(s.journeys) != 1 {
		t.Fatalf("%d journeys: %s", len(s.journeys), s.verdicts())
	}
	return s.journeys[0]
}

// A packet that a rule drops ends there, at once, and not after the wait for a
// next hop.
func TestWalkEndsAtADrop(t *testing.T) {
	s := traceStage(t)
	f := udp(t, port(backIP, 4000), port(internetIP, 99), 7, "drop me")
	for _, where := range []at{backOut, vethIn, bridgeIn} {
		s.see(where, f)
	}
	told{s, 1}.hits("prerouting", f, "+filter FORWARD 3 jump:USER", "filter USER 4 drop")
	for range 6 {
		s.later(10 * time.Millisecond)
	}
	j := sole(t, s)
	if v := j.Verdict; v.Result != Dropped || v.Hook != netfilter.Forward || v.Evidence != ByTrace || v.Rule == nil || v.Rule.Text != "drop it" || v.Hop != 2 {
		t.Errorf("verdict %+v", v)
	}
	if got, want := walkOfRules(j), "forward [2 -1]: jump USER jumpUSER; forward [2 -1]: drop it drop"; got != want {
		t.Errorf("walk %q, want %q", got, want)
	}
}

// A translation names the rule that the trace saw make it, and so do the flow's
// later packets, which meet no rule of NAT.
func TestWalkNamesTheRuleOfATranslation(t *testing.T) {
	s := traceStage(t)
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: echoTuple(backIP, internetIP, 1, false), Reply: echoTuple(internetIP, hostIP, 1, true)})
	for seq := range uint16(2) {
		inner, outer := ping(t, backIP, internetIP, 1, 1+seq, false), ping(t, hostIP, internetIP, 1, 1+seq, false)
		for _, where := range []at{backOut, vethIn, bridgeIn} {
			s.see(where, inner)
		}
		s.see(uplinkOut, outer)
		lines := []string{"+filter FORWARD 3 jump:USER", "filter USER 5 accept"}
		if seq == 0 {
			lines = append(lines, "+nat POSTROUTING 7 accept")
		}
		told{s, 1}.hits("prerouting", inner, lines...) // one id for both
		s.later(30 * time.Millisecond)
	}
	s.later(30 * time.Millisecond)
	if len(s.journeys) != 2 {
		t.Fatal(s.verdicts())
	}
	for i, want := range []string{
		"forward [2 3]: jump USER jumpUSER; forward [2 3]: let it accept; postrouting [2 3]: masquerade accept",
		"forward [2 3]: jump USER jumpUSER; forward [2 3]: let it accept; masquerade [trace]",
	} {
		j := s.journeys[i]
		if got := walkOfRules(j); got != want {
			t.Errorf("journey %d: walk %q, want %q", i, got, want)
		}
		if tr := j.Translations; len(tr) != 1 || tr[0].Rule == nil || tr[0].Rule.Text != "masquerade" || tr[0].Rule.Evidence != ByTrace || tr[0].Kind != Masquerade {
			t.Errorf("journey %d: translations %+v", i, tr)
		}
		if j.Verdict.Result != Left {
			t.Errorf("journey %d: %+v", i, j.Verdict)
		}
	}
	if n := s.c.Counters().Traced; n != 2 {
		t.Errorf("%d traced", n)
	}
}

// The kernel's id may change between two hooks of one packet, and two packets in
// one namespace may be told of by turns.
func TestWalksAreToldApart(t *testing.T) {
	s := traceStage(t)
	one, two := udp(t, port(backIP, 4000), port(internetIP, 99), 7, "one"), udp(t, port(backIP, 4000), port(internetIP, 99), 8, "two")
	for _, f := range [][]byte{one, two} {
		for _, where := range []at{backOut, vethIn, bridgeIn} {
			s.see(where, f)
		}
	}
	first, second, changed := told{s, 1}, told{s, 2}, told{s, 3}
	first.hits("prerouting", one)
	second.hits("prerouting", two)
	s.c.AddHits(&netfilter.HitBatch{Namespace: hostNS, Hits: []netfilter.Hit{
		changed.hit("+filter FORWARD 3 jump:USER", one), second.hit("+filter FORWARD 3 jump:USER", two),
		changed.hit("filter USER 4 drop", one), second.hit("filter USER 5 accept", two),
	}})
	for range 3 {
		s.later(50 * time.Millisecond)
	}
	s.later(4 * time.Second)
	if len(s.journeys) != 2 {
		t.Fatal(s.verdicts())
	}
	if v := s.journeys[0].Verdict; v.Result != Dropped || v.Rule == nil || v.Rule.Text != "drop it" {
		t.Errorf("the first: %+v", v)
	}
	if v := s.journeys[1].Verdict; v.Result != Vanished || v.Evidence != ByTrace {
		t.Errorf("the second: %+v", v)
	}
	if got := walkOfRules(s.journeys[1]); !strings.HasSuffix(got, "let it accept") || strings.Contains(got, "drop it") {
		t.Errorf("the second: walk %q", got)
	}
}

// A packet that ends before any tap has a journey without hops, as soon as that is
// sure. One that the rules let pass may still be waiting for an address.
func TestUnseen(t *testing.T) {
	s := traceStage(t)
	dropped, passed := udp(t, port(hostIP, 4000), port(internetIP, 98), 7, "drop"), udp(t, port(hostIP, 4000), port(internetIP, 97), 8, "pass")
	told{s, 1}.hits("output", dropped, "+filter OUTPUT policy drop")
	told{s, 2}.hits("output", passed, "+nat POSTROUTING policy accept")
	for range 10 {
		s.later(20 * time.Millisecond)
	}
	j := sole(t, s)
	if v := j.Verdict; v.Result != Dropped || v.Hook != netfilter.Output || v.Hop != -1 || v.Evidence != ByTrace || v.By != "the policy of OUTPUT" {
		t.Errorf("verdict %+v", v)
	}
	if len(j.Hops) != 0 || j.From.Name != "host" || j.From.Port != 4000 || j.To.IP != internetIP || j.To.Port != 98 || j.Protocol != packet.UDP {
		t.Errorf("%+v", j)
	}
	for range 5 {
		s.later(time.Second)
	}
	if len(s.journeys) != 2 {
		t.Fatal(s.verdicts())
	}
	if v := s.journeys[1].Verdict; v.Result != Vanished || v.Evidence != ByTrace {
		t.Errorf("verdict %+v", v)
	}
	s.c.Flush()
	if len(s.journeys) != 2 {
		t.Errorf("told again: %s", s.verdicts())
	}
	if n := s.c.Walks(); n != 0 {
		t.Errorf("%d walks kept", n)
	}
}

// What somebody else asked to be traced, and what no tap could see because none
// was there, is not told of.
func TestWalksOfOthers(t *testing.T) {
	s := traceStage(t)
	f := udp(t, port(hostIP, 4000), port(internetIP, 98), 7, "drop")
	theirs := told{s, 1}
	theirs.tell([]netfilter.Hit{theirs.hit("+inet theirs output 1 continue", f), theirs.hit("+filter OUTPUT policy drop", f)})
	s.c.AddHits(&netfilter.HitBatch{Namespace: baseNS + 1, Hits: []netfilter.Hit{
		theirs.hit("+inet "+netfilter.TraceTable+"1 output 1 continue", f), theirs.hit("+filter OUTPUT policy drop", f)}})
	for range 6 {
		s.later(time.Second)
	}
	if len(s.journeys) != 0 || s.c.Walks() != 0 {
		t.Errorf("%d walks: %s", s.c.Walks(), s.verdicts())
	}
}

// Two natlens have a table each: a packet that both ask for is one packet.
func TestTwoTracers(t *testing.T) {
	s := traceStage(t)
	f := udp(t, port(hostIP, 4000), port(internetIP, 98), 7, "drop")
	both := told{s, 1}
	both.tell([]netfilter.Hit{
		both.hit("+inet "+netfilter.TraceTable+"1 output 1 continue", f), both.hit("+inet "+netfilter.TraceTable+"2 output 1 continue", f),
		both.hit("+filter OUTPUT policy drop", f),
	})
	for range 6 {
		s.later(time.Second)
	}
	sole(t, s)
}

// That the rules let a packet in proves its delivery, where conntrack keeps silent.
func TestWalkToTheHost(t *testing.T) {
	s := traceStage(t)
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: echoTuple(hostIP, internetIP, 1, false), Reply: echoTuple(internetIP, hostIP, 1, true)})
	f := udp(t, port(internetIP, 4000), port(hostIP, 97), 7, "in")
	s.see(uplinkIn, f)
	told{s, 1}.hits("prerouting", f, "+filter INPUT policy accept")
	s.later(50 * time.Millisecond)
	s.later(4 * time.Second)
	if v := sole(t, s).Verdict; v.Result != Delivered || v.Evidence != ByTrace {
		t.Errorf("verdict %+v", v)
	}
}

// What several namespaces sent and dropped at one time is told in the same order each
// time, as a file tells it that is read again.
func TestUnseenInSeveralNamespaces(t *testing.T) {
	spaces := []netns.ID{hostNS, backNS, baseNS}
	for range 40 { // that Go goes through a map in this order by chance is no wonder
		s := traceStage(t)
		for i, ns := range slices.Backward(spaces) {
			f := udp(t, port(hostIP, uint16(4000+i)), port(internetIP, 98), 7, "drop")
			k := told{s, uint32(i)}
			s.c.AddHits(&netfilter.HitBatch{Namespace: ns, Through: s.now, Hits: []netfilter.Hit{
				k.hit("+inet "+netfilter.TraceTable+"1 output 1 continue", f), k.hit("+filter OUTPUT policy drop", f)}})
		}
		for range 10 {
			s.later(20 * time.Millisecond)
		}
		var ports []uint16
		for _, j := range s.journeys {
			ports = append(ports, j.From.Port)
		}
		if !slices.Equal(ports, []uint16{4000, 4001, 4002}) {
			t.Fatalf("from ports %v", ports)
		}
	}
}

// Nothing is concluded from a walk of which something may be missing.
func TestWalkThatLostItsEnd(t *testing.T) {
	s := traceStage(t)
	f := udp(t, port(hostIP, 4000), port(internetIP, 98), 7, "pass")
	told{s, 1}.hits("output", f, "+nat POSTROUTING policy accept")
	s.c.AddHits(&netfilter.HitBatch{Namespace: hostNS, Overruns: 1, Lost: 30, Through: s.now})
	for range 6 {
		s.later(time.Second)
	}
	j := sole(t, s)
	if v := j.Verdict; v.Result != Unfinished || !strings.Contains(v.Reason, "lost 30") {
		t.Errorf("verdict %+v", v)
	}
	if n := s.c.Counters().TraceLost; n != 30 {
		t.Errorf("%d lost", n)
	}
}

// Walks are bounded, whatever is told.
func TestWalksAreBounded(t *testing.T) {
	s := traceStage(t)
	f := udp(t, port(internetIP, 4000), port(hostIP, 97), 7, "in")
	for i := range maxWalks + 500 {
		k := told{s, uint32(i + 1)}
		f[14+4], f[14+5] = byte(i>>8), byte(i) // the identification
		k.hits("prerouting", f, "+filter INPUT policy accept")
		for range 2 * maxHits / (i + 1) {
			k.tell([]netfilter.Hit{k.hit("filter INPUT 9 continue", f)})
		}
	}
	space := s.c.walks.spaces[hostNS]
	if len(space.queue) > maxWalks || len(space.byTrace) > maxWalks || len(space.byKey) > maxWalks {
		t.Errorf("%d walks, %d ids, %d keys", len(space.queue), len(space.byTrace), len(space.byKey))
	}
	for _, w := range space.queue {
		for _, v := range w.visits {
			if len(v.hits) > maxHits {
				t.Fatalf("%d hits", len(v.hits))
			}
		}
	}
}

// An id that comes again, of a packet that somebody else asked for, does not lead to
// the packet that had it before.
func TestWalkIDsComeAgain(t *testing.T) {
	s := traceStage(t)
	ours, theirs := udp(t, port(backIP, 4000), port(internetIP, 99), 7, "ours"), udp(t, port(backIP, 4000), port(internetIP, 99), 8, "theirs")
	for _, where := range []at{backOut, vethIn, bridgeIn} {
		s.see(where, ours)
	}
	k := told{s, 1}
	k.hits("prerouting", ours, "+filter FORWARD 3 jump:USER", "filter USER 5 accept")
	k.tell([]netfilter.Hit{k.hit("+filter FORWARD 3 jump:USER", theirs), k.hit("filter USER 4 drop", theirs)})
	s.later(50 * time.Millisecond)
	s.later(4 * time.Second)
	if j := sole(t, s); j.Verdict.Result != Vanished || strings.Contains(walkOfRules(j), "drop it") {
		t.Errorf("%+v, walk %q", j.Verdict, walkOfRules(j))
	}
}

// Datagrams without an identification look alike but for their addresses.
func TestWalksOfTwoFlows(t *testing.T) {
	s := traceStage(t)
	one, two := udp(t, port(backIP, 4000), port(internetIP, 99), 0, "same"), udp(t, port(baseIP, 4000), port(internetIP, 99), 0, "same")
	for i, f := range [][]byte{one, two} {
		for _, where := range [][]at{{backOut, vethIn, bridgeIn}, {baseOut, baseVIn, bridgeIn}}[i] {
			s.see(where, f)
		}
	}
	told{s, 2}.hits("prerouting", two, "+filter FORWARD 3 jump:USER", "filter USER 5 accept")
	told{s, 1}.hits("prerouting", one, "+filter FORWARD 3 jump:USER", "filter USER 4 drop")
	s.later(50 * time.Millisecond)
	s.later(4 * time.Second)
	if len(s.journeys) != 2 {
		t.Fatal(s.verdicts())
	}
	for _, j := range s.journeys {
		want := Vanished
		if j.From.IP == backIP {
			want = Dropped
		}
		if j.Verdict.Result != want || j.Verdict.Evidence != ByTrace {
			t.Errorf("from %v: %+v", j.From.IP, j.Verdict)
		}
	}
}

// A frame that a bridge was to send was seen at the bridge; what drops it stands behind
// that tap.
func TestDropBehindTheTapOfABridge(t *testing.T) {
	for name, chain := range map[string]string{
		"output":      `{"Family": "bridge", "Name": "b", "Chains": [{"Name": "OUT", "Base": true, "Type": "filter", "Hook": "output", "Policy": 1, "Rules": [{"Ref": {"Handle": 4, "Position": 1, "Text": "drop it"}}]}]}`,
		"postrouting": `{"Family": "bridge", "Name": "b", "Chains": [{"Name": "OUT", "Base": true, "Type": "filter", "Hook": "postrouting", "Policy": 1, "Rules": [{"Ref": {"Handle": 4, "Position": 1, "Text": "drop it"}}]}]}`,
		"egress":      `{"Family": "netdev", "Name": "b", "Chains": [{"Name": "OUT", "Base": true, "Type": "filter", "Hook": "egress", "Devices": ["vethback"], "Policy": 1, "Rules": [{"Ref": {"Handle": 4, "Position": 1, "Text": "drop it"}}]}]}`,
	} {
		for _, own := range []bool{false, true} {
			s := newStage(t)
			r := &netfilter.Ruleset{}
			if err := json.Unmarshal([]byte(`{"Namespace": 1, "Tables": [{"Family": "ip", "Name": "filter", "Chains": [
				{"Name": "FORWARD", "Base": true, "Type": "filter", "Hook": "forward", "Policy": 1, "Rules": [{"Ref": {"Handle": 3, "Text": "let it"}}]},
				{"Name": "OUTPUT", "Base": true, "Type": "filter", "Hook": "output", "Policy": 1}]}, `+chain+`]}`), r); err != nil {
				t.Fatal(err)
			}
			r.Namespace = hostNS
			s.c.SetRuleset(r)
			s.c.AwaitHits()
			line, hop := "+bridge b OUT 4 drop", 0
			if name == "egress" {
				line = "+netdev b OUT 4 drop"
			}
			if own {
				f := udp(t, port(gatewayIP, 4000), port(backIP, 99), 7, "drop me")
				s.see(bridgeOut, f)
				told{s, 1}.hits("output", f, "+filter OUTPUT policy accept", line)
			} else {
				hop = 1
				f := udp(t, port(internetIP, 4000), port(backIP, 99), 7, "drop me")
				s.see(uplinkIn, f)
				s.see(bridgeOut, f)
				told{s, 1}.hits("prerouting", f, "+filter FORWARD 3 accept", line)
			}
			for range 6 {
				s.later(10 * time.Millisecond)
			}
			s.later(4 * time.Second)
			v := sole(t, s).Verdict
			if v.Result != Dropped || v.Evidence != ByTrace || v.Rule == nil || v.Rule.Text != "drop it" || v.Hop != hop {
				t.Errorf("%s, the host's own %v: %+v", name, own, v)
				continue
			}
			if !own && v.Rule.Met.Between != [2]int{1, -1} {
				t.Errorf("%s: the rule is between hops %v", name, v.Rule.Met.Between)
			}
		}
	}
}
