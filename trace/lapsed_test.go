package trace

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// States of connection tracking, as rules ask for them (NF_CT_STATE_BIT).
const (
	newState     = 8
	invalidState = 1
)

// dropsState is a Ruleset of the host whose only rule drops what is to be passed on and
// has one of those states.
func dropsState(t *testing.T, states uint32) *netfilter.Ruleset {
	t.Helper()
	r := &netfilter.Ruleset{}
	if err := json.Unmarshal(fmt.Appendf(nil, `{"Namespace": 1, "Time": 1, "Whole": true, "Bridged": [2, 2], "Base": [[0, 0]], "Tables": [{"Family": "ip", "Name": "filter", "Xtables": true, "Chains": [
		{"Name": "FORWARD", "Base": true, "Type": "filter", "Hook": "forward", "Policy": 1, "Rules": [
			{"Ref": {"Backend": "iptables-nft", "Family": "ip", "Table": "filter", "Chain": "FORWARD", "Position": 1, "Handle": 7}, "Expressions": [
				{"n": "ct", "k": 0, "r": [0, 1], "h": [false, true]},
				{"n": "bitwise", "r": [1, 1], "h": [true, true], "p": [0, 0, 4], "d": %q, "d2": "AAAAAA=="},
				{"n": "cmp", "op": 1, "r": [1, 0], "h": [true, false], "d": "AAAAAA=="},
				{"n": "counter"}, {"n": "immediate", "h": [false, true], "v": {"Code": 0}}]}]}]}]}`,
		base64.StdEncoding.EncodeToString(binary.NativeEndian.AppendUint32(nil, states))), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// routedWorld is the world whose host has a way to the internet.
func routedWorld() *netinfo.Topology {
	w := world()
	w.Namespaces[0].Routes = []netinfo.Route{{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1"), Link: uplink}}
	return w
}

// dialled is a connection of back to port 80 out there, which the host masquerades.
var dialled = netfilter.Flow{ID: 9, Status: netfilter.SrcNAT,
	Original: packet.NewTuple(packet.TCP, backIP, internetIP, 4000, 80), Reply: packet.NewTuple(packet.TCP, internetIP, hostIP, 80, 4000)}

// What comes when its entry is gone is for the host itself, which answers it so.
func TestAnswerToAFlowThatHadDied(t *testing.T) {
	s := newDropStage(t)
	s.flow(netfilter.New, dialled)
	s.pass(100 * time.Millisecond)
	s.flow(netfilter.Destroy, dialled)
	s.pass(1750 * time.Millisecond)
	s.see(uplinkIn, frame(t, internetIP, hostIP, 7, 64, &layers.TCP{SrcPort: 80, DstPort: 4000, Seq: 1, FIN: true, ACK: true}))
	s.see(uplinkOut, frame(t, hostIP, internetIP, 0, 64, &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 1, RST: true}))
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	s.expect(
		want{path: "host/eth0:out", from: "host", direction: NoDirection, verdict: "left by tap"},
		want{path: "host/eth0:in", to: "host", direction: NoDirection, verdict: "unfinished by tap"},
	)
	if got := s.journeys[1].Verdict.Reason; !strings.HasPrefix(got, "it came to host") {
		t.Error(got)
	}
	for _, j := range s.journeys {
		if len(j.Flows) != 0 || j.Verdict.Leak {
			t.Errorf("%s: flows %v, leak %v", path(j), j.Flows, j.Verdict.Leak)
		}
	}
}

// Rules see a packet of a flow that is gone as one that begins another, or as INVALID.
func TestRulesForWhatHadAFlow(t *testing.T) {
	const dropped = "dropped at forward by FORWARD #1 [evaluated]"
	fin := func(t *testing.T) []byte {
		return frame(t, backIP, internetIP, 7, 64, &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 1, FIN: true, ACK: true})
	}
	echo := func(t *testing.T) []byte { return ping(t, backIP, internetIP, 7, 7, false) }
	for name, c := range map[string]struct {
		flow   netfilter.Flow
		packet func(*testing.T) []byte
		states uint32
		died   bool
		want   string
	}{
		"a ping after it":          {pingFlow, echo, newState, true, dropped},
		"a ping":                   {pingFlow, echo, invalidState, true, "dropped at forward by  [inferred]"},
		"a ping of one that lives": {pingFlow, echo, invalidState | newState, false, "vanished at  by  [tap]"},
		"a FIN after it":           {dialled, fin, invalidState, true, dropped},
		"a FIN":                    {dialled, fin, newState, true, "unfinished at  by  [tap]"},
		"a FIN of one that lives":  {dialled, fin, invalidState | newState, false, "vanished at  by  [tap]"},
	} {
		s := newDropStage(t)
		s.c.SetTopology(routedWorld())
		s.c.SetRuleset(dropsState(t, c.states))
		answered := c.flow
		answered.Status |= netfilter.SeenReply
		s.flow(netfilter.New, c.flow)
		s.flow(netfilter.Update, answered)
		s.pass(100 * time.Millisecond)
		if c.died {
			s.flow(netfilter.Destroy, answered)
			s.pass(100 * time.Millisecond)
		}
		for _, where := range []at{backOut, vethIn, bridgeIn} {
			s.see(where, c.packet(t))
		}
		s.pass(50 * time.Millisecond)
		s.pass(4 * time.Second)
		if len(s.journeys) != 1 || s.ended() != c.want || c.died != (len(s.journeys[0].Flows) == 0) {
			t.Errorf("%s: %v, %v, want %s", name, s.ended(), s.verdicts(), c.want)
		}
	}
}

// A packet keeps the flow that it came in with, however long it is held up.
func TestFlowThatDiesUnderItsPacket(t *testing.T) {
	for name, held := range map[string]time.Duration{"at once": 10 * time.Microsecond, "soon": 20 * time.Millisecond, "address resolution": 2 * time.Second} {
		s := newDropStage(t)
		s.flow(netfilter.New, pingFlow)
		s.pass(100 * time.Millisecond)
		inner := ping(t, backIP, internetIP, 7, 1, false)
		for _, where := range []at{backOut, vethIn, bridgeIn} {
			s.see(where, inner)
		}
		s.flow(netfilter.Destroy, pingFlow)
		s.pass(held)
		s.see(uplinkOut, ping(t, hostIP, internetIP, 7, 1, false))
		s.pass(50 * time.Millisecond)
		s.pass(50 * time.Millisecond)
		if len(s.journeys) != 1 || path(s.journeys[0]) != outPath || changes(s.journeys[0]) != backBecomesHost+"[conntrack 9]" || s.journeys[0].Verdict.Leak {
			t.Errorf("%s: %d journeys: %s", name, len(s.journeys), s.verdicts())
			continue
		}
		if notes := s.journeys[0].Notes; len(notes) != 0 {
			t.Errorf("%s: notes %q", name, notes)
		}
	}
}

// The same, where connection tracking tells of the death when the packet was judged: one
// that came before it keeps its flow, and one that came after has none.
func TestDeathThatIsToldLate(t *testing.T) {
	for after, want := range map[bool]string{false: "vanished at  by  [tap]", true: "dropped at forward by  [inferred]"} {
		s := newDropStage(t)
		s.flow(netfilter.New, pingFlow)
		s.pass(100 * time.Millisecond)
		died := s.now
		if !after {
			died += 20e6
		}
		s.now += 10e6
		inner := ping(t, backIP, internetIP, 7, 1, false)
		for _, where := range []at{backOut, vethIn, bridgeIn} {
			s.see(where, inner)
		}
		s.observe(1100 * time.Millisecond) // nothing is heard of connection tracking
		s.c.AddFlows(&netfilter.Batch{Namespace: hostNS, Events: []netfilter.Event{
			{Kind: netfilter.Destroy, Flow: func() netfilter.Flow { f := pingFlow; f.Namespace = hostNS; return f }(), After: died, Before: died},
		}})
		s.pass(50 * time.Millisecond)
		s.pass(4 * time.Second)
		if len(s.journeys) != 1 || s.ended() != want || after != (len(s.journeys[0].Flows) == 0) {
			t.Errorf("after it %v: %s: %s", after, s.ended(), s.verdicts())
		}
	}
}

// A rule that is gone translates nothing, so what leaves as it is does not leak.
func TestNoLeakWithoutARuleWhenTheEntryHasGone(t *testing.T) {
	s := newDropStage(t)
	s.flow(netfilter.New, pingFlow)
	s.flow(netfilter.Destroy, pingFlow)
	s.pass(100 * time.Millisecond)
	for _, where := range []at{backOut, vethIn, bridgeIn, uplinkOut} {
		s.see(where, ping(t, backIP, internetIP, 7, 1, false))
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if got := s.verdicts(); got != "left: " || s.journeys[0].Verdict.Leak {
		t.Error(got)
	}
}
