package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// icmpError is an ICMP error of the gateway about a frame.
func icmpError(t *testing.T, typ, code uint8, about []byte) []byte {
	return frame(t, gatewayIP, backIP, 0, 64, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code)}, gopacket.Payload(about[14:14+28]))
}

func TestErrorEndsTheJourneyItIsAbout(t *testing.T) {
	s := newStage(t)
	first := udp(t, port(backIP, 5), port(internetIP, 33434), 1, "x")
	second := udp(t, port(backIP, 5), port(internetIP, 33434), 2, "x")
	for _, d := range [][]byte{first, second} {
		s.see(backOut, d)
		s.see(vethIn, d)
		s.see(bridgeIn, d)
	}
	exceeded := icmpError(t, 11, 0, second)
	s.see(bridgeOut, exceeded)
	s.see(vethOut, exceeded)
	s.see(backIn, exceeded)
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != 2 {
		t.Fatalf("%d journeys, want the error and the packet it ended", len(s.journeys))
	}
	dropped, told := s.journeys[0], s.journeys[1]
	if len(dropped.Related)+len(told.Hops) != 3 {
		dropped, told = told, dropped
	}
	v := dropped.Verdict
	if dropped.Hops[0].Headers.IPID != 2 || v.Result != Dropped || v.Evidence != ByReply || v.Reason != "time to live exceeded, says 172.17.0.1 (#3)" {
		t.Errorf("packet %d: %+v", dropped.Hops[0].Headers.IPID, v)
	}
	if len(told.Related) != 1 || told.Related[0] != (Relation{ID: dropped.ID, Why: "error_about"}) {
		t.Errorf("the error is related to %v, want #%d", told.Related, dropped.ID)
	}
	s.pass(4 * time.Second)
	if len(s.journeys) != 3 || s.journeys[2].Verdict.Evidence == ByReply {
		t.Errorf("the other packet: %d journeys, %+v", len(s.journeys), s.journeys[len(s.journeys)-1].Verdict)
	}
}

func TestErrorAboutADeliveredPacketChangesNothing(t *testing.T) {
	s := newStage(t)
	d := udp(t, port(gatewayIP, 5), port(backIP, 9), 7, "x")
	s.see(bridgeOut, d)
	s.see(vethOut, d)
	s.see(backIn, d)
	refused := frame(t, backIP, gatewayIP, 0, 64, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}, gopacket.Payload(d[14:14+28]))
	s.see(backOut, refused)
	s.see(vethIn, refused)
	s.see(bridgeIn, refused)
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != 2 {
		t.Fatalf("%d journeys, want 2", len(s.journeys))
	}
	if v := s.journeys[0].Verdict; v.Result != Delivered {
		t.Errorf("verdict %+v", v)
	}
	if r := s.journeys[1].Related; len(r) != 1 || r[0] != (Relation{ID: s.journeys[0].ID, Why: "error_about"}) {
		t.Errorf("the error is related to %v", r)
	}
}

// Two packets of one flow wait; the identification that the error quotes tells which
// one it is about, the older included.
func TestErrorAboutTheOlderOfTwo(t *testing.T) {
	s := newStage(t)
	first := udp(t, port(backIP, 5), port(internetIP, 33434), 1, "x")
	for _, d := range [][]byte{first, udp(t, port(backIP, 5), port(internetIP, 33434), 2, "x")} {
		for _, where := range []at{backOut, vethIn, bridgeIn} {
			s.see(where, d)
		}
	}
	exceeded := icmpError(t, 11, 0, first)
	for _, where := range []at{bridgeOut, vethOut, backIn} {
		s.see(where, exceeded)
	}
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	for _, j := range s.journeys {
		if h := &j.Hops[0].Headers; h.Tuple.DestinationPort == 33434 && (j.Verdict.Evidence == ByReply) != (h.IPID == 1) {
			t.Errorf("packet %d: %+v", h.IPID, j.Verdict)
		}
	}
}

