package trace

import (
	"testing"
	"time"

	"natlens/capture"
	"natlens/netinfo/netfilter"
)

// observe delivers what was seen, while connection tracking is silent.
func (s *stage) observe(d time.Duration) {
	s.now += int64(d)
	s.c.Observe(&capture.Batch{Observations: s.batch, Through: s.now})
	s.batch = nil
}

// Conntrack that answers too late for the pairing is in time for the record.
func TestConntrackThatIsLate(t *testing.T) {
	s := newStage(t)
	s.flow(netfilter.Known, netfilter.Flow{ID: 1, Original: echoTuple(baseIP, internetIP, 1, false), Reply: echoTuple(internetIP, hostIP, 1, true)})
	s.pass(time.Millisecond)
	s.masqueraded(1)
	asked := udpTuple(port(backIP, 1), port(gatewayIP, 53))
	s.toHost(udp(t, port(backIP, 1), port(gatewayIP, 53), 1, "to the host"))
	from := s.now
	s.observe(105 * time.Millisecond) // the watermark is 5 ms behind them now
	for _, f := range []netfilter.Flow{
		{ID: 9, Original: echoTuple(backIP, internetIP, 7, false), Reply: echoTuple(internetIP, hostIP, 7, true)},
		{ID: 2, Original: asked, Reply: asked.Inverse()},
	} {
		f.Namespace = hostNS
		s.c.AddFlows(&netfilter.Batch{Namespace: hostNS, Events: []netfilter.Event{{Kind: netfilter.New, Flow: f, After: from - 1e6, Before: from + 1e6}}})
	}
	s.pass(time.Second)
	s.pass(4 * time.Second)
	if len(s.journeys) != 2 {
		t.Fatalf("%d journeys, want 2: %s", len(s.journeys), s.verdicts())
	}
	if j := s.journeys[0]; changes(j) != "snat[2 3] icmp 172.17.0.2 > 198.51.100.7 => icmp 192.0.2.10 > 198.51.100.7 [conntrack 9]" || len(j.Notes) != 0 {
		t.Errorf("%s %q", changes(j), j.Notes)
	}
	if v := s.journeys[1].Verdict; v.Result != Delivered || v.Evidence != ByConntrack {
		t.Errorf("%+v", v)
	}
}

// A flow that begins while the table is read can be in the dump before the news of
// it comes: its first packet was let pass none the less.
func TestFlowThatADumpTellsOfFirst(t *testing.T) {
	s := newStage(t)
	asked := udpTuple(port(backIP, 1), port(gatewayIP, 53))
	s.toHost(udp(t, port(backIP, 1), port(gatewayIP, 53), 1, "to the host"))
	for _, kind := range []netfilter.EventKind{netfilter.Known, netfilter.New} {
		s.flow(kind, netfilter.Flow{ID: 2, Original: asked, Reply: asked.Inverse()})
	}
	s.pass(time.Second)
	s.pass(time.Second)
	if len(s.journeys) != 1 || s.journeys[0].Verdict.Evidence != ByConntrack {
		t.Errorf("%d journeys: %s", len(s.journeys), s.verdicts())
	}
}

// What conntrack never confirmed while nobody heard it was not thereby dropped.
func TestConntrackThatIsSilent(t *testing.T) {
	s := newStage(t)
	s.flow(netfilter.Known, netfilter.Flow{ID: 1, Original: echoTuple(baseIP, internetIP, 1, false), Reply: echoTuple(internetIP, hostIP, 1, true)})
	s.pass(time.Millisecond)
	s.toHost(udp(t, port(backIP, 1), port(gatewayIP, 53), 1, "to the host"))
	for range 5 {
		s.observe(time.Second)
	}
	want := "unfinished: it came to host; whether a rule dropped it there is unknown: connection tracking has not answered since"
	if got := s.verdicts(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
