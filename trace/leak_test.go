package trace

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// masquerades is a Ruleset whose only rule masquerades all that leaves.
func masquerades(t *testing.T) *netfilter.Ruleset {
	t.Helper()
	r := &netfilter.Ruleset{}
	if err := json.Unmarshal([]byte(`{"Namespace": 1, "Base": [[0, 0]], "Tables": [{"Family": "ip", "Name": "nat", "Chains": [
		{"Name": "POSTROUTING", "Base": true, "NAT": true, "Hook": "postrouting", "Priority": 100, "Policy": 1,
		 "Rules": [{"Ref": {"Text": "masquerade"}, "Expressions": [{"n": "masq"}]}]}]}]}`), r); err != nil {
		t.Fatal(err)
	}
	if m := r.NAT(netfilter.Postrouting, netfilter.Packet{Tuple: echoTuple(backIP, internetIP, 1, false), InLink: "docker0", OutLink: "eth0"}); m.Certainty != netfilter.Covered {
		t.Fatalf("the rule is not understood: %+v", m)
	}
	return r
}

// knownFix is what is said of leaks of IPv4.
const knownFix = "known fix: iptables -I FORWARD -m conntrack --ctstate INVALID -j DROP (Docker's issue: moby/moby 18630)"

func TestLeakOfWhatARuleTranslates(t *testing.T) {
	s := newStage(t)
	s.c.SetRuleset(masquerades(t))
	s.masqueraded(1)
	late := frame(t, backIP, internetIP, 7, 64, &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 1, FIN: true, ACK: true})
	// Somebody has a route to the container, so its answers stay as they are.
	s.flow(netfilter.New, netfilter.Flow{ID: 3, Original: packet.NewTuple(packet.UDP, internetIP, backIP, 5, 6), Reply: packet.NewTuple(packet.UDP, backIP, internetIP, 6, 5)})
	for _, p := range [][]byte{late, udp(t, port(backIP, 6), port(internetIP, 5), 8, "answer")} {
		for _, where := range []at{backOut, vethIn, bridgeIn, uplinkOut} {
			s.see(where, p)
		}
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	var leaks []*Journey
	for _, j := range s.journeys {
		if j.Verdict.Leak {
			leaks = append(leaks, j)
		}
	}
	if len(s.journeys) != 3 || len(leaks) != 1 || leaks[0].Hops[0].Headers.IPID != 7 || len(leaks[0].Notes) != 1 {
		t.Fatalf("%d journeys, %d leaks: %s", len(s.journeys), len(leaks), s.verdicts())
	}
	if got, want := leaks[0].Verdict.Reason, "connection tracking has no entry for it (INVALID, as a late FIN or RST is), so it is not translated"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// One that came after its entry had gone says so.
func TestLeakAfterTheEntryHasGone(t *testing.T) {
	s := newStage(t)
	flow := netfilter.Flow{ID: 9,
		Original: packet.NewTuple(packet.TCP, backIP, internetIP, 4000, 80), Reply: packet.NewTuple(packet.TCP, internetIP, hostIP, 80, 4000)}
	s.flow(netfilter.New, flow)
	s.flow(netfilter.Destroy, flow)
	s.pass(100 * time.Millisecond)
	reset := frame(t, backIP, internetIP, 7, 64, &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 1, RST: true})
	for _, where := range []at{backOut, vethIn, bridgeIn, uplinkOut} {
		s.see(where, reset)
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if got, want := s.verdicts(), "left: its conntrack entry, which made the source 192.0.2.10, was gone by then, so it is INVALID and not translated"; got != want || !s.journeys[0].Verdict.Leak {
		t.Errorf("%s, want %s", got, want)
	}
}

// Whatever a rule for all links says: what one container sends another does not leave
// by an uplink.
func TestNoLeakBetweenContainers(t *testing.T) {
	s := newStage(t)
	s.c.SetRuleset(masquerades(t))
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: echoTuple(baseIP, internetIP, 1, false), Reply: echoTuple(internetIP, hostIP, 1, true)})
	p := frame(t, backIP, baseIP, 7, 64, &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 1, FIN: true, ACK: true})
	for _, where := range []at{backOut, vethIn, bridgeIn, bridgeOut, baseVOut, baseIn} {
		s.see(where, p)
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	for _, j := range s.journeys {
		if j.Verdict.Leak {
			t.Errorf("%s: %+v", path(j), j.Verdict)
		}
	}
}

