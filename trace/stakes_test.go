package trace

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var insideOut = []at{backOut, vethIn, bridgeIn} // behind these a rule drops

// numberless is TCP data from back to the internet by IPv6, which has no identification.
// stamp is TCP's own (RFC 7323); 0 for none.
func numberless(t *testing.T, seq uint32, size int, stamp byte) []byte {
	tcp := &layers.TCP{SrcPort: 40000, DstPort: 80, Seq: seq, Ack: 1, ACK: true, Window: 1000}
	if stamp != 0 {
		tcp.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop},
			{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{0, 0, 0, stamp, 0, 0, 0, 1}}}
	}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(seq + uint32(i))
	}
	return frame6(t, backIP6, internetIP6, tcp, gopacket.Payload(data))
}

// accounts is the pieces of each journey and its verdict, in the order in which they began.
func (s *stage) accounts() (out []string) {
	s.pass(5 * time.Second)
	s.pass(5 * time.Second)
	replaced := map[uint64]bool{}
	for _, j := range s.journeys {
		replaced[j.Supersedes] = true
	}
	for _, j := range s.inOrder() {
		if replaced[j.ID] {
			continue
		}
		verdict := fmt.Sprintf("%d hops, %s", len(j.Hops), j.Verdict.Result)
		if j.Verdict.Evidence == Ambiguous {
			verdict += "?"
		}
		for _, r := range j.Related {
			verdict += fmt.Sprintf(", %s #%d", r.Why, r.ID)
		}
		if n := j.Hops[len(j.Hops)-1].MergedWith; n > 0 {
			verdict += fmt.Sprintf(", with %d", n)
		}
		out = append(out, verdict)
	}
	return out
}

func (s *stage) inOrder() []*Journey {
	out := append([]*Journey{}, s.journeys...)
	for i := range out {
		for k := i; k > 0 && out[k].Time < out[k-1].Time; k-- {
			out[k], out[k-1] = out[k-1], out[k]
		}
	}
	return out
}

func (s *stage) wantAccounts(want ...string) {
	s.t.Helper()
	got := s.accounts()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		s.t.Errorf("%s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	for _, j := range s.journeys {
		if note := strings.Join(j.Notes, " "); strings.Contains(note, "receive offload") && j.Hops[len(j.Hops)-1].MergedWith == 0 {
			s.t.Errorf("#%d was not merged: %s", j.ID, note)
		}
	}
}

// A large segment that was dropped has no part in the pieces of what sends its data
// again, however that is divided.
func TestLargeSegmentLostAndSentAgain(t *testing.T) {
	for name, c := range map[string]struct {
		again []int // sizes of the packets that send it again
		want  []string
	}{
		"as it was": {[]int{4000}, []string{"3 hops, vanished", "7 hops, left, retransmission_of #1"}},
		"divided":   {[]int{1000, 3000}, []string{"3 hops, vanished", "4 hops, left, retransmission_of #1", "6 hops, left"}},
		"with more": {[]int{6000}, []string{"3 hops, vanished", "9 hops, left, retransmission_of #1"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			for _, where := range insideOut {
				s.see(where, segment(t, 0x1431, 1000, 4000))
			}
			s.pass(time.Millisecond)
			id, seq := uint16(0x143b), uint32(1000)
			for _, size := range c.again {
				for _, where := range insideOut {
					s.see(where, segment(t, id, seq, size))
				}
				for sent := 0; sent < size; sent += 1000 {
					s.see(uplinkOut, segment(t, id, seq, 1000))
					id, seq = id+1, seq+1000
				}
			}
			s.wantAccounts(c.want...)
		})
	}
}

// What waited in a queue while it was sent again keeps its pieces.
func TestLargeSegmentLateAndSentAgain(t *testing.T) {
	s := newStage(t)
	for _, id := range []uint16{0x1431, 0x143b} {
		for _, where := range insideOut {
			s.see(where, segment(t, id, 1000, 4000))
		}
		s.pass(time.Millisecond)
	}
	for _, id := range []uint16{0x1431, 0x143b} {
		for i := range uint16(4) {
			s.see(uplinkOut, segment(t, id+i, 1000+1000*uint32(i), 1000))
		}
	}
	s.wantAccounts("7 hops, left", "7 hops, left, retransmission_of #1")
}

// Pieces that a point shows twice are not those of the packet that was lost.
func TestPieceSeenTwiceIsNotTheLostOnes(t *testing.T) {
	s := newStage(t)
	for _, id := range []uint16{0x1431, 0x143b} {
		for _, where := range insideOut {
			s.see(where, segment(t, id, 1000, 2000))
		}
	}
	for i := range uint16(2) {
		s.see(uplinkOut, segment(t, 0x143b+i, 1000+1000*uint32(i), 1000))
	}
	s.see(uplinkOut, segment(t, 0x143b, 1000, 1000))
	s.wantAccounts("3 hops, vanished", "5 hops, left, retransmission_of #1", "1 hops, left")
}

// merges lets segments of 1000 bytes be sent, and be merged by the veth in front of the
// others.
func (s *stage) merges(id uint16, seq uint32, n int, ends ...at) {
	for i := range n {
		s.see(backOut, segment(s.t, id+uint16(i), seq+1000*uint32(i), 1000))
	}
	for _, where := range append([]at{vethIn, bridgeIn}, ends...) {
		s.see(where, segment(s.t, id, seq, 1000*n))
	}
}