// A router that sends a redirect has passed the packet on (RFC 792): whatever became
// of it, that is not why.
func TestRedirectEndsNothing(t *testing.T) {
	s := newStage(t)
	d := udp(t, port(backIP, 5), port(internetIP, 9), 7, "x")
	s.see(backOut, d)
	s.see(vethIn, d)
	s.see(bridgeIn, d)
	redirect := icmpError(t, 5, 1, d)
	s.see(bridgeOut, redirect)
	s.see(vethOut, redirect)
	s.see(backIn, redirect)
	s.pass(4 * time.Second)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != 2 {
		t.Fatalf("%d journeys, want the packet and the redirect", len(s.journeys))
	}
	told, about := s.journeys[0], s.journeys[1]
	if about.ID != 1 {
		told, about = about, told
	}
	if v := about.Verdict; v.Evidence == ByReply {
		t.Errorf("the packet: %+v", v)
	}
	if len(told.Related) != 1 || told.Related[0].ID != about.ID {
		t.Errorf("the redirect is related to %v, want #%d", told.Related, about.ID)
	}
}

// A rule that rejects tells the sender by the same error as a router that has no way:
// what the rules are sure of is named. An error that no rule sends, or that another host
// sent, is not theirs.
func TestErrorOfARule(t *testing.T) {
	input := func(v netfilter.Verdict) *netfilter.Ruleset {
		return oneRule(t, hostNS, netfilter.Input, packet.UDP, v)
	}
	forward := oneRule(t, hostNS, netfilter.Forward, packet.UDP, netfilter.Rejected)
	for _, c := range []struct {
		name      string
		rules     *netfilter.Ruleset
		to        netip.Addr
		typ, code uint8
		want      string
	}{
		{"input", input(netfilter.Rejected), gatewayIP, 3, 3, "dropped at input by INPUT #1 [evaluated]: port unreachable, says 172.17.0.1 (#2)"},
		{"forward", forward, internetIP, 3, 13, "dropped at forward by FORWARD #1 [evaluated]: communication administratively prohibited, says 172.17.0.1 (#2)"},
		{"a rule that is silent", input(netfilter.Dropped), gatewayIP, 3, 3, "dropped at  by  [reply]: port unreachable, says 172.17.0.1 (#2)"},
		{"a rule for others", input(netfilter.Rejected), internetIP, 3, 3, "dropped at  by  [reply]: port unreachable, says 172.17.0.1 (#2)"},
		{"too old", forward, internetIP, 11, 0, "dropped at  by  [reply]: time to live exceeded, says 172.17.0.1 (#2)"},
		{"too large", forward, internetIP, 3, 4, "dropped at  by  [reply]: fragmentation needed, says 172.17.0.1 (#2)"},
	} {
		s := newDropStage(t)
		if c.to == internetIP {
			s.c.SetTopology(routed(2, 2))
		}
		s.c.SetRuleset(c.rules)
		asked := udp(t, port(backIP, 5), port(c.to, 9), 7, "x")
		s.toHost(asked)
		told := icmpError(t, c.typ, c.code, asked)
		for _, where := range []at{bridgeOut, vethOut, backIn} {
			s.see(where, told)
		}
		s.pass(50 * time.Millisecond)
		s.pass(50 * time.Millisecond)
		if len(s.journeys) != 2 {
			t.Fatalf("%s: %d journeys, want the packet and the error", c.name, len(s.journeys))
		}
		j := s.journeys[slices.IndexFunc(s.journeys, func(j *Journey) bool { return j.ID == 1 })]
		v := j.Verdict
		if got := fmt.Sprintf("%s at %s by %s [%s]: %s", v.Result, v.Hook, v.By, v.Evidence, v.Reason); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
		if named := v.Rule != nil && len(j.Rules) == 1 && j.Rules[0].RuleRef == v.Rule.RuleRef; named != (v.Evidence == ByRules) {
			t.Errorf("%s: rules %+v", c.name, j.Rules)
		}
	}
}

// An error from elsewhere quotes a packet that a rule here would have rejected: they are
// others now.
func TestErrorOfAnotherHost(t *testing.T) {
	s := newDropStage(t)
	s.c.SetTopology(routed(2, 2))
	s.c.SetRuleset(oneRule(t, hostNS, netfilter.Forward, packet.UDP, netfilter.Rejected))
	asked := udp(t, port(backIP, 5), port(internetIP, 9), 7, "x")
	s.toHost(asked)
	s.see(uplinkIn, frame(t, internetIP, backIP, 0, 64, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}, gopacket.Payload(asked[14:14+28])))
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	j := s.journeys[slices.IndexFunc(s.journeys, func(j *Journey) bool { return j.ID == 1 })]
	if v := j.Verdict; v.Evidence != ByReply || v.Rule != nil {
		t.Errorf("%+v", v)
	}
}