func TestLeakOfWhatItsFlowTranslates(t *testing.T) {
	s := newStage(t)
	s.flow(netfilter.New, netfilter.Flow{ID: 9,
		Original: packet.NewTuple(packet.TCP, backIP, internetIP, 4000, 80), Reply: packet.NewTuple(packet.TCP, internetIP, hostIP, 80, 4000)})
	reset := frame(t, backIP, internetIP, 7, 64, &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 1, RST: true})
	for _, where := range []at{backOut, vethIn, bridgeIn, uplinkOut} {
		s.see(where, reset)
	}
	s.masqueraded(1) // another flow, and translated
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != 2 {
		t.Fatalf("%d journeys, want 2", len(s.journeys))
	}
	v := s.journeys[0].Verdict
	if !v.Leak || v.Result != Left || v.Reason != "connection tracking found it INVALID, so it is not translated; its flow's other packets become 192.0.2.10" {
		t.Errorf("%+v", v)
	}
	if n := s.journeys[0].Notes; len(n) != 1 || n[0] != knownFix {
		t.Errorf("notes %q", n)
	}
	if v := s.journeys[1].Verdict; v.Leak {
		t.Errorf("what has the host's address: %+v", v)
	}
}

// Without a rule that would have translated it, a packet with a container's
// address is where it should be.
func TestNoLeakWithoutARule(t *testing.T) {
	s := newStage(t)
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: echoTuple(baseIP, internetIP, 1, false), Reply: echoTuple(internetIP, hostIP, 1, true)})
	p := udp(t, port(backIP, 1), port(internetIP, 80), 7, "routed")
	for _, where := range []at{backOut, vethIn, bridgeIn, uplinkOut} {
		s.see(where, p)
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != 1 || s.journeys[0].Verdict.Leak {
		t.Errorf("%d journeys: %s", len(s.journeys), s.verdicts())
	}
}

// An overrun of conntrack's events leaves doubt for a while only.
func TestLeakAfterAnOverrun(t *testing.T) {
	s := newStage(t)
	s.c.SetRuleset(masquerades(t))
	s.masqueraded(1)
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: echoTuple(baseIP, internetIP, 1, false), Reply: echoTuple(internetIP, hostIP, 1, true)})
	s.pass(50 * time.Millisecond)
	late := func(id uint16) {
		p := frame(t, backIP, internetIP, id, 64, &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 1, FIN: true, ACK: true})
		for _, where := range []at{backOut, vethIn, bridgeIn, uplinkOut} {
			s.see(where, p)
		}
		s.pass(50 * time.Millisecond)
	}
	late(7)
	s.c.AddFlows(&netfilter.Batch{Namespace: hostNS, Through: s.now, Overruns: 1, Lost: 7})
	late(8) // its entry may be among what was lost
	s.pass(2 * time.Second)
	late(18) // and the dump that follows may not have come to it yet
	s.pass(10 * time.Second)
	late(9)
	s.pass(50 * time.Millisecond)
	var leaks []uint16
	for _, j := range s.journeys {
		if j.Verdict.Leak {
			leaks = append(leaks, j.Hops[0].Headers.IPID)
		}
	}
	if !slices.Equal(leaks, []uint16{7, 9}) {
		t.Errorf("packets %d leak, want 7 and 9: %s", leaks, s.verdicts())
	}
}
