package trace

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// Of a packet that was not seen again, two causes are named, by what is known of the
// place where it was seen last; nothing of it is said to be so.
func TestLikelyCauses(t *testing.T) {
	topology := world()
	host := topology.Namespace(hostNS)
	host.Routes = []netinfo.Route{
		{Destination: netip.MustParsePrefix("172.17.0.0/16"), Link: bridge},
		{Destination: netip.MustParsePrefix("198.51.100.0/24"), Gateway: netip.MustParseAddr("192.0.2.1"), Link: uplink},
	}
	host.Links[1].MTU, host.Links[2].MTU = 1500, 9000
	topology.Namespace(backNS).Links[0].Up = true
	topology.Seal()
	pass := &netfilter.Ruleset{Namespace: hostNS, Time: 1}
	nowhere := netip.MustParseAddr("203.0.113.9")
	datagram := func(to netip.Addr, size int) []byte {
		b := udp(t, port(backIP, 4000), port(to, 8000), 3, strings.Repeat("x", size))
		b[14+6] |= 0x40 // DF
		return b
	}
	for _, c := range []struct {
		name    string
		rules   *netfilter.Ruleset
		tracked bool // and has an entry
		at      at
		frame   []byte
		want    string
	}{
		{"no rules known, nothing tracked", nil, false, bridgeIn, datagram(internetIP, 10),
			"not seen again, and nothing here tracks connections: likely a rule, or host passes nothing on (net.ipv4.ip_forward)"},
		{"rules that pass", pass, false, bridgeIn, datagram(internetIP, 10),
			"not seen again, and nothing here tracks connections: likely host passes nothing on (net.ipv4.ip_forward), or its source is not believed on docker0 (rp_filter)"},
		{"no route", pass, false, bridgeIn, datagram(nowhere, 10),
			"not seen again, and nothing here tracks connections: likely no route to 203.0.113.9 in the main table of host, or host passes nothing on (net.ipv4.ip_forward)"},
		{"too large", pass, false, bridgeIn, datagram(internetIP, 2000),
			"not seen again, and nothing here tracks connections: likely it is too large for eth0 (2028 bytes, MTU 1500) and must not be cut, or host passes nothing on (net.ipv4.ip_forward)"},
		{"several in one", pass, false, bridgeIn, datagram(internetIP, 10_000),
			"not seen again, and nothing here tracks connections: likely host passes nothing on (net.ipv4.ip_forward), or its source is not believed on docker0 (rp_filter)"},
		{"a flow that passes", pass, true, bridgeIn, datagram(internetIP, 10),
			"the rules let its flow pass, yet it was not seen again: likely a queue or traffic control (tc) of eth0, or the MAC address of its next hop, which nobody was seen to ask for"},
		{"out by a cable", pass, false, vethOut, datagram(backIP, 10),
			"never arrived at back: likely the queue of what comes in was full (net.core.netdev_max_backlog), or its end of the link went away just then"},
		{"out by a bridge", pass, false, bridgeOut, datagram(baseIP, 10),
			"never arrived at the other end: likely docker0 has no port that forwards to its MAC address, or a queue of that port was full"},
	} {
		s := newStage(t)
		s.c.SetTopology(topology)
		if c.rules != nil {
			s.c.SetRuleset(c.rules)
		}
		s.see(c.at, c.frame)
		if c.tracked {
			o := s.batch[0].Headers.Tuple
			s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: o, Reply: o.Inverse()})
		}
		s.pass(4 * time.Second)
		if v := sole(t, s).Verdict; v.Result != Vanished || v.Reason != c.want {
			t.Errorf("%s: %s: %s\nwant %s", c.name, v.Result, v.Reason, c.want)
		}
	}
}
