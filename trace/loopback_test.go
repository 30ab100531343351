package trace

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// The host asks a published port by ::1. What the container answers gets ::1 as its
// destination again where it comes in, and goes nowhere.
func TestAnswerToLoopbackOfIPv6(t *testing.T) {
	loop, gateway := netip.IPv6Loopback(), netip.MustParseAddr("fd00:1::1")
	for name, points := range map[string][]at{"translated on the bridge": {backOut, vethIn}, "translated behind it": {backOut, vethIn, bridgeIn}} {
		s := newStage6(t)
		s.flow(netfilter.Known, netfilter.Flow{ID: 9,
			Original: packet.NewTuple(packet.UDP, loop, loop, 5000, 5353),
			Reply:    packet.NewTuple(packet.UDP, backIP6, gateway, 53, 5000)})
		answer := udp6(t, port(backIP6, 53), port(gateway, 5000), "answer")
		for _, where := range points {
			s.see(where, answer)
		}
		s.pass(4 * time.Second)
		s.pass(4 * time.Second)
		if v := sole(t, s).Verdict; v.Result != Dropped || v.Evidence != ByRules || !strings.Contains(v.Reason, "becomes ::1 again") || v.Hop != len(points)-1 {
			t.Errorf("%s: %+v", name, v)
		}
	}
}
