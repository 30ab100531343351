package trace

import (
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// synProxied tells of a connection from back that a SYN proxy answered, with a number that
// is 5000 above the server's.
func (s *stage) synProxied() {
	asked := packet.NewTuple(packet.TCP, backIP, internetIP, 40000, 80)
	s.flow(netfilter.Known, netfilter.Flow{ID: 9, Status: netfilter.SrcNAT | netfilter.SeqAdjust, Original: asked,
		Reply:        packet.NewTuple(packet.TCP, internetIP, hostIP, 80, 40000),
		Renumberings: [2]netfilter.Renumbering{1: {Before: 5000, After: 5000}}})
}

// What is cut behind the change belongs to what came before it.
func TestSegmentCutBehindASynProxy(t *testing.T) {
	s := newStage(t)
	s.synProxied()
	data := gopacket.Payload(numbered(4000))
	said := func(id uint16, seq, ack uint32, data []byte) []byte {
		return frame(t, backIP, internetIP, id, 64, &layers.TCP{SrcPort: 40000, DstPort: 80, Seq: seq, Ack: ack, ACK: true, Window: 1000}, gopacket.Payload(data))
	}
	for _, where := range []at{backOut, vethIn, bridgeIn} {
		s.see(where, said(1, 1000, 6001, data))
	}
	for i := range 4 {
		f := frame(t, hostIP, internetIP, uint16(1+i), 63, &layers.TCP{SrcPort: 40000, DstPort: 80, Seq: uint32(1000 + 1000*i), Ack: 1001, ACK: true, Window: 1000}, data[1000*i:][:1000])
		s.see(uplinkOut, f)
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != 1 {
		t.Fatalf("%d journeys, want 1", len(s.journeys))
	}
	j := s.journeys[0]
	if got, want := pieces(j), "all all all 0/4@0 1/4@1000 2/4@2000 3/4@3000"; got != want || j.Verdict.Result != Left {
		t.Errorf("pieces %s, want %s; %+v", got, want, j.Verdict)
	}
	if h := j.Hops[3].Headers; h.TCPSeq != 1000 || h.TCPAck != 1001 {
		t.Errorf("the first piece has numbers %d, %d", h.TCPSeq, h.TCPAck)
	}
	const want = "connection tracking of host counts on from the number of its SYN proxy: acknowledged -5000"
	if !slices.Contains(j.Notes, want) {
		t.Errorf("notes %q lack %q", j.Notes, want)
	}
}

// A SYN proxy tells the client of the server's window, by a segment that looks like what
// the server's own becomes behind the change.
func TestTwinOfWhatASynProxySent(t *testing.T) {
	s := newStage(t)
	s.synProxied()
	ack := func(to bool, seq uint32, ttl uint8) []byte {
		destination := hostIP
		if to {
			destination = backIP
		}
		return frame(t, internetIP, destination, 0, ttl, &layers.TCP{SrcPort: 80, DstPort: 40000, Seq: seq, Ack: 7, ACK: true, Window: 63})
	}
	inwards := []at{bridgeOut, vethOut, backIn}
	for _, where := range inwards {
		s.see(where, ack(true, 6000, 64))
	}
	s.see(uplinkIn, ack(false, 1000, 64))
	for _, where := range inwards {
		s.see(where, ack(true, 6000, 63))
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != 2 {
		t.Fatalf("%d journeys, want 2", len(s.journeys))
	}
	for i, n := range []int{3, 4} {
		j := s.journeys[i]
		if len(j.Notes) != i {
			t.Errorf("notes %q", j.Notes)
		}
		if len(j.Hops) != n || j.Verdict.Result != Delivered || j.Hops[0].Headers.TCPSeq != []uint32{6000, 1000}[i] || j.Hops[n-1].Headers.TCPSeq != 6000 {
			t.Errorf("%s, %+v", path(j), j.Verdict)
		}
	}
}

// A helper rewrites datagrams that have no identification. Of several that wait nothing
// tells which one became shorter, and they are in doubt.
func TestDatagramsThatAHelperRewrites(t *testing.T) {
	for waiting, want := range map[int]string{1: "left", 2: "left? vanished?"} {
		s := newStage(t)
		s.flow(netfilter.Known, netfilter.Flow{ID: 9, Status: netfilter.SrcNAT | netfilter.Helper, Original: udpTuple(port(backIP, 5060), port(internetIP, 5060)),
			Reply: udpTuple(port(internetIP, 5060), port(hostIP, 5060))})
		for i := range waiting {
			said := udp(t, port(backIP, 5060), port(internetIP, 5060), 0, string(rune('a'+i))+": 172.17.0.2")
			for _, where := range []at{backOut, vethIn, bridgeIn} {
				s.see(where, said)
			}
		}
		s.see(uplinkOut, udp(t, port(hostIP, 5060), port(internetIP, 5060), 0, "a: 192.0.2.1"))
		s.pass(50 * time.Millisecond)
		s.pass(4 * time.Second)
		if got := s.last(); got != want {
			t.Errorf("of %d: %s, want %s", waiting, got, want)
		}
	}
}
