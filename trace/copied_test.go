package trace

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// copies is a Ruleset with a rule that sends copies of packets elsewhere.
func copies(t *testing.T) *netfilter.Ruleset {
	t.Helper()
	r := &netfilter.Ruleset{}
	if err := json.Unmarshal([]byte(`{"Namespace": 1, "Whole": true, "Base": [[0, 0]], "Tables": [{"Family": "ip", "Name": "mangle", "Chains": [
		{"Name": "PREROUTING", "Base": true, "Type": "filter", "Hook": "prerouting", "Priority": -150, "Policy": 1, "Rules": [
			{"Ref": {"Chain": "PREROUTING", "Position": 1}, "Expressions": [{"n": "target", "x": "TEE"}]}]}]}]}`), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// What a host got is delivered, whatever becomes of the copy that a rule sent on.
func TestCopyOfWhatTheHostGot(t *testing.T) {
	s := newStage(t)
	s.c.SetRuleset(copies(t))
	frame := udp(t, port(internetIP, 5), port(hostIP, 53), 1, "x")
	s.see(uplinkIn, frame)
	for _, where := range []at{bridgeOut, baseVOut, baseIn} {
		s.see(where, frame)
	}
	tuple := packet.NewTuple(packet.UDP, internetIP, hostIP, 5, 53)
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: tuple, Reply: tuple.Inverse()})
	s.pass(5 * time.Second)
	if len(s.journeys) != 1 {
		t.Fatalf("%d journeys", len(s.journeys))
	}
	j := s.journeys[0]
	if v := j.Verdict; v.Result != Delivered || v.Hop != 0 || v.Evidence != ByConntrack || j.To.IP != hostIP {
		t.Errorf("%+v, to %+v", v, j.To)
	}
	if want := []string{"PREROUTING #1 of host copies packets: what went on by docker0 is a copy"}; !slices.Equal(j.Notes, want) {
		t.Errorf("notes %q, want %q", j.Notes, want)
	}
}

// Of what was passed on, one way is the copy's; without such a rule nothing is said.
func TestCopyOfWhatWasPassedOn(t *testing.T) {
	for _, rules := range []*netfilter.Ruleset{copies(t), {Namespace: hostNS}} {
		s := newStage(t)
		s.c.SetRuleset(rules)
		inner := udp(t, port(backIP, 5), port(internetIP, 53), 1, "x")
		for _, where := range []at{backOut, vethIn, bridgeIn, bridgeOut, baseVOut, baseIn} {
			s.see(where, inner)
		}
		s.see(uplinkOut, udp(t, port(hostIP, 5), port(internetIP, 53), 1, "x"))
		before := packet.NewTuple(packet.UDP, backIP, internetIP, 5, 53)
		s.flow(netfilter.New, netfilter.Flow{ID: 1, Status: netfilter.SrcNAT, Original: before, Reply: packet.NewTuple(packet.UDP, internetIP, hostIP, 53, 5)})
		s.pass(5 * time.Second)
		var want []string
		if len(rules.Copiers()) > 0 {
			want = []string{"PREROUTING #1 of host copies packets: one of the ways that it went on is its copy's"}
		}
		if j := s.journeys[0]; len(s.journeys) != 1 || j.Verdict.Result != Left || !slices.Equal(j.Notes, want) {
			t.Errorf("%d journeys, %+v, notes %q, want %q", len(s.journeys), j.Verdict, j.Notes, want)
		}
	}
}
