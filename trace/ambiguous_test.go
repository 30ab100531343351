package trace

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"natlens/capture"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// last returns the records that no other supersedes, as "left" or, where they are
// in doubt, "left?", in the order in which the journeys began.
func (s *stage) last() string {
	replaced := map[uint64]bool{}
	for _, j := range s.journeys {
		replaced[j.Supersedes] = true
	}
	var out []string
	began := map[int64]string{}
	for _, j := range s.journeys {
		if replaced[j.ID] {
			continue
		}
		mark := string(j.Verdict.Result)
		said := strings.Contains(strings.Join(j.Notes, " "), "ambiguous: ")
		if said != (j.Verdict.Evidence == Ambiguous) {
			s.t.Errorf("evidence %s, notes %q", j.Verdict.Evidence, j.Notes)
		}
		if said {
			mark += "?"
		}
		began[j.Time] = mark
	}
	for at := int64(0); at <= s.now; at += 1000 {
		if mark, ok := began[1_000_000_000_000+at]; ok {
			out = append(out, mark)
			delete(began, 1_000_000_000_000+at)
		}
		if len(began) == 0 {
			break
		}
	}
	return strings.Join(out, " ")
}

func (s *stage) wantLast(want string, ambiguous uint64) {
	s.t.Helper()
	s.pass(time.Second)
	s.pass(4 * time.Second)
	s.pass(time.Second)
	if got := s.last(); got != want {
		s.t.Errorf("%s\nwant %s", got, want)
	}
	if n := s.c.Counters().Ambiguous; n != ambiguous {
		s.t.Errorf("%d ambiguous, want %d", n, ambiguous)
	}
}

// burst sees n packets that look the same at one point after the other; lost of
// them do not come on behind the second point.
func (s *stage) burst(n, lost int) {
	d := udp(s.t, port(backIP, 1), port(baseIP, 53), 0, "again")
	for i, where := range []at{backOut, vethIn, baseVOut, baseIn} {
		if i == 2 {
			n -= lost
		}
		for range n {
			s.see(where, d)
		}
	}
}

func TestNoneOfIdenticalDatagramsLost(t *testing.T) {
	s := newStage(t)
	s.burst(4, 0)
	s.wantLast("delivered delivered delivered delivered", 0)
}

// Whichever was lost, all that look like it are in doubt.
func TestOneOfIdenticalDatagramsLost(t *testing.T) {
	s := newStage(t)
	s.burst(4, 1)
	s.wantLast("delivered? delivered? delivered? vanished?", 4)
	want := "ambiguous: #2, #3, #4 look the same as this packet, and not all of them came on behind vethback. Hops and end may be another's"
	if got := s.journeys[0].Notes; len(got) != 1 || got[0] != want {
		t.Errorf("notes %q, want %q", got, want)
	}
}

// One that comes a while after the others, when those are said to be in doubt already:
// it is joined with the one that was lost or with itself, and nobody knows which.
func TestOneMoreOfIdenticalDatagramsOfWhichOneIsLost(t *testing.T) {
	s := newStage(t)
	s.burst(2, 1)
	s.pass(20 * time.Millisecond)
	if got := s.last(); got != "delivered?" {
		t.Fatalf("before the last one: %s", got)
	}
	s.burst(1, 0)
	for range 10 { // by and by, so that what was shown is let go
		s.pass(400 * time.Millisecond)
	}
	s.wantLast("delivered? delivered? vanished?", 3)
}

