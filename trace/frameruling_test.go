package trace

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// switched is the world with the MAC addresses that a bridge goes by: what frame sends
// is for database.
func switched() *netinfo.Topology {
	t := world()
	t.Namespace(hostNS).Links[2].MAC = "02:00:00:00:00:fe"
	t.Namespace(baseNS).Links[0].MAC = "02:00:00:00:00:02"
	return t
}

// Where nothing is tracked, nothing is translated: what a rule of forward drops on its way
// across a bridge is known by the addresses with which it came.
func TestUntrackedFrameDroppedAcrossABridge(t *testing.T) {
	echo6 := frame6(t, backIP6, netip.MustParseAddr("fd00:1::3"), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)},
		gopacket.Payload("\x00\x01\x00\x01 the id, the number and some data"))
	for _, c := range []struct {
		name     string
		frame    []byte
		protocol packet.Protocol
		tracked  bool // IPv4 is, without an entry for this one
	}{
		{"IPv4", ping(t, backIP, baseIP, 1, 1, false), packet.ICMP, false},
		{"IPv4, tracked", ping(t, backIP, baseIP, 1, 1, false), packet.ICMP, true},
		{"IPv6", echo6, packet.ICMPv6, false},
		{"IPv6 beside IPv4 that is tracked", echo6, packet.ICMPv6, true},
	} {
		s := newStage(t)
		if c.tracked {
			s = newDropStage(t)
		}
		s.c.SetTopology(switched().Seal())
		s.c.SetRuleset(oneRule(t, hostNS, netfilter.Forward, c.protocol, netfilter.Dropped))
		s.see(backOut, c.frame)
		s.see(vethIn, c.frame)
		s.pass(4 * time.Second)
		if v := sole(t, s).Verdict; v.Result != Dropped || v.By != "FORWARD #1" || v.Evidence != ByRules || v.Hook != netfilter.Forward {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}
