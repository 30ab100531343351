package trace

import (
	"bytes"
	"testing"
	"time"

	"natlens/capture"
)

func TestEachKeptPacketIsNewOnce(t *testing.T) {
	s := newStage(t)
	var others int
	s.c.sink.Other = func(o *capture.Observation) { others++ }
	s.c.KeepPackets()
	d := udp(t, port(backIP, 1), port(baseIP, 53), 9, "x")
	arp := append([]byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, make([]byte, 20)...)
	s.see(backOut, arp)
	s.see(backOut, append(make([]byte, 12), 0x88, 0xcc))
	s.see(backOut, d)
	began := s.now
	s.see(vethIn, d)
	late := s.now + 500
	s.now = late
	s.see(baseIn, d)
	s.pass(5 * time.Millisecond)
	if oldest := s.c.Oldest(); oldest != began {
		t.Errorf("the oldest packet is of %d, want %d", oldest, began)
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if oldest := s.c.Oldest(); oldest != s.c.Now() || oldest != s.now {
		t.Errorf("when all is told, the oldest packet is of %d, want the watermark %d", oldest, s.now)
	}
	now := s.now
	s.now = late
	s.see(baseVOut, d)
	s.now = now
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	fresh := map[int]int{}
	for n, j := range s.journeys {
		for _, h := range j.Hops {
			if h.Packet == nil {
				continue
			}
			fresh[n]++
			if !bytes.Equal(h.Packet.Data, d) || h.Packet.Time != h.Time || h.Packet.Point() != h.Point || h.Packet.Journey != s.journeys[0].ID {
				t.Errorf("hop %+v has the packet %+v", h, h.Packet)
			}
		}
	}
	if others != 2 || len(s.journeys) != 2 || fresh[0] != 3 || fresh[1] != 1 {
		t.Errorf("%d other packets, want 2; %d journeys with %v new packets, want 3 and 1", others, len(s.journeys), fresh)
	}
	if s.c.kept != 0 {
		t.Errorf("%d bytes are still kept", s.c.kept)
	}
}

// Packets that nobody ever sees again must not fill the memory.
func TestKeptBytesAreBounded(t *testing.T) {
	s := newStage(t)
	s.c.KeepPackets()
	d := udp(t, port(backIP, 1), port(internetIP, 53), 9, "x")
	const size, most = 1 << 20, maxKept / (1<<20 + keptBeside)
	for n := range most + 10 {
		s.see(backOut, d)
		s.batch[n].Data = make([]byte, size)
		s.batch[n].Fingerprint = uint64(n)
	}
	s.pass(time.Millisecond)
	if n := s.c.Counters().Evicted; s.c.kept != most*(size+keptBeside) || n != 10 || len(s.journeys) != 10 {
		t.Errorf("%d bytes are kept, %d evicted, %d journeys; want %d, 10 and 10", s.c.kept, n, len(s.journeys), most*(size+keptBeside))
	}
}

func TestPacketsKeepTheirJourneysNumber(t *testing.T) {
	s := newStage(t)
	for n, number := range []uint64{7, 7, 0, 12} {
		s.see(backOut, udp(t, port(backIP, 1), port(internetIP, 53), uint16(n/2*n), "x"))
		s.batch[n].Journey = number
		if n == 1 { // the same packet, further on
			s.batch[n].Namespace, s.batch[n].Ifindex, s.batch[n].Type = hostNS, vethBack, capture.OtherHost
		}
	}
	s.pass(5 * time.Second)
	s.c.Flush()
	var ids []uint64
	for _, j := range s.journeys {
		ids = append(ids, j.ID)
	}
	if len(ids) != 3 || ids[0] != 7 || ids[1] != 8 || ids[2] != 12 {
		t.Errorf("journeys %v, want 7, 8, 12", ids)
	}
}
