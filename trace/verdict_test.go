package trace

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"natlens/netinfo/netfilter"
)

// ends writes the verdicts of the journeys in their order.
func (s *stage) ends() (out []string) {
	for _, j := range s.journeys {
		out = append(out, fmt.Sprintf("%s by %s", j.Verdict.Result, j.Verdict.Evidence))
	}
	return out
}

// toHost sees a packet of back that is for the host itself.
func (s *stage) toHost(frame []byte) {
	for _, where := range []at{backOut, vethIn, bridgeIn} {
		s.see(where, frame)
	}
}

func (s *stage) wantEnds(want ...string) {
	s.t.Helper()
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if got := s.ends(); fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Errorf("%q, want %q", got, want)
	}
}

// The kernel keeps an entry when the rules let the first packet pass. Of a later
// one it tells nothing, and a drop at INPUT stands behind the last tap.
func TestOnlyTheFirstDeliveryRestsOnConntrack(t *testing.T) {
	s := newStage(t)
	asked := udpTuple(port(backIP, 1), port(gatewayIP, 53))
	s.toHost(udp(t, port(backIP, 1), port(gatewayIP, 53), 1, "first"))
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: asked, Reply: asked.Inverse()})
	s.pass(20 * time.Millisecond)
	s.toHost(udp(t, port(backIP, 1), port(gatewayIP, 53), 2, "second"))
	s.wantEnds("delivered by conntrack", "delivered by tap")
}

// Which of two that came at once the entry is about can't be told.
func TestTwoThatMayHaveBegunTheFlow(t *testing.T) {
	s := newStage(t)
	asked := udpTuple(port(backIP, 1), port(gatewayIP, 53))
	s.toHost(udp(t, port(backIP, 1), port(gatewayIP, 53), 1, "one"))
	s.toHost(udp(t, port(backIP, 1), port(gatewayIP, 53), 2, "the other"))
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: asked, Reply: asked.Inverse()})
	s.wantEnds("delivered by tap", "delivered by tap")
}

// A handshake's later packets come at once, too, and begin nothing.
func TestDeliveryOfAHandshake(t *testing.T) {
	s := newStage(t)
	tcp := func(id uint16, l layers.TCP) []byte {
		l.SrcPort, l.DstPort = 40000, 80
		return frame(t, backIP, gatewayIP, id, 64, &l)
	}
	asked := udpTuple(port(backIP, 40000), port(gatewayIP, 80))
	asked.Protocol = 6
	s.toHost(tcp(1, layers.TCP{Seq: 1, SYN: true}))
	s.toHost(tcp(2, layers.TCP{Seq: 2, Ack: 1, ACK: true}))
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: asked, Reply: asked.Inverse()})
	s.wantEnds("delivered by conntrack", "delivered by tap")
}

// A flow that is older than the capture was begun by none of these packets.
func TestDeliveryInAnOldFlow(t *testing.T) {
	s := newStage(t)
	asked := udpTuple(port(backIP, 1), port(gatewayIP, 53))
	s.flow(netfilter.Known, netfilter.Flow{ID: 1, Original: asked, Reply: asked.Inverse()})
	s.toHost(udp(t, port(backIP, 1), port(gatewayIP, 53), 1, "late"))
	s.wantEnds("delivered by tap")
}

// On a busy host conntrack's news are read late, and tell only that the flow was
// confirmed before then: as long as others may have begun it, its first packet waits, and
// what ended after it.
func TestDeliveryWhenTheNewsCameLate(t *testing.T) {
	for _, another := range []bool{false, true} {
		s := newStage(t)
		question, answer := udpTuple(port(backIP, 1), port(gatewayIP, 53)), udp(t, port(gatewayIP, 53), port(backIP, 1), 2, "answer")
		began := s.now
		s.toHost(udp(t, port(backIP, 1), port(gatewayIP, 53), 1, "first"))
		s.c.AddFlows(&netfilter.Batch{Namespace: hostNS, Events: []netfilter.Event{{
			Kind: netfilter.New, Flow: netfilter.Flow{ID: 1, Namespace: hostNS, Original: question, Reply: question.Inverse()},
			After: began - 1e6, Before: began + 15e6}}})
		s.pass(8 * time.Millisecond)
		for _, where := range []at{bridgeOut, vethOut, backIn} {
			s.see(where, answer)
		}
		s.pass(4 * time.Millisecond)
		if len(s.journeys) > 0 {
			t.Errorf("shown at once: %q", s.ends())
		}
		if another {
			s.toHost(udp(t, port(backIP, 1), port(gatewayIP, 53), 3, "another"))
			s.wantEnds("delivered by tap", "delivered by tap", "delivered by tap")
		} else {
			s.wantEnds("delivered by conntrack", "delivered by tap")
		}
		if question := s.journeys[0]; question.Hops[0].Headers.IPID != 1 {
			t.Errorf("the answer is shown before its question: %s", path(question))
		}
	}
}

// Late news do not change the order: an answer is shown after its question, and finds it.
func TestAnswerWhenTheNewsCameLate(t *testing.T) {
	for name, to := range map[string]netip.Addr{"host": gatewayIP, "internet": internetIP} {
		s := newStage(t)
		asked := udpTuple(port(backIP, 1), port(to, 7))
		answers := asked.Inverse()
		s.toHost(udp(t, port(backIP, 1), port(to, 7), 1, "question"))
		if to == internetIP {
			answers = udpTuple(port(internetIP, 7), port(hostIP, 1))
			s.see(uplinkOut, udp(t, port(hostIP, 1), port(internetIP, 7), 1, "question"))
			s.see(uplinkIn, udp(t, port(internetIP, 7), port(hostIP, 1), 2, "answer"))
		}
		for _, where := range []at{bridgeOut, vethOut, backIn} {
			s.see(where, udp(t, port(to, 7), port(backIP, 1), 2, "answer"))
		}
		s.c.AddFlows(&netfilter.Batch{Namespace: hostNS, Events: []netfilter.Event{
			{Kind: netfilter.New, Flow: netfilter.Flow{ID: 1, Namespace: hostNS, Original: asked, Reply: answers}, After: s.now - 1e6, Before: s.now + 40e6}}})
		for range 10 {
			s.pass(10 * time.Millisecond)
		}
		if len(s.journeys) != 2 || len(s.journeys[1].Related) != 1 || s.journeys[1].Related[0] != (Relation{ID: s.journeys[0].ID, Why: "reply_to"}) {
			t.Errorf("%s: %q, the last related to %v", name, s.ends(), s.journeys[len(s.journeys)-1].Related)
		}
	}
}
