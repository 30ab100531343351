package trace

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// lose tells of packets that the host's ring lost just now.
func (s *stage) lose(n uint64) {
	s.c.Observe(&capture.Batch{Through: s.now, Lost: map[netns.ID]uint64{hostNS: n}})
}

var nowhere = port(netip.MustParseAddr("172.24.0.2"), 8000)

func (s *stage) verdicts() string {
	var out []string
	for _, j := range s.journeys {
		out = append(out, fmt.Sprintf("%s: %s", j.Verdict.Result, j.Verdict.Reason))
	}
	return strings.Join(out, "\n")
}

func TestLossCountsForThoseUnderWay(t *testing.T) {
	s := newStage(t)
	s.see(backOut, udp(t, port(backIP, 1), nowhere, 1, "long before"))
	s.pass(5 * time.Second)
	s.see(backOut, udp(t, port(backIP, 2), nowhere, 2, "with it"))
	s.now += 1e6
	// One and the same read tells of the packet and of the loss.
	s.c.AddFlows(&netfilter.Batch{Through: s.now})
	s.c.Observe(&capture.Batch{Observations: s.batch, Through: s.now, Lost: map[netns.ID]uint64{hostNS: 3}})
	s.batch = nil
	s.pass(time.Second)
	s.see(backOut, udp(t, port(backIP, 3), nowhere, 3, "long after"))
	s.pass(5 * time.Second)
	const never = "vanished: never arrived at host: likely its end of the link is down or gone, or the queue of what comes in was full (net.core.netdev_max_backlog)"
	want := never + "\nunfinished: unknown: ring lost 3\n" + never
	if got := s.verdicts(); got != want {
		t.Errorf("verdicts\n%s\nwant\n%s", got, want)
	}
}

func TestConntrackLossMakesDroppedUnknown(t *testing.T) {
	s := newStage(t)
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: echoTuple(baseIP, internetIP, 1, false), Reply: echoTuple(internetIP, hostIP, 1, true)})
	p := udp(t, port(backIP, 1), nowhere, 1, "x")
	s.see(backOut, p)
	s.see(vethIn, p)
	s.see(bridgeIn, p)
	s.c.AddFlows(&netfilter.Batch{Namespace: hostNS, Through: s.now, Overruns: 1, Lost: 7})
	s.pass(5 * time.Second)
	if got, want := s.verdicts(), "unfinished: unknown: not seen again, and connection tracking lost 7 of its events"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if n := s.c.Counters().ConntrackLost; n != 7 {
		t.Errorf("%d lost, want 7", n)
	}
}

// A message that can't be read may have told of any flow.
func TestUnreadableConntrackMessageMakesDroppedUnknown(t *testing.T) {
	s := newStage(t)
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: echoTuple(baseIP, internetIP, 1, false), Reply: echoTuple(internetIP, hostIP, 1, true)})
	p := udp(t, port(backIP, 1), nowhere, 1, "x")
	s.see(backOut, p)
	s.see(vethIn, p)
	s.see(bridgeIn, p)
	s.c.AddFlows(&netfilter.Batch{Namespace: hostNS, Through: s.now, Malformed: 2})
	s.pass(5 * time.Second)
	if got, want := s.verdicts(), "unfinished: unknown: not seen again, and connection tracking lost 2 of its events"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if n := s.c.Counters(); n.Undecoded != 2 || n.ConntrackLost != 0 {
		t.Errorf("%d not understood, want 2; %d lost, want none", n.Undecoded, n.ConntrackLost)
	}
}

func TestLossesInALongFlood(t *testing.T) {
	var l losses
	const step = 10e6
	for i := range int64(1000) {
		l.add(i*step, 1)
	}
	if l.total != 1000 {
		t.Errorf("total %d", l.total)
	}
	// What was lost in the last second, and a little more for certainty.
	if n := l.since(999 * step); n < 1 || n > 20 {
		t.Errorf("%d lost since the last one was told", n)
	}
	if n := l.since(899 * step); n < 100 || n > 120 {
		t.Errorf("%d lost in the last second, want 100 or a little more", n)
	}
	if n := l.since(2000 * step); n != 0 {
		t.Errorf("%d lost later than any", n)
	}
	if n := len(l.log); n > 1000*step/lossGrain+1 {
		t.Errorf("%d entries kept", n)
	}
	l.sweep(1000*step + 2*keepLosses)
	if len(l.log) != 0 || l.since(0) != 0 || l.total != 1000 {
		t.Errorf("after a sweep: %d entries, %d lost of late, %d in total", len(l.log), l.since(0), l.total)
	}
}