// At the end of the capture, too: those that were shown before are shown again.
func TestOneOfIdenticalDatagramsLostAtTheEnd(t *testing.T) {
	s := newStage(t)
	d := udp(t, port(backIP, 1), port(baseIP, 53), 0, "again")
	for _, where := range []at{backOut, backOut, vethIn, baseVOut, baseIn} {
		s.see(where, d)
	}
	s.pass(5 * time.Millisecond)
	s.see(vethIn, d) // and no further
	s.pass(6 * time.Millisecond)
	if got := s.last(); got != "delivered" {
		t.Fatalf("before the end: %s", got)
	}
	s.pass(20 * time.Millisecond)
	s.c.Flush()
	if got, want := s.last(), "delivered? unfinished?"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAllOfIdenticalDatagramsLost(t *testing.T) {
	s := newStage(t)
	s.burst(3, 3)
	s.wantLast("vanished vanished vanished", 0)
}

// What was through before, or begins long after, is certain; so is another flow.
func TestAmbiguityIsOfThoseTogether(t *testing.T) {
	s := newStage(t)
	s.burst(2, 0)
	s.pass(time.Second)
	s.burst(2, 1)
	other := udp(t, port(baseIP, 1), port(backIP, 53), 0, "again")
	for _, where := range []at{baseOut, baseVIn, vethOut, backIn} {
		s.see(where, other)
		s.see(where, other)
	}
	s.pass(5 * time.Second)
	s.pass(time.Second)
	s.burst(2, 0)
	s.wantLast("delivered delivered delivered? vanished? delivered delivered delivered delivered", 2)
}

// A SYN-ACK has no identification, and looks the same when it is sent again.
func TestAnswerSentAgainAfterALoss(t *testing.T) {
	s := newStage(t)
	again := frame(t, backIP, baseIP, 0, 64, &layers.TCP{SrcPort: 80, DstPort: 40000, Seq: 7, Ack: 8, SYN: true, ACK: true})
	s.see(backOut, again)
	s.see(vethIn, again)
	s.pass(time.Second)
	for _, where := range []at{backOut, vethIn, baseVOut, baseIn} {
		s.see(where, again)
	}
	s.wantLast("vanished? delivered?", 2)
	j := s.journeys[0] // the second is shown first
	if len(j.Hops) != 4 || j.Hops[3].Time-j.Hops[0].Time != 3000 {
		t.Errorf("its hops are another's: %s", path(j))
	}
	want := "ambiguous: #1 looks the same as this packet, and #1 was last seen at vethback, 1000 ms before this one came on: it is lost, or this one is. Hops and end may be another's"
	if got := j.Notes; len(got) != 1 || got[0] != want {
		t.Errorf("notes %q, want %q", got, want)
	}
}

// The same with nothing lost: two journeys, one a duplicate of the other.
func TestAnswerSentAgainWithoutALoss(t *testing.T) {
	s := newStage(t)
	again := frame(t, backIP, baseIP, 0, 64, &layers.TCP{SrcPort: 80, DstPort: 40000, Seq: 7, Ack: 8, SYN: true, ACK: true})
	for range 2 {
		for _, where := range []at{backOut, vethIn, baseVOut, baseIn} {
			s.see(where, again)
		}
		s.pass(200 * time.Millisecond)
	}
	s.wantLast("delivered delivered", 0)
	if r := s.journeys[1].Related; len(r) != 1 || r[0].Why != "duplicate_of" {
		t.Errorf("related %v", r)
	}
}

// Where a ring lost something, a sighting that is missing may be anybody's.
func TestIdenticalDatagramsWhileARingLoses(t *testing.T) {
	s := newStage(t)
	s.burst(2, 0)
	s.c.Observe(&capture.Batch{Through: s.now, Lost: map[netns.ID]uint64{hostNS: 1}})
	s.wantLast("delivered? delivered?", 2)
}

// Two flows through one masquerade, all ids and bytes the same: the loss in one is
// no doubt about the other, whose translated tuple differs.
func TestAmbiguityOfOneOfTwoFlows(t *testing.T) {
	s := newStage(t)
	for i, f := range []struct {
		source, reply uint16
	}{{1, 1}, {2, 2}} {
		asked := udpTuple(port(backIP, f.source), port(internetIP, 53))
		s.flow(netfilter.New, netfilter.Flow{ID: uint32(i + 1), Original: asked, Reply: udpTuple(port(internetIP, 53), port(hostIP, 1000+f.reply))})
	}
	const n = 3
	for _, where := range []at{backOut, vethIn, bridgeIn, uplinkOut} {
		for i := range n {
			for flow := range uint16(2) {
				source := port(backIP, 1+flow)
				if where == uplinkOut {
					source = port(hostIP, 1001+flow)
					if flow == 1 && i == 0 {
						continue // lost
					}
				}
				s.see(where, udp(t, source, port(internetIP, 53), 0, "again"))
			}
		}
	}
	s.wantLast(strings.TrimSpace(strings.Repeat("left left? ", n-1))+" left vanished?", n)
}

func TestDoubtNamesAFew(t *testing.T) {
	d := &doubt{why: "why", ids: []uint64{1, 2, 3, 4, 5}, more: 7}
	for own, want := range map[uint64]string{
		2: "#1, #3, #4, #5, 7 more look", 9: "#1, #2, #3, #4, 7 more look",
	} {
		if got := d.says(own); !strings.HasPrefix(got, "ambiguous: "+want+" the same") {
			t.Errorf("%d: %s", own, got)
		}
	}
	if got := fmt.Sprint((&doubt{why: "why", ids: []uint64{1, 2}}).says(1)); !strings.HasPrefix(got, "ambiguous: #2 looks the same") {
		t.Error(got)
	}
}

// Of too many that look the same and bear one identification the oldest is let go, while
// the one that makes it too many is being opened and has no hop yet.
func TestTiedJourneyIsLetGoForOneThatLooksTheSame(t *testing.T) {
	s := newStage(t)
	f := udp(t, port(backIP, 5), port(internetIP, 9), 7, strings.Repeat("natlens!", 80))
	s.see(backOut, f)
	s.see(backOut, f)
	s.see(vethIn, f) // fits both
	for range maxSameID {
		s.see(backOut, f)
	}
	s.pass(0)
	s.pass(time.Millisecond)
	if n := s.c.Open(); n != maxSameID || len(s.journeys) != 2 {
		t.Errorf("%d are open, %d were let go; want %d, 2", n, len(s.journeys), maxSameID)
	}
}

// What may be the same packet as one that begins can be the one that makes room for it.
func TestTwinThatMadeRoom(t *testing.T) {
	s := &stage{t: t, now: 1_000_000_000_000}
	s.c = New(1, Sink{Journey: func(j *Journey) { s.journeys = append(s.journeys, j) }}) // one chunk
	s.c.ReadForeign()
	s.c.SetTopology(world())
	s.see(vethIn, udp(t, port(backIP, 123), port(hostIP, 123), 0, "payload"))
	for i := range uint16(chunkSize - 1) {
		s.see(uplinkIn, udp(t, port(internetIP, 7), port(hostIP, 9), i+1, "x"))
	}
	s.see(vethOut, udp(t, port(gatewayIP, 123), port(baseIP, 123), 0, "payload"))
	s.pass(time.Second)
	s.pass(4 * time.Second)
	s.pass(4 * time.Second)
	if n := s.c.Counters(); n.Evicted != 1 || n.Ambiguous != 0 {
		t.Errorf("%d evicted, %d ambiguous; want 1, 0", n.Evicted, n.Ambiguous)
	}
}
