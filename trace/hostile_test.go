package trace

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// spoofed is the address of the ith of many senders.
func spoofed(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)})
}

// pieceOf is a fragment of a UDP datagram with so many bytes at that place.
func pieceOf(source, destination netip.Addr, id uint16, at, size int, more bool) []byte {
	b := make([]byte, 34+size)
	ip := b[14:]
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	ip[0], ip[8], ip[9] = 0x45, 64, byte(packet.UDP)
	binary.BigEndian.PutUint16(ip[2:], uint16(20+size))
	binary.BigEndian.PutUint16(ip[4:], id)
	place := uint16(at / 8)
	if more {
		place |= 0x2000
	}
	binary.BigEndian.PutUint16(ip[6:], place)
	copy(ip[12:], source.AsSlice())
	copy(ip[16:], destination.AsSlice())
	binary.BigEndian.PutUint32(ip[20:], uint32(at)) // pieces differ
	return b
}

// What fragments of one identification cost must not grow with their number: who
// sends them chooses it, and the sender's address.
func TestFragmentsOfOneIdentification(t *testing.T) {
	s := newStage(t)
	const n = 500
	for i := range n {
		s.see(uplinkIn, pieceOf(spoofed(i), hostIP, 7, 1480, 64, true))
		s.see(uplinkIn, udp(t, netip.AddrPortFrom(spoofed(i), 1), port(hostIP, 9), 7, string(make([]byte, 600))))
		s.pass(0)
	}
	if got := len(s.c.parts.datagrams[pieceKey{packet.UDP, 7}]); got > maxSameID {
		t.Errorf("%d journeys are asked about each fragment, want at most %d", got, maxSameID)
	}
	s.pass(4 * time.Second)
	if len(s.journeys) != 2*n {
		t.Errorf("%d journeys of %d packets", len(s.journeys), 2*n)
	}
}

// A datagram in very many pieces is several journeys, and none of them takes what
// the others have for lost.
func TestVeryManyPieces(t *testing.T) {
	s := newStage(t)
	const n = 1000
	for i := range n {
		f := pieceOf(backIP, baseIP, 7, 8*i, 8, i < n-1)
		for _, where := range []at{backOut, vethIn, baseVOut, baseIn} {
			s.see(where, f)
		}
	}
	s.pass(0)
	s.pass(4 * time.Second)
	hops := 0
	for _, j := range s.journeys {
		hops += len(j.Hops)
		if len(j.Hops) > maxPieceHops || j.Verdict.Result != Delivered && j.Verdict.Result != Unfinished {
			t.Errorf("#%d with %d hops: %+v", j.ID, len(j.Hops), j.Verdict)
		}
	}
	if hops != 4*n {
		t.Errorf("%d hops, want %d", hops, 4*n)
	}
}

// An IPv6 packet has no identification, so that all fragments could be its own.
func TestWholePacketsAmongFragments(t *testing.T) {
	s := newStage(t)
	for i := range 4 * maxWhole {
		source := netip.AddrFrom16([16]byte{0xfd, 14: byte(i >> 8), 15: byte(i)})
		for _, f := range cut6(udp6(t, netip.AddrPortFrom(source, 1), netip.AddrPortFrom(hostIP6, 9), string(make([]byte, 2000))), uint32(i), 1480) {
			s.see(uplinkIn, f)
		}
		s.pass(0)
	}
	if got := len(s.c.parts.whole.recent); got != maxWhole {
		t.Errorf("%d journeys are asked about each IPv6 packet, want %d", got, maxWhole)
	}
}

