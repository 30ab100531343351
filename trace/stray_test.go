package trace

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

func TestAnswerFromTheWrongAddress(t *testing.T) {
	other := netip.MustParseAddr("192.0.2.1")
	flow := netfilter.Flow{ID: 9, Original: packet.NewTuple(packet.UDP, backIP, internetIP, 4000, 53), Reply: packet.NewTuple(packet.UDP, internetIP, hostIP, 53, 4000)}
	for _, c := range []struct {
		name   string
		source netip.AddrPort
		died   bool
		want   bool
	}{
		{"another address of the server", port(other, 53), false, true},
		{"another port", port(other, 54), false, false},
		{"the flow is over", port(other, 53), true, false},
		{"the address that was asked", port(internetIP, 53), false, false},
	} {
		s := newStage(t)
		s.flow(netfilter.New, flow)
		ask := udp(t, port(backIP, 4000), port(internetIP, 53), 1, "question")
		for _, where := range []at{backOut, vethIn, bridgeIn} {
			s.see(where, ask)
		}
		s.see(uplinkOut, udp(t, port(hostIP, 4000), port(internetIP, 53), 1, "question"))
		s.pass(50 * time.Millisecond)
		if c.died {
			s.flow(netfilter.Destroy, flow)
		}
		s.pass(50 * time.Millisecond)
		s.see(uplinkIn, udp(t, c.source, port(hostIP, 4000), 2, "answer"))
		s.pass(4 * time.Second)
		s.pass(4 * time.Second)
		if len(s.journeys) != 2 {
			t.Fatalf("%s: %d journeys, want 2", c.name, len(s.journeys))
		}
		notes := strings.Join(s.journeys[1].Notes, "; ")
		if got := strings.Contains(notes, "looks like an answer to #1, which asked 198.51.100.7: it comes from 192.0.2.1"); got != c.want {
			t.Errorf("%s: notes %q", c.name, notes)
		}
	}
}

// What has a translated flow of its own is no stray, whatever it looks like.
func TestTranslatedIsNoStray(t *testing.T) {
	other := netip.MustParseAddr("192.0.2.1")
	own := packet.NewTuple(packet.UDP, other, hostIP, 53, 4000)
	for _, to := range []netip.Addr{hostIP, netip.MustParseAddr("172.17.0.1")} {
		s := newStage(t)
		s.flow(netfilter.New, netfilter.Flow{ID: 9, Original: packet.NewTuple(packet.UDP, backIP, internetIP, 4000, 53), Reply: packet.NewTuple(packet.UDP, internetIP, hostIP, 53, 4000)})
		s.see(uplinkIn, udp(t, port(other, 53), port(hostIP, 4000), 2, "question"))
		s.flow(netfilter.New, netfilter.Flow{ID: 10, Original: own, Reply: packet.NewTuple(packet.UDP, to, other, 4000, 53)})
		s.pass(8 * time.Second)
		if notes := strings.Join(s.journeys[0].Notes, "; "); strings.Contains(notes, "looks like an answer") != (to == hostIP) {
			t.Errorf("to %v: notes %q", to, notes)
		}
	}
}
