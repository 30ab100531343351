package trace

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// pieces writes which part of the datagram each hop saw.
func pieces(j *Journey) string {
	var out []string
	for _, h := range j.Hops {
		if p := h.Part; p == nil {
			out = append(out, "all")
		} else {
			out = append(out, fmt.Sprintf("%d/%d@%d", p.Index, p.Of, p.Offset))
		}
	}
	return strings.Join(out, " ")
}

// cut makes the IPv4 fragments that a link of the size makes of a frame
// (RFC 791, section 3.2), each with its own IP header.
func cut(frame []byte, size int) (fragments [][]byte) {
	const ethernet, ip = 14, 20
	data := frame[ethernet+ip:]
	for offset := 0; offset < len(data); offset += size {
		end := min(offset+size, len(data))
		f := append(append([]byte{}, frame[:ethernet+ip]...), data[offset:end]...)
		length := ip + end - offset
		f[ethernet+2], f[ethernet+3] = byte(length>>8), byte(length)
		place := offset / 8
		if end < len(data) {
			place |= 0x2000
		}
		f[ethernet+6], f[ethernet+7] = byte(place>>8), byte(place)
		fragments = append(fragments, f)
	}
	return fragments
}

func TestFragmentsReassembledAtTheBridge(t *testing.T) {
	s := newStage(t)
	s.flow(netfilter.Known, netfilter.Flow{ID: 9, Original: echoTuple(backIP, internetIP, 7, false), Reply: echoTuple(internetIP, hostIP, 7, true)})
	echo := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 7, Seq: 1}
	payload := gopacket.Payload(strings.Repeat("0123456789abcdef", 180))
	inner := frame(t, backIP, internetIP, 4711, 64, echo, payload)
	outer := frame(t, hostIP, internetIP, 4711, 63, echo, payload)
	for _, f := range cut(inner, 1480) {
		s.see(backOut, f)
		s.see(vethIn, f)
	}
	s.see(bridgeIn, inner)
	for _, f := range cut(outer, 1480) {
		s.see(uplinkOut, f)
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.expect(want{
		path: "back/eth0:out host/vethback:in (from -1) back/eth0:out host/vethback:in host/docker0:in host/eth0:out (from 4) host/eth0:out",
		from: "back", direction: Original, verdict: "left by tap",
		changes: "snat[4 5] icmp 172.17.0.2 > 198.51.100.7 => icmp 192.0.2.10 > 198.51.100.7 [conntrack 9]",
	})
	if got, want := pieces(s.journeys[0]), "0/2@0 0/2@0 1/2@1480 1/2@1480 all 0/2@0 1/2@1480"; got != want {
		t.Errorf("pieces %s, want %s", got, want)
	}
}

func TestRouterCutsAWholePacket(t *testing.T) {
	s := newStage(t)
	whole := udp(t, port(internetIP, 5), port(backIP, 80), 77, strings.Repeat("natlens ", 100))
	s.see(uplinkIn, whole)
	for _, f := range cut(whole, 400) {
		s.see(bridgeOut, f)
		s.see(vethOut, f)
		s.see(backIn, f)
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != 1 {
		t.Fatalf("%d journeys, want 1", len(s.journeys))
	}
	j := s.journeys[0]
	if len(j.Hops) != 1+3*3 || j.Verdict.Result != Delivered || j.To.Name != "back" {
		t.Errorf("%d hops, %+v, to %q", len(j.Hops), j.Verdict, j.To.Name)
	}
}

func TestEqualIDsOfTwoSendersStayApart(t *testing.T) {
	s := newStage(t)
	payload := strings.Repeat("natlens ", 100)
	a := cut(udp(t, port(backIP, 5), port(internetIP, 80), 77, payload), 400)
	b := cut(udp(t, port(baseIP, 5), port(internetIP, 80), 77, payload), 400)
	for i := range a {
		s.see(backOut, a[i])
		s.see(baseOut, b[i])
		s.see(baseVIn, b[i])
		s.see(vethIn, a[i])
		s.see(bridgeIn, a[i])
		s.see(bridgeIn, b[i])
	}
	s.pass(4 * time.Second)
	if len(s.journeys) != 2 {
		t.Fatalf("%d journeys, want 2", len(s.journeys))
	}
	for _, j := range s.journeys {
		for _, h := range j.Hops {
			if h.Headers.Tuple.Source() != j.From.IP {
				t.Errorf("journey of %v has a hop of %v", j.From.IP, h.Headers.Tuple.Source())
			}
		}
		if len(j.Hops) != 3*len(a) {
			t.Errorf("%d hops, want %d", len(j.Hops), 3*len(a))
		}
	}
}

// segment is TCP data from back to the internet.
func segment(t *testing.T, id uint16, seq uint32, size int) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(seq + uint32(i))
	}
	return frame(t, backIP, internetIP, id, 64, &layers.TCP{SrcPort: 40000, DstPort: 80, Seq: seq, Ack: 1, ACK: true, Window: 1000}, gopacket.Payload(data))
}

