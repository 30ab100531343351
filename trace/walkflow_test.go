package trace

import (
	"net/netip"
	"testing"
	"time"

	"natlens/netinfo/netfilter"
)

// entered says of a hit which conntrack entry its packet has, as Linux 6.18 does.
func entered(h netfilter.Hit, id uint32) netfilter.Hit {
	h.Packet.Tracked, h.Packet.FlowID = true, id
	return h
}

// Where the kernel tells which entry a packet has, that decides among packets that
// look alike: here it gives one of them a new trace id, and then its old one to the
// other.
func TestWalksAreContinuedByFlow(t *testing.T) {
	s := traceStage(t)
	one, two := udp(t, port(backIP, 4000), port(internetIP, 99), 0, "same"), udp(t, port(baseIP, 4000), port(internetIP, 99), 0, "same")
	for i, from := range []netip.Addr{backIP, baseIP} {
		s.flow(netfilter.New, netfilter.Flow{ID: uint32(i + 1),
			Original: udpTuple(port(from, 4000), port(internetIP, 99)),
			Reply:    udpTuple(port(internetIP, 99), port(hostIP, 5000+uint16(i)))})
	}
	for _, where := range []at{backOut, vethIn, bridgeIn} {
		s.see(where, one)
	}
	for _, where := range []at{baseOut, baseVIn, bridgeIn} {
		s.see(where, two)
	}
	a, b, c := told{s, 1}, told{s, 2}, told{s, 3}
	a.hits("prerouting", one, "+raw LATER policy accept")
	b.hits("prerouting", two)
	a.tell([]netfilter.Hit{
		entered(a.hit("+filter PRE policy accept", one), 1), entered(b.hit("+filter PRE policy accept", two), 2),
		entered(c.hit("+filter FORWARD 3 jump:USER", one), 1), c.hit("filter USER 4 drop", one),
		entered(c.hit("+filter FORWARD 3 jump:USER", two), 2), c.hit("filter USER 5 accept", two),
	})
	s.later(50 * time.Millisecond)
	s.later(4 * time.Second)
	if len(s.journeys) != 2 {
		t.Fatal(s.verdicts())
	}
	for _, j := range s.journeys {
		want := Vanished
		if j.From.IP == backIP {
			want = Dropped
		}
		if j.Verdict.Result != want || j.Verdict.Evidence != ByTrace {
			t.Errorf("from %v: %+v, walk %q", j.From.IP, j.Verdict, walkOfRules(j))
		}
	}
}

// Two packets have the same addresses and ports, of an entry that has ended and of
// the next.
func TestWalksAreJoinedByFlow(t *testing.T) {
	s := traceStage(t)
	s.flow(netfilter.New, netfilter.Flow{ID: 2,
		Original: udpTuple(port(internetIP, 4000), port(hostIP, 97)), Reply: udpTuple(port(hostIP, 97), port(internetIP, 4000))})
	f := udp(t, port(internetIP, 4000), port(hostIP, 97), 0, "in")
	s.see(uplinkIn, f)
	for id, verdict := range map[uint32]string{1: "drop", 2: "accept", 3: "drop"} {
		k := told{s, id}
		k.hits("prerouting", f)
		k.tell([]netfilter.Hit{entered(k.hit("+filter INPUT policy "+verdict, f), id)})
	}
	s.later(50 * time.Millisecond)
	s.later(4 * time.Second)
	if got := walkOfRules(sole(t, s)); got != "input [0 -1]: policy of INPUT accept" {
		t.Errorf("%+v, walk %q", s.journeys[0].Verdict, got)
	}
}

// A packet on its way out is known by its entry, too, where the addresses that it
// began with are not known to be the entry's.
func TestWalkOutIsJoinedByFlow(t *testing.T) {
	s := traceStage(t)
	s.flow(netfilter.New, netfilter.Flow{ID: 2,
		Original: udpTuple(port(hostIP, 4000), port(internetIP, 97)), Reply: udpTuple(port(internetIP, 97), port(hostIP, 4000))})
	began, f := udp(t, port(hostIP, 4000), port(baseIP, 97), 8, "out"), udp(t, port(hostIP, 4000), port(internetIP, 97), 8, "out")
	s.see(uplinkOut, f)
	k := told{s, 1}
	k.hits("output", began)
	k.tell([]netfilter.Hit{entered(k.hit("+nat POSTROUTING policy accept", began), 2)})
	s.later(50 * time.Millisecond)
	s.later(4 * time.Second)
	if got := walkOfRules(sole(t, s)); got == "" {
		t.Errorf("no walk: %+v", s.journeys[0].Verdict)
	}
}
