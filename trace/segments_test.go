package trace

import (
	"fmt"
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

// numbered is a text of so many bytes, no two parts of which are alike.
func numbered(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d,", i)
	}
	return b.String()[:n]
}

// One packet that every link takes may hold several datagrams, too.
func TestSmallDatagramsCutFromOnePacket(t *testing.T) {
	s := newStage(t)
	s.masqueradedUDP()
	words := []string{numbered(1100), strings.ToUpper(strings.ReplaceAll(numbered(1100), ",", ":"))}
	for i, id := range []uint16{4711, 4720} { // two of them at once
		for _, where := range []at{backOut, vethIn, bridgeIn} {
			s.see(where, udp(t, port(backIP, 4000), port(internetIP, 443), id, words[i]))
		}
	}
	for i, id := range []uint16{4711, 4720} {
		for _, d := range datagrams(t, port(hostIP, 4000), id, words[i], 400) {
			s.see(uplinkOut, d)
		}
	}
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	if len(s.journeys) != 2 {
		t.Fatalf("%d journeys, want 2: %s", len(s.journeys), s.verdicts())
	}
	for i, j := range s.journeys {
		if got, want := pieces(j), "all all all 0/3@0 1/3@400 2/3@800"; got != want {
			t.Errorf("pieces %s, want %s", got, want)
		}
		if j.Verdict.Result != Left || j.Hops[3].Headers.IPID != []uint16{4711, 4720}[i] {
			t.Errorf("%+v, %s", j.Verdict, changes(j))
		}
	}
}

// IPv6 has no identification: bytes and order are left.
func TestSmallDatagramsOfIPv6CutFromOnePacket(t *testing.T) {
	s := newStage6(t)
	s.masquerade66(9, 4000, 443)
	words := []string{numbered(1100), strings.ReplaceAll(numbered(1100), ",", ":")}
	for _, w := range words {
		for _, where := range []at{backOut, vethIn, bridgeIn} {
			s.see(where, udp6(t, port(backIP6, 4000), port(internetIP6, 443), w))
		}
	}
	for _, w := range []string{words[1], words[0]} { // not in their order
		for i := 0; i < len(w); i += 400 {
			s.see(uplinkOut, udp6(t, port(hostIP6, 4000), port(internetIP6, 443), w[i:min(i+400, len(w))]))
		}
	}
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	if len(s.journeys) != 2 {
		t.Fatalf("%d journeys, want 2: %s", len(s.journeys), s.verdicts())
	}
	for _, j := range s.journeys {
		if got, want := pieces(j), "all all all 0/3@0 1/3@400 2/3@800"; got != want {
			t.Errorf("pieces %s, want %s", got, want)
		}
	}
}

// A datagram that is only shorter, and whose first sightings were lost, is not taken
// for a part of another one.
func TestShorterDatagramIsNoPart(t *testing.T) {
	s := newStage(t)
	s.masqueradedUDP()
	for _, where := range []at{backOut, vethIn, bridgeIn} {
		s.see(where, udp(t, port(backIP, 4000), port(internetIP, 443), 4711, numbered(1100)))
	}
	s.see(uplinkOut, udp(t, port(hostIP, 4000), port(internetIP, 443), 4711, strings.Repeat("x", 400)))
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	if len(s.journeys) != 2 {
		t.Errorf("%d journeys, want 2: %s", len(s.journeys), s.verdicts())
	}
}

func TestSmallDatagramsMergedOnTheWay(t *testing.T) {
	s := newStage(t)
	s.masqueradedUDP()
	words := numbered(1100)
	for _, d := range datagrams(t, port(backIP, 4000), 4711, words, 400) {
		s.see(backOut, d)
	}
	for _, where := range []at{vethIn, bridgeIn} {
		s.see(where, udp(t, port(backIP, 4000), port(internetIP, 443), 4711, words))
	}
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

// Nor is a longer one with other words taken for all of them.
func TestLongerDatagramIsNotMerged(t *testing.T) {
	s := newStage(t)
	s.masqueradedUDP()
	for _, d := range datagrams(t, port(backIP, 4000), 4711, numbered(1100), 400) {
		s.see(backOut, d)
	}
	s.see(vethIn, udp(t, port(backIP, 4000), port(internetIP, 443), 4711, strings.Repeat("x", 1100)))
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	if len(s.journeys) != 4 {
		t.Errorf("%d journeys, want 4: %s", len(s.journeys), s.verdicts())
	}
}

// Where packets are all that is known, the words that a packet begins with tell which
// datagram is the first that was cut from it.
func TestDatagramsCutOfAnUnknownFlow(t *testing.T) {
	for name, c := range map[string]struct {
		id           uint16
		inside       string // what the container sends, if not what the uplink shows
		both, joined bool
	}{
		"numbered":             {4711, "", false, true},
		"without a number":     {0, "", false, true},
		"other words":          {4711, strings.Repeat("another ", 350), false, false},
		"of either of two":     {4711, "", true, false},
		"fewer than a link is": {4711, "", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newForeignStage(t)
			size := 2800
			if strings.HasPrefix(name, "fewer") {
				size = 1200
			}
			words := numbered(size)
			inside := words
			if c.inside != "" {
				inside = c.inside
			}
			for _, where := range []at{backOut, vethIn, bridgeIn} {
				s.see(where, udp(t, port(backIP, 4000), port(internetIP, 443), c.id, inside))
				if c.both && where == vethIn {
					s.see(baseVIn, udp(t, port(baseIP, 4000), port(internetIP, 443), c.id, inside))
				}
			}
			step := uint16(1)
			if c.id == 0 {
				step = 0
			}
			for i := range 3 {
				each := (size + 2) / 3
				s.see(uplinkOut, udp(t, port(hostIP, 4000), port(internetIP, 443), c.id+uint16(i)*step, words[i*each:min((i+1)*each, size)]))
			}
			s.pass(50 * time.Millisecond)
			s.pass(4 * time.Second)
			s.pass(4 * time.Second)
			hops := len(s.journeys[0].Hops)
			switch {
			case c.joined && (len(s.journeys) != 1 || hops != 6 || len(s.journeys[0].Translations) != 1):
				t.Errorf("%d journeys, the first with %d hops: %s", len(s.journeys), hops, changes(s.journeys[0]))
			case !c.joined && hops != 3:
				t.Errorf("a datagram was guessed to be of %s", path(s.journeys[0]))
			}
		})
	}
}

func TestSmallDatagramsMergedInAFile(t *testing.T) {
	s := newForeignStage(t)
	words := numbered(900)
	for i := range uint16(3) {
		s.see(backOut, udp(t, port(backIP, 4000), port(internetIP, 443), 4711+i, words[300*i:300*(i+1)]))
	}
	s.see(vethIn, udp(t, port(backIP, 4000), port(internetIP, 443), 4711, words))
	s.pass(4 * time.Second)
	s.pass(4 * time.Second)
	if len(s.journeys) != 3 {
		t.Fatalf("%d journeys, want 3: %s", len(s.journeys), s.verdicts())
	}
	for _, j := range s.journeys {
		if len(j.Hops) != 2 || j.Hops[1].MergedWith != 2 {
			t.Errorf("%s, merged with %d", path(j), j.Hops[len(j.Hops)-1].MergedWith)
		}
	}
}
