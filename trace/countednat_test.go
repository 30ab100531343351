package trace

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// countingRules is a Ruleset of the host whose rules count: one masquerades what comes
// from 172.17.0.2, one sends what comes to 192.0.2.10 there, and one drops at the
// hook that is named.
func countingRules(t *testing.T, drops netfilter.Hook) *netfilter.Ruleset {
	t.Helper()
	const text = `{"Namespace": 1, "Time": 1, "Whole": true, "Base": [[0, 0], [0, 1], [1, 0]], "Tables": [
		{"Family": "ip", "Name": "nat", "Xtables": true, "Chains": [
			{"Name": "PREROUTING", "Base": true, "NAT": true, "Hook": "prerouting", "Priority": -100, "Policy": 1, "Rules": [
				{"Ref": {"Backend": "iptables-nft", "Family": "ip", "Table": "nat", "Chain": "PREROUTING", "Position": 1, "Handle": 8}, "Expressions": [
					{"n": "payload", "r": [0, 1], "h": [false, true], "p": [1, 16, 4]}, {"n": "cmp", "r": [1, 0], "h": [true, false], "d": "wAACCg=="},
					{"n": "counter"}, {"n": "immediate", "r": [0, 1], "h": [false, true], "d": "rBEAAg=="}, {"n": "nat", "k": 1, "fa": 2, "a": 1}]}]},
			{"Name": "POSTROUTING", "Base": true, "NAT": true, "Hook": "postrouting", "Priority": 100, "Policy": 1, "Rules": [
				{"Ref": {"Backend": "iptables-nft", "Family": "ip", "Table": "nat", "Chain": "POSTROUTING", "Position": 1, "Handle": 7}, "Expressions": [
					{"n": "payload", "r": [0, 1], "h": [false, true], "p": [1, 12, 4]}, {"n": "cmp", "r": [1, 0], "h": [true, false], "d": "rBEAAg=="},
					{"n": "counter"}, {"n": "masq"}]}]}]},
		{"Family": "ip", "Name": "filter", "Xtables": true, "Chains": [
			{"Name": "DROPS", "Base": true, "Type": "filter", "Hook": "HOOK", "Policy": 1, "Rules": [
				{"Ref": {"Backend": "iptables-nft", "Family": "ip", "Table": "filter", "Chain": "DROPS", "Position": 1, "Handle": 3}, "Expressions": [
					{"n": "payload", "r": [0, 1], "h": [false, true], "p": [1, 12, 4]}, {"n": "cmp", "r": [1, 0], "h": [true, false], "d": "CgAAAQ=="},
					{"n": "immediate", "h": [false, true], "v": {"Code": 0}}]}]}]}]}`
	var raw map[string]any
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatal(err)
	}
	raw["Tables"].([]any)[1].(map[string]any)["Chains"].([]any)[0].(map[string]any)["Hook"] = drops
	b, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	r := &netfilter.Ruleset{}
	if err := json.Unmarshal(b, r); err != nil {
		t.Fatal(err)
	}
	return r
}

var (
	masqueradeRule = netfilter.RuleID{Family: "ip", Table: "nat", Chain: "POSTROUTING", Handle: 7}
	dnatRule       = netfilter.RuleID{Family: "ip", Table: "nat", Chain: "PREROUTING", Handle: 8}
)

// counting is a stage on which counters are read.
type counting struct {
	*stage
	asked int
	last  int64 // Start of the last reading
}

func newCounting(t *testing.T, drops netfilter.Hook) *counting {
	x := &counting{stage: newStage(t)}
	x.c.sink.Count = func(ns netns.ID) {
		if ns != hostNS {
			t.Errorf("counters of %v are asked for", ns)
		}
		x.asked++
	}
	x.c.SetRuleset(countingRules(t, drops))
	x.pass(time.Second)
	x.read(0)
	x.pass(100 * time.Millisecond)
	return x
}