func TestMergedSegmentsLostAndSentAgain(t *testing.T) {
	s := newStage(t)
	s.merges(1, 1000, 4)
	s.merges(5, 5000, 3, uplinkOut)
	s.pass(time.Millisecond)
	s.merges(8, 1000, 1, uplinkOut)
	s.merges(9, 2000, 3, uplinkOut)
	lost, left, again := "3 hops, vanished, with 3", "4 hops, left, with 2", "4 hops, left, retransmission_of #"
	s.wantAccounts(lost, lost, lost, lost, left, left, left, again+"1", again+"2, with 2", again+"3, with 2", again+"4, with 2")
}

// Without an identification TCP's timestamps tell.
func TestLargeSegmentWithoutAnIdentificationSentAgain(t *testing.T) {
	lost := func(s *stage, stamps [2]byte, between func()) {
		for i, where := range insideOut {
			s.see(where, numberless(s.t, 1000, 4000, stamps[0]))
			if i == len(insideOut)-1 {
				between()
			}
		}
		s.pass(time.Millisecond)
		for _, where := range insideOut {
			s.see(where, numberless(s.t, 1000, 4000, stamps[1]))
		}
	}
	nothing := func() {}
	cuts := func(s *stage, stamp byte) {
		for i := range uint32(4) {
			s.see(uplinkOut, numberless(s.t, 1000+1000*i, 1000, stamp))
		}
	}
	t.Run("lost", func(t *testing.T) {
		s := newStage6(t)
		lost(s, [2]byte{7, 9}, nothing)
		cuts(s, 9)
		s.wantAccounts("3 hops, vanished", "7 hops, left, retransmission_of #1")
	})
	t.Run("late", func(t *testing.T) {
		s := newStage6(t)
		lost(s, [2]byte{7, 9}, nothing)
		cuts(s, 7)
		cuts(s, 9)
		s.wantAccounts("7 hops, left", "7 hops, left, retransmission_of #1")
	})
	// Without them it is the later one's, and that is in doubt.
	t.Run("in doubt", func(t *testing.T) {
		s := newStage6(t)
		lost(s, [2]byte{}, nothing)
		cuts(s, 0)
		s.accounts()
		note := "ambiguous: #1 carries the same bytes as this packet, and #1 was last seen at docker0, 1 ms before this one came on: it is lost, or this one is. Hops and end may be another's"
		if n := s.journeys[0].Notes; len(n) == 0 || n[len(n)-1] != note {
			t.Errorf("%q", n)
		}
		s.wantAccounts("3 hops, vanished?", "7 hops, left?, duplicate_of #1, retransmission_of #1")
	})
	// What was sent behind the first one came on meanwhile.
	t.Run("overtaken", func(t *testing.T) {
		s := newStage6(t)
		lost(s, [2]byte{}, func() {
			for _, where := range append(insideOut, uplinkOut) {
				s.see(where, numberless(t, 5000, 1000, 0))
			}
		})
		cuts(s, 0)
		s.wantAccounts("3 hops, vanished", "4 hops, left", "7 hops, left, duplicate_of #1, retransmission_of #1")
	})
	t.Run("both pass", func(t *testing.T) {
		s := newStage6(t)
		lost(s, [2]byte{}, nothing)
		cuts(s, 0)
		cuts(s, 0)
		s.wantAccounts("7 hops, left?", "7 hops, left?, duplicate_of #1, retransmission_of #1")
	})
	// The rest of what began to pass is its own.
	t.Run("in its midst", func(t *testing.T) {
		s := newStage6(t)
		for _, where := range insideOut {
			s.see(where, numberless(t, 1000, 4000, 0))
		}
		for i := range uint32(8) {
			if i == 2 {
				for _, where := range insideOut {
					s.see(where, numberless(t, 1000, 4000, 0))
				}
			}
			s.see(uplinkOut, numberless(t, 1000+1000*(i%4), 1000, 0))
		}
		s.wantAccounts("7 hops, left", "7 hops, left, duplicate_of #1, retransmission_of #1")
	})
}

func TestIdentificationsOfSegments(t *testing.T) {
	sight := func(id uint16, begin, size int) *sighting {
		s := &sighting{extent: extent{extentStream, uint32(begin), uint32(begin + size)}}
		o := observe(segment(t, id, uint32(begin), size))
		s.h = &o.Headers
		return s
	}
	free := func(s *sighting) *sighting { s.h.DF = true; return s }
	whole := sight(65535, 1000, 4500)
	for name, c := range map[string]struct {
		a, b *sighting
		want proof
	}{
		"the first":             {whole, sight(65535, 1000, 1000), proofNumber},
		"the second, wrapped":   {whole, sight(0, 2000, 1000), proofNumber},
		"the last":              {whole, sight(3, 5000, 500), proofNumber},
		"two at once":           {whole, sight(1, 3000, 2000), proofMultiple},
		"the last two":          {whole, sight(2, 4000, 1500), proofMultiple},
		"another's first":       {whole, sight(5, 1000, 1000), proofAgainst},
		"another's second":      {whole, sight(6, 2000, 1000), proofAgainst},
		"behind, but too soon":  {whole, sight(2, 2000, 1000), proofAgainst},
		"its number, elsewhere": {whole, sight(65535, 2000, 1000), proofAgainst},
		"merged":                {sight(9, 3000, 1000), sight(7, 1000, 4000), proofNumber},
		"merged, not of it":     {sight(10, 3000, 1000), sight(7, 1000, 4000), proofAgainst},
		"none":                  {sight(0, 1000, 4000), sight(0, 2000, 1000), proofNone},
		"all the same":          {free(sight(7, 1000, 4000)), free(sight(7, 2000, 1000)), proofNumber},
	} {
		if got := identified(c.a, c.b); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
		if got := identified(c.b, c.a); got != c.want {
			t.Errorf("%s, the other way: %d, want %d", name, got, c.want)
		}
	}
}
