package trace

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// newForeignStage is one on which packets are all that is known.
func newForeignStage(t *testing.T) *stage {
	s := &stage{t: t, now: 1_000_000_000_000}
	s.c = New(1024, Sink{Journey: func(j *Journey) { s.journeys = append(s.journeys, j) }})
	s.c.ReadForeign()
	return s
}

// A packet of an inferred flow that nobody saw before its translation may have been
// sent as it is: by the host, which knows no connection any more and refuses it.
func TestNoTranslationIsInferredBeforeTheFirstTap(t *testing.T) {
	for name, sent := range map[string]at{"by who translates": vethOut, "by another": backOut} {
		s := newForeignStage(t)
		s.see(uplinkIn, udp(t, port(internetIP, 40000), port(hostIP, 53), 1, "question"))
		s.see(vethOut, udp(t, port(internetIP, 40000), port(backIP, 53), 1, "question"))
		s.pass(4 * time.Second)
		s.see(sent, udp(t, port(internetIP, 40000), port(backIP, 53), 2, "again"))
		s.pass(4 * time.Second)
		s.pass(4 * time.Second)
		if len(s.journeys) != 2 || len(s.journeys[0].Translations) != 1 {
			t.Fatalf("%s: %d journeys, want 2, the first translated", name, len(s.journeys))
		}
		if got := s.journeys[1].Translations; len(got) != 0 {
			t.Errorf("sent %s: translations %+v, want none", name, got)
		}
	}
}

// What two containers send alike is one packet only if a router was between them.
func TestWhatIsSentTwiceInAFileStaysApart(t *testing.T) {
	sent := func(from netip.Addr, ttl uint8) []byte {
		return frame(t, from, internetIP, 0, ttl, &layers.UDP{SrcPort: 5, DstPort: 53}, gopacket.Payload("alike"))
	}
	for name, c := range map[string]struct {
		second at
		from   netip.Addr
		ttl    uint8
		want   int
	}{
		"by two containers": {baseOut, baseIP, 64, 2},
		"by who passed on":  {uplinkOut, hostIP, 63, 1},
	} {
		s := newForeignStage(t)
		s.see(backOut, sent(backIP, 64))
		s.see(c.second, sent(c.from, c.ttl))
		s.pass(4 * time.Second)
		s.pass(4 * time.Second)
		if len(s.journeys) != c.want {
			t.Errorf("%s: %d journeys, want %d", name, len(s.journeys), c.want)
		}
	}
}

// A port is given to another container once its first flow has been silent: the packets
// are that one's then, whatever was inferred before.
func TestPortGivenToAnotherContainer(t *testing.T) {
	for silence, want := range map[time.Duration]int{35 * time.Second: 2, 5 * time.Second: 3} {
		s := newForeignStage(t)
		for i, c := range []struct {
			in at
			ip netip.Addr
		}{{vethIn, backIP}, {baseVIn, baseIP}} {
			id := uint16(10 + i)
			s.see(c.in, udp(t, port(c.ip, 40000), port(internetIP, 53), id, "a question"))
			s.see(uplinkOut, udp(t, port(hostIP, 40000), port(internetIP, 53), id, "a question"))
			s.pass(silence)
		}
		s.pass(4 * time.Second)
		if len(s.journeys) != want {
			t.Errorf("after %v: %d journeys, want %d", silence, len(s.journeys), want)
		}
		if last := s.journeys[len(s.journeys)-1]; want == 2 && (len(last.Translations) != 1 || last.Translations[0].Before.Source() != baseIP) {
			t.Errorf("the second: %s", changes(last))
		}
	}
}