// Senders that make up their addresses begin streams without end. One that is in use
// is not forgotten for them.
func TestSpoofedStreams(t *testing.T) {
	s := newStage(t)
	s.c.sink.Journey = nil
	large := string(make([]byte, 1473)) // larger than a link takes
	data := func(source, destination netip.AddrPort, i int) []byte {
		return frame(t, source.Addr(), destination.Addr(), uint16(i), 64, &layers.TCP{
			SrcPort: layers.TCPPort(source.Port()), DstPort: layers.TCPPort(destination.Port()), Seq: uint32(i), ACK: true,
		}, gopacket.Payload("x"))
	}
	used := packet.NewTuple(packet.TCP, backIP, internetIP, 4711, 80)
	for i := range maxStreams + maxStreams/4 {
		from := spoofed(i)
		s.see(uplinkIn, data(netip.AddrPortFrom(from, 1), port(hostIP, 80), i))
		s.see(uplinkIn, udp(t, netip.AddrPortFrom(from, 1), port(hostIP, 80), uint16(i), large))
		if i%256 == 0 {
			s.see(backOut, data(port(backIP, 4711), port(internetIP, 80), i))
		}
		if i%1024 == 0 {
			s.pass(0)
		}
	}
	s.pass(0)
	if streams, trains := len(s.c.parts.streams), len(s.c.parts.trains); streams > maxStreams || trains > maxStreams {
		t.Errorf("%d streams and %d trains, want at most %d", streams, trains, maxStreams)
	}
	if s.c.parts.stream(&used) == nil {
		t.Error("a stream in use was forgotten")
	}
}

// A table that is full ends a flow for each that begins.
func TestFlowsThatEndAtOnce(t *testing.T) {
	s := newStage(t)
	var last packet.Tuple
	for i := range maxDead + 100 {
		last = packet.NewTuple(packet.UDP, spoofed(i), hostIP, 1, 53)
		f := netfilter.Flow{ID: uint32(i + 1), Original: last, Reply: last.Inverse()}
		s.flow(netfilter.New, f)
		s.flow(netfilter.Destroy, f)
	}
	x := s.c.flows[hostNS]
	if n := len(x.dead); n > maxDead {
		t.Errorf("%d dead flows are kept, want at most %d", n, maxDead)
	}
	if r := x.find(&last, s.now); r.flow == nil {
		t.Error("the flow that died last is forgotten")
	}
	s.pass(6 * time.Second)
	if x.byTuple.nodes != 0 || len(x.dead) != 0 {
		t.Errorf("%d dead flows, %d forms are left", len(x.dead), x.byTuple.nodes)
	}
}

// A file of a router under attack has a translated flow for each packet.
func TestInferredFlowsWithoutEnd(t *testing.T) {
	s := &stage{t: t, now: 1_000_000_000_000}
	s.c = New(1024, Sink{})
	s.c.ReadForeign()
	const in, out = 1, 2
	for i := range maxInferred + 1000 {
		before := udp(t, port(spoofed(i), 1), port(hostIP, 80), uint16(i), fmt.Sprint(i))
		after := udp(t, port(spoofed(i), 1), port(backIP, 80), uint16(i), fmt.Sprint(i))
		s.see(at{hostNS, in, capture.Host}, before)
		s.see(at{hostNS, out, capture.Outgoing}, after)
		if i%512 == 0 {
			s.c.Observe(&capture.Batch{Observations: s.batch, Through: s.now})
			s.batch = nil
		}
	}
	s.c.Observe(&capture.Batch{Observations: s.batch, Through: s.now})
	if x := s.c.flows[0]; x == nil || len(x.byID) > maxInferred || len(x.byID) < maxInferred-1 {
		t.Errorf("%d flows are remembered, want %d", len(x.byID), maxInferred)
	}
}

// A file can say of each packet that another link saw it.
func TestLinksWithoutEnd(t *testing.T) {
	s := newStage(t)
	s.c.ReadForeign()
	p := udp(t, port(backIP, 1), port(hostIP, 80), 7, "x")
	for i := range maxPlaces + 10 {
		s.see(at{baseNS + 1, int32(i), capture.Host}, p)
	}
	s.pass(0)
	if n := len(s.c.hosts.places); n > maxPlaces {
		t.Errorf("%d places are remembered, want at most %d", n, maxPlaces)
	}
}
