package trace

import (
	"slices"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

const gotIt = " got it, but no answer gets out: its own rules drop what it sends back, at output, by OUTPUT #1 ()"

// What a namespace sends passes its rules before any tap. Where they are sure to drop an
// answer, the packet that asks says so.
func TestAnswerDroppedAtOutput(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules *netfilter.Ruleset
		since int64
		frame []byte
		want  bool
	}{
		{"an echo request", oneRule(t, baseNS, netfilter.Output, packet.ICMP, netfilter.Dropped), 1, ping(t, backIP, baseIP, 1, 1, false), true},
		{"rejected", oneRule(t, baseNS, netfilter.Output, packet.ICMP, netfilter.Rejected), 1, ping(t, backIP, baseIP, 1, 1, false), true},
		{"what answers itself", oneRule(t, baseNS, netfilter.Output, packet.ICMP, netfilter.Dropped), 1, ping(t, backIP, baseIP, 1, 1, true), false},
		{"a rule that came later", oneRule(t, baseNS, netfilter.Output, packet.ICMP, netfilter.Dropped), 2e18, ping(t, backIP, baseIP, 1, 1, false), false},
		{"a rule for others", oneRule(t, baseNS, netfilter.Output, packet.UDP, netfilter.Dropped), 1, ping(t, backIP, baseIP, 1, 1, false), false},
		{"a rule of the asker", oneRule(t, backNS, netfilter.Output, packet.ICMP, netfilter.Dropped), 1, ping(t, backIP, baseIP, 1, 1, false), false},
		{"a datagram of nobody knows which flow", oneRule(t, baseNS, netfilter.Output, packet.UDP, netfilter.Dropped), 1, udp(t, port(backIP, 5), port(baseIP, 9), 1, "x"), false},
	} {
		s := newStage(t)
		c.rules.Time = c.since
		s.c.SetRuleset(c.rules)
		s.toBase(c.frame)
		s.pass(50 * time.Millisecond)
		s.pass(50 * time.Millisecond)
		if got := slices.Contains(sole(t, s).Notes, "database"+gotIt); got != c.want {
			t.Errorf("%s: %q", c.name, s.journeys[0].Notes)
		}
	}
}

// Where connections are tracked, an answer belongs to one: the first datagram of a flow
// says so, and no other.
func TestAnswerOfAFlowDroppedAtOutput(t *testing.T) {
	s := newDropStage(t)
	s.c.SetRuleset(oneRule(t, hostNS, netfilter.Output, packet.UDP, netfilter.Dropped))
	asked := udpTuple(port(backIP, 1), port(gatewayIP, 53))
	s.toHost(udp(t, port(backIP, 1), port(gatewayIP, 53), 1, "first"))
	s.flow(netfilter.New, netfilter.Flow{ID: 2, Original: asked, Reply: asked.Inverse()})
	s.pass(20 * time.Millisecond)
	s.toHost(udp(t, port(backIP, 1), port(gatewayIP, 53), 2, "second"))
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != 2 {
		t.Fatalf("%d journeys", len(s.journeys))
	}
	for i, want := range []bool{true, false} {
		if got := slices.Contains(s.journeys[i].Notes, "host"+gotIt); got != want {
			t.Errorf("number %d: %q", i+1, s.journeys[i].Notes)
		}
	}
}