// read tells of a reading that takes a millisecond.
func (x *counting) read(moved uint64, rules ...netfilter.RuleID) {
	n := netfilter.Counts{Namespace: hostNS, Start: x.now, End: x.now + 1e6, Since: x.last}
	for _, r := range rules {
		n.Moved = append(n.Moved, netfilter.Count{Rule: r, Packets: moved})
	}
	x.last = n.Start
	x.c.AddCounts(n)
	x.now += 2e6
}

// out is a datagram of back that is masqueraded; new: it begins the flow.
func (x *counting) out(from uint16, id uint16, new bool) {
	inner := udp(x.t, netip.AddrPortFrom(backIP, from), netip.AddrPortFrom(internetIP, 9000), id, "hello")
	x.see(vethIn, inner)
	x.see(bridgeIn, inner)
	x.see(uplinkOut, udp(x.t, netip.AddrPortFrom(hostIP, from), netip.AddrPortFrom(internetIP, 9000), id, "hello"))
	if new {
		x.late(from)
	}
	x.pass(5 * time.Millisecond)
}

// late tells of the flow that out's datagrams belong to.
func (x *counting) late(from uint16) {
	before := packet.NewTuple(packet.UDP, backIP, internetIP, from, 9000)
	after := packet.NewTuple(packet.UDP, hostIP, internetIP, from, 9000)
	x.flow(netfilter.New, netfilter.Flow{ID: uint32(from), Status: netfilter.SrcNAT, Original: before, Reply: after.Inverse()})
}

// in is a datagram from outside that a rule sends to back; new: it begins the flow.
func (x *counting) in(from uint16, id uint16, new bool) {
	before := packet.NewTuple(packet.UDP, internetIP, hostIP, from, 9000)
	after := packet.NewTuple(packet.UDP, internetIP, backIP, from, 9000)
	x.see(uplinkIn, udp(x.t, netip.AddrPortFrom(internetIP, from), netip.AddrPortFrom(hostIP, 9000), id, "hello"))
	inner := udp(x.t, netip.AddrPortFrom(internetIP, from), netip.AddrPortFrom(backIP, 9000), id, "hello")
	x.see(bridgeOut, inner)
	x.see(vethOut, inner)
	x.see(backIn, inner)
	if new {
		x.flow(netfilter.New, netfilter.Flow{ID: uint32(from), Status: netfilter.DstNAT, Original: before, Reply: after.Inverse()})
	}
	x.pass(5 * time.Millisecond)
}

// evidence returns that of the rule of every journey's only translation.
func (x *counting) evidence() (all []Evidence) {
	x.t.Helper()
	for _, j := range x.journeys {
		if len(j.Translations) != 1 || j.Translations[0].Rule == nil {
			x.t.Fatalf("translations %+v", j.Translations)
		}
		all = append(all, j.Translations[0].Rule.Evidence)
	}
	return all
}

