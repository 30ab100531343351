package trace

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"natlens/netinfo/netfilter"
)

// masqueradedUDP tells of a flow from back to the internet's port 443.
func (s *stage) masqueradedUDP() {
	asked := udpTuple(port(backIP, 4000), port(internetIP, 443))
	s.flow(netfilter.Known, netfilter.Flow{ID: 9, Original: asked, Reply: udpTuple(port(internetIP, 443), port(hostIP, 4000))})
}

// datagrams cuts words into datagrams of a size, as the kernel does: each has the
// next identification (net/ipv4/af_inet.c, inet_gso_segment).
func datagrams(t *testing.T, from netip.AddrPort, id uint16, words string, size int) (out [][]byte) {
	for i := 0; len(words) > 0; i++ {
		n := min(size, len(words))
		out = append(out, udp(t, from, port(internetIP, 443), id+uint16(i), words[:n]))
		words = words[n:]
	}
	return out
}

func TestDatagramsCutFromOnePacket(t *testing.T) {
	s := newStage(t)
	s.masqueradedUDP()
	words := strings.Repeat("natlens ", 350)
	for _, id := range []uint16{4711, 4720} { // two of them at once
		for _, where := range []at{backOut, vethIn, bridgeIn} {
			s.see(where, udp(t, port(backIP, 4000), port(internetIP, 443), id, words))
		}
	}
	for _, id := range []uint16{4711, 4720} {
		for _, d := range datagrams(t, port(hostIP, 4000), id, words, 1000) {
			s.see(uplinkOut, d)
		}
	}
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	if len(s.journeys) != 2 {
		t.Fatalf("%d journeys, want 2: %s", len(s.journeys), s.verdicts())
	}
	for i, j := range s.journeys {
		if got, want := pieces(j), "all all all 0/3@0 1/3@1000 2/3@2000"; got != want {
			t.Errorf("pieces %s, want %s", got, want)
		}
		if j.Verdict.Result != Left || len(j.Translations) != 1 || j.Hops[3].Headers.IPID != []uint16{4711, 4720}[i] {
			t.Errorf("%+v, %s", j.Verdict, changes(j))
		}
	}
}

// One that was dropped does not hide behind the others.
func TestOneOfTwoPacketsThatAreCutIsLost(t *testing.T) {
	s := newStage(t)
	s.masqueradedUDP()
	words := strings.Repeat("natlens ", 350)
	for _, id := range []uint16{4711, 4720} {
		for _, where := range []at{backOut, vethIn, bridgeIn} {
			s.see(where, udp(t, port(backIP, 4000), port(internetIP, 443), id, words))
		}
	}
	for _, d := range datagrams(t, port(hostIP, 4000), 4720, words, 1000) {
		s.see(uplinkOut, d)
	}
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	if got := s.ends(); len(got) != 2 || got[0] != "left by tap" || got[1] != "vanished by tap" || s.journeys[0].Hops[0].Headers.IPID != 4720 {
		t.Errorf("%q", got)
	}
}

// Where they have no identification their order is left.
func TestDatagramsCutWithoutAnIdentification(t *testing.T) {
	s := newStage(t)
	s.masqueradedUDP()
	words := strings.Repeat("natlens ", 350)
	for _, where := range []at{backOut, vethIn, bridgeIn} {
		s.see(where, udp(t, port(backIP, 4000), port(internetIP, 443), 0, words))
	}
	for i := 0; i < len(words); i += 1400 {
		s.see(uplinkOut, udp(t, port(hostIP, 4000), port(internetIP, 443), 0, words[i:min(i+1400, len(words))]))
	}
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	if len(s.journeys) != 1 || pieces(s.journeys[0]) != "all all all 0/2@0 1/2@1400" {
		t.Errorf("%d journeys: %s", len(s.journeys), pieces(s.journeys[0]))
	}
}

func TestDatagramsMergedOnTheWay(t *testing.T) {
	s := newStage(t)
	s.masqueradedUDP()
	words := strings.Repeat("natlens ", 350)
	for _, d := range datagrams(t, port(backIP, 4000), 4711, words, 1000) {
		s.see(backOut, d)
		s.see(vethIn, d)
	}
	s.see(bridgeIn, udp(t, port(backIP, 4000), port(internetIP, 443), 4711, words))
	s.see(uplinkOut, udp(t, port(hostIP, 4000), port(internetIP, 443), 4711, words))
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	if len(s.journeys) != 3 {
		t.Fatalf("%d journeys, want 3: %s", len(s.journeys), s.verdicts())
	}
	for _, j := range s.journeys {
		if path(j) != outPath || j.Verdict.Result != Left {
			t.Errorf("%s, %+v", path(j), j.Verdict)
		}
	}
}
