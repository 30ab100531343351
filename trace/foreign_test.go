package trace

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
)

// What one place does to a flow's packets, another need not have done to the same
// addresses before it sent them.
func TestInferredFlowIsOfItsPlace(t *testing.T) {
	for _, c := range []struct {
		name string
		sent at
		want int
	}{
		{"by who translates", vethOut, 1},
		{"by another", backOut, 0},
	} {
		s := newStage(t)
		s.c.ReadForeign()
		s.see(uplinkIn, udp(t, port(internetIP, 40000), port(hostIP, 53), 1, "question"))
		s.see(vethOut, udp(t, port(internetIP, 40000), port(backIP, 53), 1, "question"))
		s.pass(4 * time.Second)
		s.see(c.sent, udp(t, port(internetIP, 40000), port(backIP, 53), 2, "again"))
		s.pass(4 * time.Second)
		s.pass(4 * time.Second)
		if len(s.journeys) != 2 || len(s.journeys[0].Translations) != 1 {
			t.Fatalf("%s: %d journeys, want 2, the first translated", c.name, len(s.journeys))
		}
		if got := s.journeys[1].Translations; len(got) != c.want {
			t.Errorf("sent %s: translations %+v, want %d", c.name, got, c.want)
		}
	}
}

// A hairpin changes both addresses at once. Only what no other packet can have joins
// the two.
func TestHairpinsAreInferredWhereNothingElseFits(t *testing.T) {
	const client = 40000
	asked := [2]netip.AddrPort{port(backIP, client), port(hostIP, 8000)}
	for name, c := range map[string]struct {
		before, after [2]netip.AddrPort
		tcp           bool
		ids           [2]uint16
		journeys      int
	}{
		"a segment":          {asked, [2]netip.AddrPort{port(gatewayIP, client), port(baseIP, 80)}, true, [2]uint16{1, 1}, 1},
		"to itself":          {asked, [2]netip.AddrPort{port(gatewayIP, client), port(backIP, 80)}, true, [2]uint16{1, 1}, 1},
		"a datagram":         {asked, [2]netip.AddrPort{port(gatewayIP, client), port(baseIP, 80)}, false, [2]uint16{1, 1}, 1},
		"a proxy's datagram": {asked, [2]netip.AddrPort{port(gatewayIP, client+1), port(baseIP, 80)}, false, [2]uint16{1, 1}, 2},
		"no identification":  {asked, [2]netip.AddrPort{port(gatewayIP, client), port(baseIP, 80)}, false, [2]uint16{0, 0}, 2},
		"another datagram":   {asked, [2]netip.AddrPort{port(gatewayIP, client), port(baseIP, 80)}, false, [2]uint16{1, 2}, 2},
		"an echo": {
			[2]netip.AddrPort{port(backIP, 123), port(hostIP, 123)}, [2]netip.AddrPort{port(hostIP, 123), port(backIP, 123)}, false, [2]uint16{1, 1}, 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.c.ReadForeign()
			for i, way := range [][2]netip.AddrPort{c.before, c.after} {
				p := udp(t, way[0], way[1], c.ids[i], "payload")
				if c.tcp {
					p = frame(t, way[0].Addr(), way[1].Addr(), c.ids[i], 64, &layers.TCP{
						SrcPort: layers.TCPPort(way[0].Port()), DstPort: layers.TCPPort(way[1].Port()), Seq: 7, Ack: 9, ACK: true, Window: 1000,
					})
				}
				s.see([]at{vethIn, vethOut}[i], p)
			}
			s.pass(4 * time.Second)
			s.pass(4 * time.Second)
			if len(s.journeys) != c.journeys {
				t.Fatalf("%d journeys, want %d", len(s.journeys), c.journeys)
			}
			if c.journeys > 1 {
				return
			}
			tr := s.journeys[0].Translations
			if len(tr) != 2 || tr[0].Kind != DNAT || tr[1].Kind != SNAT || tr[0].Evidence != ByInference || tr[1].Evidence != ByInference {
				t.Errorf("translations %+v", tr)
			}
		})
	}
}
