package netfilter

import (
	"net/netip"
	"testing"

	"natlens/capture/packet"
)

func TestWhichNATAFlowHas(t *testing.T) {
	tuple := func(p packet.Protocol, from, to string, a, b uint16) packet.Tuple {
		return packet.NewTuple(p, netip.MustParseAddr(from), netip.MustParseAddr(to), a, b)
	}
	const in, up, out, other = "10.9.0.2", "192.0.2.10", "192.0.2.1", "10.9.0.3"
	for _, test := range []struct {
		name            string
		original, reply packet.Tuple
		snat, dnat      bool
	}{
		{"plain", tuple(packet.TCP, in, out, 4000, 80), tuple(packet.TCP, out, in, 80, 4000), false, false},
		{"masquerade", tuple(packet.TCP, in, out, 4000, 80), tuple(packet.TCP, out, up, 80, 4000), true, false},
		{"masquerade, port too", tuple(packet.UDP, in, out, 4000, 53), tuple(packet.UDP, out, up, 53, 4001), true, false},
		{"port of the source alone", tuple(packet.UDP, up, out, 4000, 53), tuple(packet.UDP, out, up, 53, 4001), true, false},
		{"dnat", tuple(packet.TCP, out, up, 4000, 8000), tuple(packet.TCP, in, out, 8000, 4000), false, true},
		{"dnat, port too", tuple(packet.TCP, out, up, 4000, 8000), tuple(packet.TCP, in, out, 80, 4000), false, true},
		{"redirect to another port", tuple(packet.TCP, out, up, 4000, 8000), tuple(packet.TCP, up, out, 80, 4000), false, true},
		{"both", tuple(packet.TCP, other, up, 4000, 8000), tuple(packet.TCP, in, "10.9.0.1", 80, 4001), true, true},
		{"hairpin to itself", tuple(packet.TCP, in, up, 4000, 8000), tuple(packet.TCP, in, "10.9.0.1", 8000, 4000), true, true},
		{"ping", tuple(packet.ICMP, in, out, 77, 8<<8), tuple(packet.ICMP, out, in, 77, 0), false, false},
		{"ping, masquerade", tuple(packet.ICMP, in, out, 77, 8<<8), tuple(packet.ICMP, out, up, 77, 0), true, false},
		{"ping, id alone", tuple(packet.ICMP, up, out, 77, 8<<8), tuple(packet.ICMP, out, up, 78, 0), true, false},
		{"ping, dnat", tuple(packet.ICMP, out, up, 77, 8<<8), tuple(packet.ICMP, in, out, 77, 0), false, true},
		{"ping6, masquerade and id", tuple(packet.ICMPv6, "fd09::2", "fd02::1", 77, 128<<8), tuple(packet.ICMPv6, "fd02::1", "fd02::10", 78, 129<<8), true, false},
		{"ping6", tuple(packet.ICMPv6, "fd09::2", "fd02::1", 77, 128<<8), tuple(packet.ICMPv6, "fd02::1", "fd09::2", 77, 129<<8), false, false},
		{"sctp, dnat of the port", tuple(132, out, up, 4000, 8000), tuple(132, up, out, 80, 4000), false, true},
		{"gre", tuple(47, in, out, 0, 0), tuple(47, out, up, 0, 0), true, false},
	} {
		f := Flow{Original: test.original, Reply: test.reply}
		if f.SourceNAT() != test.snat || f.DestinationNAT() != test.dnat {
			t.Errorf("%s: source %v, destination %v; want %v, %v", test.name, f.SourceNAT(), f.DestinationNAT(), test.snat, test.dnat)
		}
	}
}
