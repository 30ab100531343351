package trace

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// sourceRules gives all that comes to the host itself the source 172.17.0.1, at INPUT,
// and masquerades all that leaves.
func sourceRules(t *testing.T) *netfilter.Ruleset {
	t.Helper()
	r := &netfilter.Ruleset{}
	if err := json.Unmarshal([]byte(`{"Namespace": 1, "Time": 1, "Whole": true, "Base": [[0, 0], [0, 1]], "Tables": [{"Family": "ip", "Name": "nat", "Chains": [
		{"Name": "INPUT", "Base": true, "NAT": true, "Hook": "input", "Priority": 100, "Policy": 1, "Rules": [
			{"Ref": {"Family": "ip", "Table": "nat", "Chain": "INPUT", "Position": 1, "Handle": 8}, "Expressions": [
				{"n": "counter"}, {"n": "immediate", "r": [0, 1], "h": [false, true], "d": "rBEAAQ=="}, {"n": "nat", "fa": 2, "a": 1}]}]},
		{"Name": "POSTROUTING", "Base": true, "NAT": true, "Hook": "postrouting", "Priority": 100, "Policy": 1, "Rules": [
			{"Ref": {"Family": "ip", "Table": "nat", "Chain": "POSTROUTING", "Position": 1, "Handle": 7}, "Expressions": [{"n": "counter"}, {"n": "masq"}]}]}]}]}`), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// The source of what is for the host itself is translated at INPUT, by a rule there, and
// the counter of that rule tells so, whatever else is masqueraded at the same time.
func TestSourceTranslatedAtInput(t *testing.T) {
	x := newCounting(t, netfilter.Forward)
	x.c.SetRuleset(sourceRules(t))
	x.read(0)
	x.pass(100 * time.Millisecond)
	x.out(5, 1, true)
	before := packet.NewTuple(packet.UDP, internetIP, hostIP, 6, 9000)
	after := packet.NewTuple(packet.UDP, netip.MustParseAddr("172.17.0.1"), hostIP, 6, 9000)
	x.see(uplinkIn, udp(t, port(internetIP, 6), port(hostIP, 9000), 2, "hello"))
	x.flow(netfilter.New, netfilter.Flow{ID: 6, Status: netfilter.SrcNAT, Original: before, Reply: after.Inverse()})
	x.pass(5 * time.Millisecond)
	x.read(1, masqueradeRule, netfilter.RuleID{Family: "ip", Table: "nat", Chain: "INPUT", Handle: 8})
	x.pass(time.Second)
	i := slices.IndexFunc(x.journeys, func(j *Journey) bool { return j.To.IP == hostIP })
	if i < 0 || len(x.journeys) != 2 || len(x.journeys[i].Translations) != 1 {
		t.Fatalf("%d journeys", len(x.journeys))
	}
	if tr := x.journeys[i].Translations[0]; tr.Hook != netfilter.Input || tr.Kind != SNAT || tr.Rule == nil || tr.Rule.Chain != "INPUT" || tr.Rule.Evidence != ByCounter {
		t.Errorf("%+v by %+v", tr, tr.Rule)
	}
	if tr := x.journeys[1-i].Translations[0]; tr.Rule == nil || tr.Rule.Chain != "POSTROUTING" || tr.Rule.Evidence != ByCounter {
		t.Errorf("%+v by %+v", tr, tr.Rule)
	}
}

// No rule is named that would have made another source of a packet.
func TestRuleThatTranslatesToAnotherAddress(t *testing.T) {
	x := newCounting(t, netfilter.Forward)
	x.c.SetRuleset(sourceRules(t))
	before := packet.NewTuple(packet.UDP, internetIP, hostIP, 6, 9000)
	after := packet.NewTuple(packet.UDP, netip.MustParseAddr("172.17.0.9"), hostIP, 6, 9000)
	x.see(uplinkIn, udp(t, port(internetIP, 6), port(hostIP, 9000), 2, "hello"))
	x.flow(netfilter.New, netfilter.Flow{ID: 6, Status: netfilter.SrcNAT, Original: before, Reply: after.Inverse()})
	x.pass(4 * time.Second)
	if tr := x.journeys[0].Translations; len(tr) != 1 || tr[0].Rule != nil || tr[0].Evidence != ByConntrack {
		t.Errorf("%+v", tr)
	}
}

// What a helper expected is translated like what announced it: rules had no part in it,
// though one of them would have done the same.
func TestExpectedFlowIsNoRules(t *testing.T) {
	x := newCounting(t, netfilter.Forward)
	before := packet.NewTuple(packet.UDP, backIP, internetIP, 5, 9000)
	after := packet.NewTuple(packet.UDP, hostIP, internetIP, 5, 9000)
	x.flow(netfilter.New, netfilter.Flow{ID: 5, Status: netfilter.SrcNAT | netfilter.Expected, Original: before, Reply: after.Inverse()})
	x.out(5, 1, false)
	x.out(5, 2, false)
	x.pass(4 * time.Second)
	for i, want := range [][]string{{noteExpected}, nil} {
		j := x.journeys[i]
		if tr := j.Translations; len(tr) != 1 || tr[0].Kind != SNAT || tr[0].Rule != nil || tr[0].Evidence != ByConntrack || !slices.Equal(j.Notes, want) {
			t.Errorf("journey %d: %+v, notes %q", i, tr, j.Notes)
		}
	}
}