// The counter of a rule that translates tells that it did when it moved by what the
// rules say it translated, and nothing else can have moved it.
func TestCounterConfirmsTheTranslation(t *testing.T) {
	for _, c := range []struct {
		name  string
		drops netfilter.Hook
		play  func(x *counting)
		want  Evidence // of the last journey
	}{
		{"one flow", netfilter.Forward, func(x *counting) { x.out(1, 1, true); x.read(1, masqueradeRule) }, ByCounter},
		{"two flows", netfilter.Forward, func(x *counting) { x.out(1, 1, true); x.out(2, 2, true); x.read(2, masqueradeRule) }, ByCounter},
		{"more than is known", netfilter.Forward, func(x *counting) { x.out(1, 1, true); x.read(2, masqueradeRule) }, ByRules},
		{"less than is known", netfilter.Forward, func(x *counting) { x.out(1, 1, true); x.out(2, 2, true); x.read(1, masqueradeRule) }, ByRules},
		{"another rule", netfilter.Forward, func(x *counting) { x.out(1, 1, true); x.read(1, dnatRule) }, ByRules},
		{"not read", netfilter.Forward, func(x *counting) { x.out(1, 1, true) }, ByRules},
		{"a flow that no tap saw", netfilter.Forward, func(x *counting) {
			x.out(1, 1, true)
			before := packet.NewTuple(packet.TCP, backIP, internetIP, 9, 80)
			x.flow(netfilter.New, netfilter.Flow{ID: 9, Original: before, Reply: packet.NewTuple(packet.TCP, hostIP, internetIP, 9, 80).Inverse()})
			x.read(2, masqueradeRule)
		}, ByCounter},
		{"a flow that it does not concern", netfilter.Forward, func(x *counting) {
			x.out(1, 1, true)
			before := packet.NewTuple(packet.TCP, baseIP, internetIP, 9, 80)
			x.flow(netfilter.New, netfilter.Flow{ID: 9, Original: before, Reply: before.Inverse()})
			x.read(1, masqueradeRule)
		}, ByCounter},
		{"events were lost", netfilter.Forward, func(x *counting) {
			x.out(1, 1, true)
			x.c.AddFlows(&netfilter.Batch{Namespace: hostNS, Through: x.now, Overruns: 1})
			x.read(1, masqueradeRule)
		}, ByRules},
		{"something may be dropped behind it", netfilter.Postrouting, func(x *counting) { x.out(1, 1, true); x.read(1, masqueradeRule) }, ByRules},
		{"other rules since", netfilter.Forward, func(x *counting) {
			r := countingRules(x.t, netfilter.Forward)
			r.Time = x.now
			x.c.SetRuleset(r)
			x.out(1, 1, true)
			x.read(1, masqueradeRule)
		}, ByRules},
		{"a later packet", netfilter.Forward, func(x *counting) {
			x.out(1, 1, true)
			x.pass(time.Second)
			x.read(1, masqueradeRule)
			x.out(1, 2, false)
		}, ByCounter},
		{"destination", netfilter.Forward, func(x *counting) { x.in(1, 1, true); x.read(1, dnatRule) }, ByCounter},
		{"destination, and one that was dropped", netfilter.Forward, func(x *counting) {
			x.in(1, 1, true)
			x.see(uplinkIn, udp(x.t, netip.AddrPortFrom(internetIP, 7), netip.AddrPortFrom(hostIP, 9000), 2, "hello"))
			x.pass(time.Millisecond)
			x.read(1, dnatRule)
			x.pass(time.Second)
			x.in(1, 3, false)
		}, ByRules},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newCounting(t, c.drops)
			c.play(x)
			x.pass(100 * time.Millisecond)
			x.pass(100 * time.Millisecond)
			got := x.evidence()
			if len(got) == 0 || got[len(got)-1] != c.want {
				t.Errorf("evidence %v, want %s", got, c.want)
			}
			if x.asked == 0 {
				t.Error("nobody asked for counters")
			}
		})
	}
}

// The first packet of a translated flow waits for the counters, no longer than that,
// and what comes behind it is shown behind it.
func TestFirstPacketWaitsForCounters(t *testing.T) {
	x := newCounting(t, netfilter.Forward)
	x.out(1, 1, true)
	reply := udp(t, netip.AddrPortFrom(internetIP, 9000), netip.AddrPortFrom(backIP, 1), 9, "answer")
	x.see(uplinkIn, udp(t, netip.AddrPortFrom(internetIP, 9000), netip.AddrPortFrom(hostIP, 1), 9, "answer"))
	x.see(bridgeOut, reply)
	x.see(vethOut, reply)
	x.see(backIn, reply)
	x.pass(25 * time.Millisecond)
	if len(x.journeys) != 0 {
		t.Fatalf("%d journeys are shown before the counters were read", len(x.journeys))
	}
	x.pass(25 * time.Millisecond)
	x.pass(time.Millisecond)
	if len(x.journeys) != 2 || x.journeys[0].Direction != Original || len(x.journeys[1].Related) != 1 || x.journeys[1].Related[0].ID != x.journeys[0].ID {
		t.Fatalf("%d journeys, want the question and its answer", len(x.journeys))
	}
	if x.asked != 1 {
		t.Errorf("asked %d times for one flow", x.asked)
	}
}
