package trace

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// A journey is shown when it has waited for its next hop, counted from its last one,
// whatever else vanishes meanwhile.
func TestSettledAtTheMovedDeadline(t *testing.T) {
	const step = 50 * time.Millisecond
	for _, busy := range []bool{false, true} {
		s := newStage(t)
		f := udp(t, port(internetIP, 4000), port(backIP, 99), 7, "the one")
		s.see(uplinkIn, f)
		shown := -1
		for i := 0; shown < 0 && i < 200; i++ {
			if busy {
				s.see(uplinkIn, udp(t, port(netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 10)}), 99), port(backIP, 98), uint16(i+100), "another"))
			}
			s.pass(step)
			if i == 19 {
				s.see(bridgeOut, f)
			}
			shown = slices.IndexFunc(s.journeys, func(j *Journey) bool { return j.Hops[0].Headers.IPID == 7 })
		}
		if shown < 0 {
			t.Fatal("it is not shown")
		}
		j := s.journeys[shown]
		if late := time.Duration(s.now - j.Hops[len(j.Hops)-1].Time - settlePending); len(j.Hops) != 2 || late < 0 || late > step {
			t.Errorf("busy %v: %s is shown %v late", busy, path(j), late)
		}
	}
}

// Many journeys whose deadlines moved are shown in the order of their last hops, and
// each has one turn at a time.
func TestManyMovedDeadlines(t *testing.T) {
	const n = 200
	s := newStage(t)
	var packets [n][]byte
	for i := range packets {
		packets[i] = udp(t, port(internetIP, 4000), port(backIP, 99), uint16(i+1), "one of many")
		s.see(uplinkIn, packets[i])
	}
	s.pass(time.Second)
	id := func(i int) uint16 { return uint16(i*77%n + 1) } // as shuffled
	for i := range n {
		s.see(bridgeOut, packets[id(i)-1])
		s.pass(5 * time.Millisecond)
	}
	turns := map[*entry]int{}
	for _, queued := range s.c.settling[statePending-1].all() {
		if e := s.c.turn(statePending, queued); e != nil {
			turns[e]++
		}
	}
	for e, times := range turns {
		if times != 1 {
			t.Errorf("#%d has %d turns", e.id, times)
		}
	}
	if len(turns) != n {
		t.Errorf("%d journeys have turns", len(turns))
	}
	for range 700 {
		s.pass(5 * time.Millisecond)
	}
	if len(s.journeys) != n {
		t.Fatalf("%d journeys", len(s.journeys))
	}
	for i, j := range s.journeys {
		if got := j.Hops[0].Headers.IPID; got != id(i) {
			t.Fatalf("the %d. that is shown is packet %d, not %d", i+1, got, id(i))
		}
	}
}
