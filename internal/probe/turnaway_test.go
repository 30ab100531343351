package probe

import (
	"net/netip"
	"strings"
	"testing"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/trace"
)

// A port that is closed and a rule that rejects use the same words. Who says them, where
// the packet was seen last and what was foretold tell them apart.
func TestTurnedAway(t *testing.T) {
	const router, target = "172.17.0.1", "172.24.0.2"
	port := func(from string) *Objection { return &Objection{addr(from), 3, 3} }
	rule := &netfilter.RuleRef{Chain: "DOCKER-USER", Position: 1, Text: "-A DOCKER-USER -j REJECT"}
	foretold := func(verdict netfilter.Verdict) *Expectation {
		return &Expectation{Result: Dropped, Verdict: verdict, Rule: rule, Reason: "rejected at forward by DOCKER-USER, rule 1",
			Stages: []Stage{{Namespace: fixture().Namespace(hostNS)}}}
	}
	for _, c := range []struct {
		name     string
		protocol packet.Protocol
		answer   AnswerResult
		says     *Objection
		end      trace.Result
		in       bool // it was seen in its destination's namespace
		expected *Expectation
		want     Result
		rule     bool   // that was foretold is the cause
		reason   string // part of it
	}{
		{"a closed port", packet.UDP, Refused, port(target), trace.Delivered, true, nil, RefusedBy, false, ""},
		{"a closed port, out of sight", packet.UDP, Refused, port(target), trace.Left, false, nil, RefusedBy, false, ""},
		{"a reset", packet.TCP, Refused, nil, trace.Delivered, true, nil, RefusedBy, false, ""},
		{"a reset of somebody on the way", packet.TCP, Refused, nil, trace.Dropped, false, nil, Dropped, false, "not seen to arrive"},
		{"a closed port's words of a router", packet.UDP, Refused, port(router), trace.Dropped, false, nil, Dropped, false, ""},
		{"to an echo request", packet.ICMP, Refused, port(target), trace.Delivered, true, nil, Dropped, false, "port unreachable, says 172.24.0.2"},
		{"to a SYN", packet.TCP, Refused, port(target), trace.Delivered, true, nil, Dropped, false, "port unreachable, says 172.24.0.2"},
		{"as foretold", packet.UDP, Refused, port(router), trace.Dropped, false, foretold(netfilter.Rejected), Dropped, true, "DOCKER-USER, rule 1"},
		{"with words of routes", packet.UDP, Unreachable, &Objection{addr(router), 3, 0}, trace.Dropped, false, foretold(netfilter.Rejected), Dropped, true, "DOCKER-USER"},
		{"a drop says nothing", packet.UDP, Unreachable, &Objection{addr(router), 3, 0}, trace.Dropped, false, foretold(netfilter.Dropped), NoWay, false, ""},
		{"somebody else's words", packet.UDP, Refused, port("203.0.113.1"), trace.Dropped, false, foretold(netfilter.Rejected), Dropped, false, ""},
		{"forbidden", packet.ICMP, Unreachable, &Objection{addr(router), 3, 13}, trace.Dropped, false, nil, Dropped, false, ""},
		{"no route", packet.ICMP, Unreachable, &Objection{addr(router), 3, 0}, trace.Dropped, false, nil, NoWay, false, ""},
		{"no route of IPv6", packet.ICMP, Unreachable, &Objection{addr("fd00::1"), 1, 0}, trace.Dropped, false, nil, NoWay, false, ""},
		{"forbidden by IPv6", packet.ICMP, Unreachable, &Objection{addr("fd00::1"), 1, 1}, trace.Dropped, false, nil, Dropped, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			topology := fixture()
			tuple := packet.NewTuple(packet.UDP, addr("172.17.0.2"), addr(target), 40000, 9)
			at := hostNS
			if c.in {
				at = backNS
			}
			j := journey(1, c.end, tuple, ubuntuNS, at)
			j.Topology = topology
			o := &Outcome{
				Request: Request{Protocol: c.protocol}, Answer: Answer{Result: c.answer, Objection: c.says}, Expected: c.expected,
				Source: Source{Name: "ubuntu", Namespace: topology.Namespace(ubuntuNS)}, Destination: Destination{Address: addr(target)},
				Journeys: Journeys{There: []*trace.Journey{j}},
			}
			o.conclude()
			if o.Result != c.want || (o.Cause.Rule == rule) != c.rule || !strings.Contains(o.Cause.Reason, c.reason) {
				t.Errorf("%s, %+v; want %s", o.Result, o.Cause, c.want)
			}
		})
	}
}

// An error that the socket did not hear of is taken from what was seen.
func TestObjectionIn(t *testing.T) {
	said := journey(2, trace.Delivered, packet.NewTuple(packet.ICMP, addr("172.17.0.1"), addr("172.17.0.2"), 0, 3<<8), hostNS, ubuntuNS)
	said.Hops[0].Headers.Quoted, said.Hops[0].Headers.ICMPType, said.Hops[0].Headers.ICMPCode = syn, 3, 1
	p := Journeys{Back: []*trace.Journey{journey(3, trace.Delivered, syn.Inverse(), hostNS), said}}
	if x := p.objectionIn(); x == nil || *x != (Objection{netip.MustParseAddr("172.17.0.1"), 3, 1}) || x.String() != "host unreachable" {
		t.Errorf("%+v", x)
	}
	if x := (Objection{addr("fd00::1"), 1, 3}); x.String() != "address unreachable" {
		t.Errorf("%v", x)
	}
}
