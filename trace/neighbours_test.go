package trace

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// arpFrame is a question who has an address, or the answer.
func arpFrame(t *testing.T, operation uint16, source, destination netip.Addr) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true},
		&layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{255, 255, 255, 255, 255, 255}, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: operation,
			SourceHwAddress: []byte{2, 0, 0, 0, 0, 1}, SourceProtAddress: source.AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: destination.AsSlice()}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Which way a question passed is told with it; a file need not know that.
func TestAddressResolutionIsToldWithItsType(t *testing.T) {
	s := newStage(t)
	var seen []ARP
	s.c.sink.ARP = func(a ARP) { seen = append(seen, a) }
	ask := arpFrame(t, arpRequest, gatewayIP, baseIP)
	s.see(bridgeOut, ask)
	s.see(at{hostNS, bridge, capture.UnknownType}, ask)
	s.pass(time.Second)
	if len(seen) != 2 || seen[0].Type != capture.Outgoing || seen[0].Point.Direction != capture.Out || seen[1].Type != capture.UnknownType {
		t.Errorf("told of %+v", seen)
	}
}

// Who has an address is what the message says: a capture of all links has no frames to
// tell a MAC address, and who answers for another has its own in the frame.
func TestTheMACAddressThatAMessageTells(t *testing.T) {
	answer := arpFrame(t, 2, gatewayIP, baseIP)
	answer[6] = 0x0a // the frame is from another station
	advertise := func(options ...byte) []byte {
		b := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true},
			&layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv6},
			&layers.IPv6{Version: 6, NextHeader: layers.IPProtocolICMPv6, HopLimit: 255, SrcIP: net.ParseIP("fd00::1"), DstIP: net.ParseIP("fd00::2")},
			gopacket.Payload(slices.Concat([]byte{neighbourAdvertisement, 0, 0, 0, 0x60, 0, 0, 0}, net.ParseIP("fd00::1"), options))); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for _, tt := range []struct {
		what string
		data []byte
		link packet.LinkType
		want [6]byte
	}{
		{"ARP", answer, packet.Ethernet, [6]byte{2, 0, 0, 0, 0, 1}},
		{"ARP of all links", slices.Concat(make([]byte, 14), []byte{8, 6}, answer[14:]), packet.SLL, [6]byte{2, 0, 0, 0, 0, 1}},
		{"ARP, cut", answer[:24], packet.Ethernet, [6]byte{}},
		{"advertisement", advertise(14, 1, 0, 0, 0, 0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 7), packet.Ethernet, [6]byte{2, 0, 0, 0, 0, 7}},
		{"advertisement whose option is cut", advertise(2, 1, 2), packet.Ethernet, [6]byte{2, 0, 0, 0, 0, 9}},
		{"advertisement with an option that is no longer than none", advertise(2, 0, 2, 0, 0, 0, 0, 7), packet.Ethernet, [6]byte{2, 0, 0, 0, 0, 9}},
		{"advertisement of all links that tells none", slices.Concat(make([]byte, 14), []byte{0x86, 0xdd}, advertise()[14:]), packet.SLL, [6]byte{}},
	} {
		o := capture.Observation{Data: tt.data}
		o.Headers.Parse(tt.link, tt.data, uint32(len(tt.data)))
		if got := hardwareOf(&o); got != tt.want {
			t.Errorf("%s tells %x, want %x", tt.what, got, tt.want)
		}
	}
}

// A packet of a flow that the rules let pass, and that no tap saw again, could not be
// sent on where nobody answered who has its next hop.
func TestNobodyAnswersForTheNextHop(t *testing.T) {
	silent := netip.MustParseAddr("172.17.0.99")
	topology := world()
	topology.Namespace(hostNS).Routes = []netinfo.Route{
		{Destination: netip.MustParsePrefix("172.17.0.0/16"), Link: bridge},
		{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1"), Link: uplink},
	}
	const none = "the rules let its flow pass"
	for _, c := range []struct {
		name   string
		play   func(s *stage)
		result Result
		reason string
	}{
		{"nobody answers", func(s *stage) {
			for range 3 {
				s.see(bridgeOut, arpFrame(t, arpRequest, gatewayIP, silent))
				s.see(vethOut, arpFrame(t, arpRequest, gatewayIP, silent)) // passed on, not asked
				s.pass(time.Second)
			}
		}, Dropped, "docker0 asked 3 times who has 172.17.0.99, and nobody answered"},
		{"somebody answers", func(s *stage) {
			s.see(bridgeOut, arpFrame(t, arpRequest, gatewayIP, silent))
			s.see(bridgeIn, arpFrame(t, 2, silent, gatewayIP))
		}, Vanished, none},
		{"another is asked for", func(s *stage) { s.see(bridgeOut, arpFrame(t, arpRequest, gatewayIP, baseIP)) }, Vanished, none},
		{"nobody is asked", func(s *stage) {}, Vanished, none},
	} {
		s := newStage(t)
		s.c.SetTopology(topology.Seal())
		before := packet.NewTuple(packet.UDP, internetIP, silent, 4000, 8000)
		s.see(uplinkIn, udp(t, port(internetIP, 4000), port(silent, 8000), 3, "hello"))
		s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: before, Reply: before.Inverse()})
		c.play(s)
		s.pass(4 * time.Second)
		v := sole(t, s).Verdict
		if v.Result != c.result || len(v.Reason) < len(c.reason) || v.Reason[:len(c.reason)] != c.reason {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}
