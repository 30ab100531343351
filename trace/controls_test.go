package trace

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// flagged is a segment from back to the internet with those flags and no data.
func flagged(t *testing.T, id uint16, seq uint32, flags uint8) []byte {
	return frame(t, backIP, internetIP, id, 64, &layers.TCP{SrcPort: 40000, DstPort: 80, Seq: seq, Ack: 1, Window: 1000,
		SYN: flags&packet.SYN != 0, FIN: flags&packet.FIN != 0, ACK: flags&packet.ACK != 0, RST: flags&packet.RST != 0, PSH: flags&packet.PSH != 0})
}

// again is what the journeys send again, by the places of both in their order; "-" is
// nothing.
func (s *stage) again() string {
	s.pass(5 * time.Second)
	s.pass(5 * time.Second)
	var out []string
	for _, j := range s.inOrder() {
		said := "-"
		for _, r := range j.Related {
			switch r.Why {
			case "retransmission_of":
				said = name(r.ID)
			case "duplicate_of":
				said = "twice " + name(r.ID)
			}
		}
		out = append(out, said)
	}
	return strings.Join(out, " ")
}

// A SYN that a rule drops is sent again after 1, 2 and 4 s; the journeys of the earlier
// ones are over by then.
func TestSYNSentAgain(t *testing.T) {
	for name, see := range map[string]func(s *stage, id uint16){
		"IPv4": func(s *stage, id uint16) {
			for _, where := range insideOut {
				s.see(where, flagged(t, id, 1000, packet.SYN))
			}
		},
		"IPv6": func(s *stage, id uint16) {
			tcp := &layers.TCP{SrcPort: 40000, DstPort: 80, Seq: 1000, SYN: true, Options: []layers.TCPOption{
				{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{0, 0, 0, byte(id), 0, 0, 0, 0}}}}
			for _, where := range insideOut {
				s.see(where, frame6(t, backIP6, internetIP6, tcp))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage6(t)
			for i, wait := range []time.Duration{1, 2, 4, 8} {
				see(s, uint16(7+i))
				for range wait {
					s.pass(time.Second)
				}
			}
			if got := s.again(); got != "- #1 #2 #3" {
				t.Errorf("%s", got)
			}
		})
	}
}

// A FIN goes where the data before it went.
func TestFINSentAgain(t *testing.T) {
	s := newStage(t)
	s.flow(netfilter.Known, netfilter.Flow{ID: 9, Original: packet.NewTuple(packet.TCP, backIP, internetIP, 40000, 80), Reply: packet.NewTuple(packet.TCP, internetIP, hostIP, 80, 40000)})
	for i := range uint16(4) {
		s.see(backOut, segment(t, 1+i, 1000+100*uint32(i), 100))
		s.see(backOut, flagged(t, 50+i, 1100+100*uint32(i), packet.ACK))
		s.pass(50 * time.Millisecond)
	}
	for i := range uint16(6) {
		s.see(backOut, flagged(t, 10+i, 1400, packet.FIN|packet.ACK))
		s.pass(200 * time.Millisecond << i)
	}
	if got := s.again(); got != "- - - - - - - - - #9 #10 #11 #12 #13" {
		t.Errorf("%s", got)
	}
}

func TestWhatIsNotSentAgain(t *testing.T) {
	const fin = packet.FIN | packet.ACK
	other := func(id uint16) []byte {
		return frame(t, backIP, internetIP, id, 64, &layers.TCP{SrcPort: 40001, DstPort: 80, Seq: 1000, SYN: true})
	}
	withData := frame(t, backIP, internetIP, 1, 64, &layers.TCP{SrcPort: 40000, DstPort: 80, Seq: 1000, FIN: true, ACK: true}, gopacket.Payload("natlens"))
	looped := flagged(t, 1, 1000, packet.SYN)
	looped[14+8]-- // its time to live
	for name, c := range map[string]struct {
		first, second []byte
		want          string
	}{
		"a SYN":                  {flagged(t, 1, 1000, packet.SYN), flagged(t, 2, 1000, packet.SYN), "- #1"},
		"a FIN":                  {flagged(t, 1, 1000, fin), flagged(t, 2, 1000, fin|packet.PSH), "- #1"},
		"another connection's":   {flagged(t, 1, 1000, packet.SYN), other(2), "- -"},
		"of another number":      {flagged(t, 1, 1000, packet.SYN), flagged(t, 2, 1001, packet.SYN), "- -"},
		"of other flags":         {flagged(t, 1, 1000, packet.SYN), flagged(t, 2, 1000, packet.SYN|packet.ACK), "- -"},
		"a FIN behind data":      {withData, flagged(t, 2, 1007, fin), "- -"},
		"a FIN in data's place":  {segment(t, 1, 1000, 100), flagged(t, 2, 1000, fin), "- -"},
		"an acknowledgement":     {flagged(t, 1, 1000, packet.ACK), flagged(t, 2, 1000, packet.ACK), "- -"},
		"a probe of its peer":    {flagged(t, 1, 1100, packet.ACK), flagged(t, 2, 1099, packet.ACK), "- -"},
		"a reset":                {flagged(t, 1, 1000, packet.RST), flagged(t, 2, 1000, packet.RST), "- -"},
		"a reset of what begins": {flagged(t, 1, 1000, packet.SYN|packet.RST), flagged(t, 2, 1000, packet.SYN|packet.RST), "- -"},
		"the same packet":        {flagged(t, 1, 1000, packet.SYN), flagged(t, 1, 1000, packet.SYN), "- twice #1"},
		"the same, routed":       {flagged(t, 1, 1000, packet.SYN), looped, "- -"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.see(backOut, c.first)
			s.pass(time.Millisecond)
			s.see(backOut, c.second)
			if got := s.again(); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestControlsAreForgotten(t *testing.T) {
	s := newStage(t)
	for i := range 10 {
		s.see(backOut, segment(t, uint16(i), 1000+100*uint32(i), 100))
		s.see(backOut, flagged(t, uint16(100+i), 1100+100*uint32(i), packet.ACK))
	}
	s.pass(time.Second)
	if n := len(s.c.parts.controls); n != 0 {
		t.Errorf("%d of data and acknowledgements are remembered", n)
	}
	s.see(backOut, flagged(t, 1, math.MaxUint32, packet.SYN))
	s.pass(time.Second)
	if n := len(s.c.parts.controls); n != 1 {
		t.Errorf("%d remembered, want 1", n)
	}
	s.pass(keepControl)
	s.pass(2 * time.Second)
	if n := len(s.c.parts.controls); n != 0 {
		t.Errorf("%d remembered after a minute", n)
	}
	p := newParts()
	for i := range uint32(maxStreams + 10) {
		p.begun(1, &sighting{h: &packet.Headers{TCPSeq: i}})
	}
	if n := len(p.controls); n != maxStreams {
		t.Errorf("%d remembered at once, want %d", n, maxStreams)
	}
}
