package trace

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

const (
	wait4 = ": the kernel waits 30 s for the rest (net.ipv4.ipfrag_time), then drops what came"
	wait6 = ": the kernel waits 60 s for the rest (net.netfilter.nf_conntrack_frag6_timeout), then drops what came"
)

// What is missing of a datagram is no rule's doing, though there are rules that drop.
func TestPiecesThatNeverCame(t *testing.T) {
	words := numbered(3000)
	four := func(to netip.AddrPort) [][]byte { return cut(udp(t, port(internetIP, 4000), to, 77, words), 1480) }
	host := four(port(hostIP, 5353))
	six := cut6(udp6(t, port(internetIP6, 4000), port(hostIP6, 5353), words), 77, 1448)
	for name, c := range map[string]struct {
		pieces [][]byte
		want   string
	}{
		"one between":       {[][]byte{host[0], host[2]}, "only 2 of its pieces came, bytes 1480 to 2959 are missing" + wait4},
		"the same, turned":  {[][]byte{host[2], host[0]}, "only 2 of its pieces came, bytes 1480 to 2959 are missing" + wait4},
		"the last":          {host[:2], "only 2 of its pieces came, all behind byte 2959 is missing" + wait4},
		"all but the first": {host[:1], "only one of its pieces came, all behind byte 1479 is missing" + wait4},
		"the first":         {host[1:], "only 2 of its pieces came, bytes 0 to 1479 are missing" + wait4},
		"both others":       {host[1:2], "only one of its pieces came, bytes 0 to 1479 and all behind byte 2959 are missing" + wait4},
		"IPv6":              {[][]byte{six[0], six[2]}, "only 2 of its pieces came, bytes 1448 to 2895 are missing" + wait6},
	} {
		for _, known := range []bool{false, true} {
			s := newStage6(t)
			asked, asked6 := udpTuple(port(internetIP, 4000), port(hostIP, 5353)), udpTuple(port(internetIP6, 4000), port(hostIP6, 5353))
			if !known { // connections are tracked, and this is none of them
				asked, asked6 = udpTuple(port(internetIP, 1), port(hostIP, 1)), udpTuple(port(internetIP6, 1), port(hostIP6, 1))
			}
			s.flow(netfilter.Known, netfilter.Flow{ID: 1, Original: asked, Reply: asked.Inverse()})
			s.flow(netfilter.Known, netfilter.Flow{ID: 2, Original: asked6, Reply: asked6.Inverse()})
			rules := publishes(t, backIP, netfilter.Input, 5353)
			if c.want[len(c.want)-len(wait6):] == wait6 {
				rules = publishes(t, backIP6, netfilter.Input, 5353)
			}
			s.c.SetRuleset(rules)
			for _, f := range c.pieces {
				s.see(uplinkIn, f)
			}
			s.pass(50 * time.Millisecond)
			if len(s.journeys) != 0 {
				t.Errorf("%s: it did not wait for the rest", name)
			}
			s.pass(4 * time.Second)
			if got := s.verdicts(); got != "vanished: "+c.want || s.journeys[0].Verdict.Evidence != ByTap || len(s.journeys[0].Translations) != 0 {
				t.Errorf("%s, known %v: %s [%s] %s\nwant vanished: %s", name, known, got, s.journeys[0].Verdict.Evidence, changes(s.journeys[0]), c.want)
			}
		}
	}
}

// Where nothing is tracked a program's namespace waits for all pieces, and a router does
// not.
func TestPiecesThatNeverCameWhereNothingIsTracked(t *testing.T) {
	pieces := cut(udp(t, port(backIP, 4000), port(baseIP, 53), 77, numbered(3000)), 1480)
	s := newStage(t)
	for i, f := range pieces {
		for _, where := range []at{backOut, vethIn, baseVOut, baseIn}[:4-2*(i%2)] { // the second is lost on the bridge
			s.see(where, f)
		}
	}
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	if got, want := s.verdicts(), "vanished: only 2 of its pieces came, bytes 1480 to 2959 are missing"+wait4; got != want {
		t.Errorf("%s, want %s", got, want)
	}

	s = newStage(t)
	for _, f := range cut(udp(t, port(backIP, 4000), port(internetIP, 53), 77, numbered(3000)), 1480)[:2] {
		for _, where := range []at{backOut, vethIn, bridgeIn} {
			s.see(where, f)
		}
	}
	s.pass(4 * time.Second)
	if got := s.verdicts(); strings.Contains(got, "pieces") {
		t.Errorf("a router: %s", got)
	}
}

// What natlens may not have seen is not called missing.
func TestPiecesThatMayHaveCome(t *testing.T) {
	pieces := cut(udp(t, port(internetIP, 4000), port(hostIP, 5353), 77, numbered(3000)), 1480)
	const unseen = "unfinished: unknown: not all of its pieces were seen"
	cases := map[string]struct {
		prepare func(*stage)
		want    string
	}{
		"the ring lost some":   {func(s *stage) { s.c.AddLost(map[netns.ID]uint64{hostNS: 3}, s.now) }, "unfinished: unknown: ring lost 3"},
		"its ring is new":      {func(s *stage) { s.c.Watch(hostNS, s.now-1e6) }, unseen},
		"pieces were let go":   {func(s *stage) { s.c.parts.forsaken = s.now }, unseen},
		"another may have one": {func(s *stage) { s.see(uplinkIn, pieces[0]) }, unseen + "\n" + unseen},
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		c := cases[name]
		s := newDropStage(t)
		s.pass(2 * time.Second)
		c.prepare(s)
		s.see(uplinkIn, pieces[0])
		s.see(uplinkIn, pieces[2])
		s.pass(4 * time.Second)
		if got := s.verdicts(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A piece that is late completes the datagram.
func TestPieceThatIsLate(t *testing.T) {
	s := newStage(t)
	asked := packet.NewTuple(packet.UDP, internetIP, hostIP, 4000, 5353)
	s.flow(netfilter.Known, netfilter.Flow{ID: 1, Original: asked, Reply: asked.Inverse()})
	pieces := cut(udp(t, port(internetIP, 4000), port(hostIP, 5353), 77, numbered(3000)), 1480)
	s.see(uplinkIn, pieces[0])
	s.see(uplinkIn, pieces[2])
	s.pass(time.Second)
	s.see(uplinkIn, pieces[1])
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if got := s.verdicts(); got != "delivered: " {
		t.Errorf("%s", got)
	}
}