func TestSegmentCutOnTheWay(t *testing.T) {
	for _, seq := range []uint32{1000, math.MaxUint32 - 2000} { // the second wraps
		s := newStage(t)
		large := segment(t, 1, seq, 4000)
		for _, where := range []at{backOut, vethIn, bridgeIn} {
			s.see(where, large)
		}
		for i := range uint32(4) {
			s.see(uplinkOut, segment(t, uint16(1+i), seq+1000*i, 1000))
		}
		s.pass(50 * time.Millisecond)
		s.pass(50 * time.Millisecond)
		if len(s.journeys) != 1 {
			t.Fatalf("%d journeys, want 1", len(s.journeys))
		}
		if got, want := pieces(s.journeys[0]), "all all all 0/4@0 1/4@1000 2/4@2000 3/4@3000"; got != want {
			t.Errorf("pieces %s, want %s", got, want)
		}
		if v := s.journeys[0].Verdict; v.Result != Left {
			t.Errorf("verdict %+v", v)
		}
	}
}

func TestSegmentsMergedOnTheWay(t *testing.T) {
	s := newStage(t)
	for i := range uint32(2) {
		small := segment(t, uint16(1+i), 1000+1000*i, 1000)
		s.see(backOut, small)
		s.see(vethIn, small)
	}
	merged := segment(t, 1, 1000, 2000)
	s.see(bridgeIn, merged)
	s.see(uplinkOut, merged)
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != 2 {
		t.Fatalf("%d journeys, want 2", len(s.journeys))
	}
	for _, j := range s.journeys {
		if got := path(j); got != outPath || j.Verdict.Result != Left {
			t.Errorf("%s, %+v", got, j.Verdict)
		}
		for i, with := range []int{0, 0, 1, 1} {
			if h := &j.Hops[i]; h.MergedWith != with || h.Part != nil {
				t.Errorf("hop %d: merged with %d others, part %v; want %d and none", i, h.MergedWith, h.Part, with)
			}
		}
	}
}

// As many as fit into the largest packet of IPv4.
func TestManySegmentsMergedOnTheWay(t *testing.T) {
	s := newStage(t)
	const size, many = 1448, 45
	for i := range uint32(many) {
		s.see(backOut, segment(t, uint16(1+i), 1000+size*i, size))
	}
	merged := segment(t, 1, 1000, size*many)
	for _, where := range []at{vethIn, bridgeIn, uplinkOut} {
		s.see(where, merged)
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != many {
		t.Fatalf("%d journeys, want %d: %s", len(s.journeys), many, s.verdicts())
	}
	for _, j := range s.journeys {
		if got := path(j); got != outPath || j.Verdict.Result != Left {
			t.Errorf("%s, %+v", got, j.Verdict)
		}
	}
}

func TestRetransmissionIsAJourneyOfItsOwn(t *testing.T) {
	s := newStage(t)
	for i := range uint16(2) {
		data := segment(t, 1+i, 1000, 500) // a new IP ID, the same sequence number
		for _, where := range []at{backOut, vethIn, bridgeIn, uplinkOut} {
			s.see(where, data)
		}
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != 2 {
		t.Fatalf("%d journeys, want 2", len(s.journeys))
	}
	if r := s.journeys[1].Related; len(r) != 1 || r[0] != (Relation{ID: s.journeys[0].ID, Why: "retransmission_of"}) {
		t.Errorf("related to %v", r)
	}
}

func TestPartsAreForgotten(t *testing.T) {
	s := newStage(t)
	for i := range uint16(50) {
		for _, f := range cut(udp(t, port(backIP, 5), port(internetIP, 80), 100+i, strings.Repeat("natlens ", 100)), 400) {
			s.see(backOut, f)
		}
		s.see(backOut, segment(t, i, uint32(i)*1000, 900))
	}
	s.pass(10 * time.Second)
	s.pass(10 * time.Second)
	if d, st := len(s.c.parts.datagrams), len(s.c.parts.streams); d+st != 0 {
		t.Errorf("%d datagrams and %d streams remembered", d, st)
	}
}

func TestExtentsMeet(t *testing.T) {
	at := func(begin, end uint32) extent { return extent{extentStream, begin, end} }
	for _, c := range []struct {
		a, b extent
		want bool
	}{
		{at(0, 10), at(10, 20), false}, {at(0, 10), at(9, 20), true}, {at(math.MaxUint32-5, 5), at(0, 1), true},
		{at(math.MaxUint32-5, 5), at(5, 9), false}, {extent{}, at(5, 9), true}, {extent{}, extent{}, true},
		{extent{extentFragment, 0, 1480}, extent{extentFragment, 1480, 2000}, false},
	} {
		if got := c.a.meets(c.b); got != c.want || c.b.meets(c.a) != c.want {
			t.Errorf("%v meets %v: %v, want %v", c.a, c.b, got, c.want)
		}
	}
	h := packet.Headers{Layers: packet.LayerIPv4 | packet.LayerTCP, PayloadLength: 0, TCPSeq: 7}
	if x := extentOf(&h); x.kind != extentAll {
		t.Errorf("a bare acknowledgement has extent %v", x)
	}
}