// masqueraded sees one whole ping of a flow that lasts.
func (s *stage) masqueraded(seq uint16) {
	inner, outer := ping(s.t, backIP, internetIP, 7, seq, false), ping(s.t, hostIP, internetIP, 7, seq, false)
	s.see(backOut, inner)
	s.see(vethIn, inner)
	s.see(bridgeIn, inner)
	s.see(uplinkOut, outer)
}

func TestClockSetBack(t *testing.T) {
	s := newStage(t)
	s.flow(netfilter.New, netfilter.Flow{ID: 9, Original: echoTuple(backIP, internetIP, 7, false), Reply: echoTuple(internetIP, hostIP, 7, true)})
	s.masqueraded(1)
	s.pass(50 * time.Millisecond)
	s.see(backOut, udp(t, port(backIP, 1), nowhere, 1, "on its way when it happens"))
	s.pass(50 * time.Millisecond)
	s.now -= int64(10 * time.Minute)
	s.pass(50 * time.Millisecond)
	s.masqueraded(2)
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	want := "left: \nunfinished: the clock was set back meanwhile\nleft: "
	if got := s.verdicts(); got != want {
		t.Fatalf("verdicts\n%s\nwant\n%s", got, want)
	}
	if got := changes(s.journeys[2]); !strings.Contains(got, "[conntrack 9]") {
		t.Errorf("the flow was forgotten: %q", got)
	}
	if n := s.c.Open(); n != 1 {
		t.Errorf("%d journeys open, want the last one only", n)
	}
}

func TestClockSetForward(t *testing.T) {
	s := newStage(t)
	s.see(backOut, udp(t, port(backIP, 1), nowhere, 1, "on its way when it happens"))
	s.pass(50 * time.Millisecond)
	s.c.Interrupt("the clock was set meanwhile")
	s.now += int64(time.Hour)
	s.masqueraded(1)
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if got, want := s.verdicts(), "unfinished: the clock was set meanwhile\nleft: "; got != want {
		t.Errorf("verdicts\n%s\nwant\n%s", got, want)
	}
}

// TestFloodOfEqualPackets sends what nothing tells apart. Each must be compared
// with a bounded number of others, and whole journeys must stay whole.
func TestFloodOfEqualPackets(t *testing.T) {
	s := newStage(t)
	d := udp(t, port(backIP, 1), port(baseIP, 53), 0, "equal")
	const n = 2000
	for range n {
		s.see(backOut, d)
		s.see(vethIn, d)
		s.see(baseVOut, d)
		s.see(baseIn, d)
		for _, p := range s.c.byPrint.slots {
			if p.head != 0 && s.c.slab.at(p.head-1).alike > maxAlike {
				t.Fatalf("%d journeys of equal packets open", s.c.slab.at(p.head-1).alike)
			}
		}
		if len(s.batch) > 100 {
			s.pass(time.Microsecond)
		}
	}
	s.pass(time.Second)
	s.pass(time.Second)
	if len(s.journeys) != n {
		t.Fatalf("%d journeys, want %d", len(s.journeys), n)
	}
	for i, j := range s.journeys {
		if len(j.Hops) != 4 || j.Verdict.Result != Delivered {
			t.Fatalf("journey %d: %s, %+v", i, path(j), j.Verdict)
		}
	}
	if c := s.c.Counters(); c.Evicted != 0 || c.Unpaired != 0 {
		t.Errorf("%d evicted, %d unpaired", c.Evicted, c.Unpaired)
	}
	if s.c.Open() != 0 || s.c.byPrint.used != 0 {
		t.Errorf("%d open, %d fingerprints at the end", s.c.Open(), s.c.byPrint.used)
	}
}

func TestEqualPacketsThatVanish(t *testing.T) {
	s := newStage(t)
	for range 2 * maxAlike {
		s.see(backOut, udp(t, port(backIP, 1), nowhere, 0, "equal"))
	}
	s.pass(10 * time.Second)
	if n := s.c.Counters(); n.Evicted != maxAlike || n.Unpaired != 2*maxAlike || n.Journeys != 2*maxAlike {
		t.Errorf("%+v", n)
	}
}

func TestForgottenNamespaceKeepsItsPast(t *testing.T) {
	s := newStage(t)
	// A packet on its way into a container that ends is not said to have left.
	s.see(vethOut, udp(t, nowhere, port(backIP, 1), 1, "x"))
	s.flow(netfilter.New, netfilter.Flow{Namespace: backNS, ID: 4, Original: echoTuple(backIP, internetIP, 7, false), Reply: echoTuple(internetIP, backIP, 7, true)})
	s.c.Forget(backNS, s.now+1e6)
	s.pass(time.Millisecond)
	if s.c.flows[backNS] == nil {
		t.Error("flows went with the ring, though packets wait to be judged")
	}
	s.pass(4 * time.Second)
	if got, want := s.verdicts(), "vanished: never arrived at back: likely its end of the link is down or gone, or the queue of what comes in was full (net.core.netdev_max_backlog)"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	// Later ones are.
	s.see(vethOut, udp(t, nowhere, port(backIP, 1), 2, "x"))
	s.pass(time.Second)
	if r := s.journeys[len(s.journeys)-1].Verdict.Result; r != Left {
		t.Errorf("a packet to where nobody watches: %s", r)
	}
	s.pass(10 * time.Second)
	if s.c.flows[backNS] != nil || len(s.c.forgotten) != 0 {
		t.Error("flows are kept for ever")
	}
}

func TestNamespacesThatComeAndGo(t *testing.T) {
	s := newStage(t)
	for i := range 100 {
		w := world()
		id := netns.ID(100 + i)
		w.Namespaces = append(w.Namespaces, &netinfo.Namespace{ID: id, Name: fmt.Sprint("box", i), Links: []*netinfo.Link{
			{Key: netinfo.LinkKey{Namespace: id, Index: 2}, Name: "eth0", Kind: "veth"}}})
		s.now += 20e9
		w.Time = time.Unix(0, s.now)
		s.c.SetTopology(w.Seal())
		s.c.Watch(id, s.now)
		s.c.Forget(id, s.now+1)
		s.pass(0)
	}
	if n := len(s.c.hosts.spaces); n > 3+4 {
		t.Errorf("%d namespaces are remembered", n)
	}
	if n := len(s.c.hosts.links); n > 7+4 {
		t.Errorf("%d links are remembered", n)
	}
	if n := len(s.c.forgotten); n > 2 {
		t.Errorf("%d forgotten namespaces are remembered", n)
	}
}

// A packet of which too little was captured says nothing against its sender.
func TestCutShortIsNotMalformed(t *testing.T) {
	f := frame(t, backIP, internetIP, 7, 64, &layers.TCP{SrcPort: 5, DstPort: 9, SYN: true, Window: 512})
	for name, c := range map[string]struct {
		captured       int
		onTheWire      int
		cut, malformed uint64
	}{"whole": {len(f), len(f), 0, 0}, "captured in part": {40, len(f), 1, 0}, "sent in part": {40, 40, 0, 1}} {
		s := newStage(t)
		s.see(backOut, f[:c.captured])
		o := &s.batch[0]
		o.WireLength = uint32(c.onTheWire)
		o.Headers.Parse(packet.Ethernet, o.Data, o.WireLength)
		s.pass(time.Second)
		if n := s.c.Counters(); n.Cut != c.cut || n.Malformed != c.malformed {
			t.Errorf("%s: cut %d, malformed %d", name, n.Cut, n.Malformed)
		}
	}
}
