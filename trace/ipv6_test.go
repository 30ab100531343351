package trace

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

var (
	backIP6     = netip.MustParseAddr("fd00:1::2")
	hostIP6     = netip.MustParseAddr("2001:db8::10")
	internetIP6 = netip.MustParseAddr("2001:db8::1")
)

// newStage6 is a stage whose host and first container have IPv6 addresses, too.
func newStage6(t *testing.T) *stage {
	s := newStage(t)
	w := world()
	give := func(ns *netinfo.Namespace, index int32, a netip.Addr) {
		for _, l := range ns.Links {
			if l.Key.Index == index {
				l.Addresses = append(l.Addresses, netip.PrefixFrom(a, 64))
			}
		}
	}
	give(w.Namespace(hostNS), uplink, hostIP6)
	give(w.Namespace(backNS), eth0, backIP6)
	s.c.SetTopology(w.Seal())
	return s
}

// frame6 serialises layers behind an Ethernet and an IPv6 header.
func frame6(t *testing.T, source, destination netip.Addr, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	ip := &layers.IPv6{Version: 6, HopLimit: 64, SrcIP: source.AsSlice(), DstIP: destination.AsSlice()}
	for _, l := range ls {
		switch l := l.(type) {
		case *layers.UDP:
			ip.NextHeader = layers.IPProtocolUDP
			if err := l.SetNetworkLayerForChecksum(ip); err != nil {
				t.Fatal(err)
			}
		case *layers.ICMPv6:
			ip.NextHeader = layers.IPProtocolICMPv6
			if err := l.SetNetworkLayerForChecksum(ip); err != nil {
				t.Fatal(err)
			}
		case *layers.TCP:
			ip.NextHeader = layers.IPProtocolTCP
			if err := l.SetNetworkLayerForChecksum(ip); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := append([]gopacket.SerializableLayer{&layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2},
		EthernetType: layers.EthernetTypeIPv6}, ip}, ls...)
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// extended puts a header of 8 bytes behind the IPv6 header (RFC 8200, section 4).
func extended(frame []byte, kind byte, header [8]byte) []byte {
	const ethernet, ip = 14, 40
	header[0] = frame[ethernet+6]
	f := append(append(append([]byte{}, frame[:ethernet+ip]...), header[:]...), frame[ethernet+ip:]...)
	f[ethernet+6] = kind
	binary.BigEndian.PutUint16(f[ethernet+4:], uint16(len(f)-ethernet-ip))
	return f
}

// cut6 makes the fragments with this identification (RFC 8200, section 4.5).
func cut6(frame []byte, id uint32, size int) (fragments [][]byte) {
	const ethernet, ip, kind = 14, 40, 44
	data := frame[ethernet+ip:]
	for offset := 0; offset < len(data); offset += size {
		end := min(offset+size, len(data))
		var header [8]byte
		place := uint16(offset)
		if end < len(data) {
			place |= 1
		}
		binary.BigEndian.PutUint16(header[2:], place)
		binary.BigEndian.PutUint32(header[4:], id)
		piece := append(append([]byte{}, frame[:ethernet+ip]...), data[offset:end]...)
		fragments = append(fragments, extended(piece, kind, header))
	}
	return fragments
}

func udp6(t *testing.T, source, destination netip.AddrPort, payload string) []byte {
	return frame6(t, source.Addr(), destination.Addr(),
		&layers.UDP{SrcPort: layers.UDPPort(source.Port()), DstPort: layers.UDPPort(destination.Port())}, gopacket.Payload(payload))
}

// masquerade66 tells of a flow from the container whose source becomes the
// host's.
func (s *stage) masquerade66(id uint32, from, to uint16) {
	s.flow(netfilter.Known, netfilter.Flow{ID: id,
		Original: packet.NewTuple(packet.UDP, backIP6, internetIP6, from, to),
		Reply:    packet.NewTuple(packet.UDP, internetIP6, hostIP6, to, from)})
}

// A router that tracks connections reassembles, translates and fragments again:
// with another identification, and where the next link is smaller at other
// places.
func TestIPv6FragmentsWithAnotherIdentification(t *testing.T) {
	for name, sizes := range map[string][2]int{"cut alike": {1448, 1448}, "cut otherwise": {1448, 1232}} {
		t.Run(name, func(t *testing.T) {
			s := newStage6(t)
			s.masquerade66(9, 5, 80)
			inner := udp6(t, port(backIP6, 5), port(internetIP6, 80), strings.Repeat("natlens ", 400))
			outer := udp6(t, port(hostIP6, 5), port(internetIP6, 80), strings.Repeat("natlens ", 400))
			for _, f := range cut6(inner, 0xaaaa, sizes[0]) {
				s.see(backOut, f)
				s.see(vethIn, f)
			}
			s.see(bridgeIn, inner)
			for _, f := range cut6(outer, 0xbbbb, sizes[1]) {
				s.see(uplinkOut, f)
			}
			s.pass(50 * time.Millisecond)
			s.pass(50 * time.Millisecond)
			if len(s.journeys) != 1 {
				for _, j := range s.journeys {
					t.Logf("%s: %s", path(j), pieces(j))
				}
				t.Fatalf("%d journeys, want 1", len(s.journeys))
			}
			j := s.journeys[0]
			if j.Verdict.Result != Left || j.From.Name != "back" || len(j.Translations) != 1 || j.Translations[0].ConntrackID != 9 {
				t.Errorf("%s: %+v %+v", path(j), j.Verdict, j.Translations)
			}
			if got, want := len(j.Hops), 3*2+1+3; got != want {
				t.Errorf("%d hops, want %d: %s", got, want, path(j))
			}
		})
	}
}

// With two datagrams of one flow under way, cut otherwise on the other side, the words
// that they begin with tell which a piece is of. Where these are the same, no piece is
// guessed to be of one of them.
func TestIPv6FragmentsOfTwoDatagramsAreNotGuessed(t *testing.T) {
	for name, c := range map[string]struct {
		first string
		told  bool
	}{"other words": {"a datagr", true}, "the same": {"another ", false}} {
		t.Run(name, func(t *testing.T) { twoOfOneFlow(t, c.first, c.told) })
	}
}

func twoOfOneFlow(t *testing.T, first string, told bool) {
	s := newStage6(t)
	s.masquerade66(9, 5, 80)
	a := udp6(t, port(backIP6, 5), port(internetIP6, 80), strings.Repeat(first, 400))
	b := udp6(t, port(backIP6, 5), port(internetIP6, 80), strings.Repeat("another ", 400))
	var began int64
	for i, inner := range [][]byte{a, b} {
		began = s.now + 1000
		for _, f := range cut6(inner, 0xaaaa+uint32(i), 1448) {
			s.see(backOut, f)
			s.see(vethIn, f)
		}
		s.see(bridgeIn, inner)
	}
	for _, f := range cut6(udp6(t, port(hostIP6, 5), port(internetIP6, 80), strings.Repeat("another ", 400)), 0xbbbb, 1232) {
		s.see(uplinkOut, f)
	}
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	joined := 0
	for _, j := range s.journeys {
		if j.Hops[0].Point.Namespace != backNS || j.Hops[len(j.Hops)-1].Interface != "eth0" || j.Hops[len(j.Hops)-1].Point.Namespace != hostNS {
			continue
		}
		if joined++; !told || j.Time != began {
			t.Errorf("a piece was guessed to be of %s", path(j))
		}
	}
	if told && joined != 1 {
		t.Errorf("the pieces are of %d journeys, want 1", joined)
	}
}

// Headers between IPv6 and UDP stay what they are through NAT66, both ways.
func TestIPv6ExtensionHeaders(t *testing.T) {
	const hopByHop, routing, destinationOptions = 0, 43, 60
	for name, c := range map[string]struct {
		kind   byte
		header [8]byte
	}{
		"hop-by-hop":                   {hopByHop, [8]byte{2: 1, 3: 4}}, // PadN (RFC 8200, section 4.2)
		"destination options":          {destinationOptions, [8]byte{2: 1, 3: 4}},
		"routing, used up":             {routing, [8]byte{}},
		"routing, with a segment left": {routing, [8]byte{2: 4, 3: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage6(t)
			s.masquerade66(9, 5, 80)
			inner := extended(udp6(t, port(backIP6, 5), port(internetIP6, 80), "hello"), c.kind, c.header)
			outer := extended(udp6(t, port(hostIP6, 5), port(internetIP6, 80), "hello"), c.kind, c.header)
			s.see(backOut, inner)
			s.see(vethIn, inner)
			s.see(bridgeIn, inner)
			s.see(uplinkOut, outer)
			s.see(uplinkIn, extended(udp6(t, port(internetIP6, 80), port(hostIP6, 5), "hi"), c.kind, c.header))
			back := extended(udp6(t, port(internetIP6, 80), port(backIP6, 5), "hi"), c.kind, c.header)
			for _, where := range []at{bridgeOut, vethOut, backIn} {
				s.see(where, back)
			}
			s.pass(50 * time.Millisecond)
			s.pass(50 * time.Millisecond)
			s.expect(want{path: outPath, from: "back", direction: Original, verdict: "left by tap",
				changes: "snat[2 3] udp [fd00:1::2]:5 > [2001:db8::1]:80 => udp [2001:db8::10]:5 > [2001:db8::1]:80 [conntrack 9]"},
				want{path: backPath, to: "back", direction: Reply, verdict: "delivered by tap",
					changes: "undo snat[0 1] udp [2001:db8::1]:80 > [2001:db8::10]:5 => udp [2001:db8::1]:80 > [fd00:1::2]:5 [conntrack 9]"})
		})
	}
}

// The ports that an error quotes can lie beyond what is captured. That there is no
// entry is then not said: it can't be looked for.
func TestIPv6QuotedBeyondWhatIsCaptured(t *testing.T) {
	s := newStage6(t)
	s.masquerade66(9, 5, 80)
	quoted := func(to netip.Addr) []byte {
		f := extended(udp6(t, port(internetIP6, 80), port(to, 5), "an answer"), 43, [8]byte{2: 200, 3: 1})
		return append([]byte{4, 0, 0, 0, 0, 0, 0, 42}, f[14:]...) // parameter problem (RFC 4443, section 3.4)
	}
	problem := func(from netip.Addr) []byte {
		f := frame6(t, from, internetIP6, gopacket.Payload(quoted(from)))
		f[14+6] = 58
		return f
	}
	const captured = 14 + 40 + 8 + 40 + 8
	for _, where := range []at{backOut, vethIn, bridgeIn} {
		s.see(where, problem(backIP6))
	}
	s.see(uplinkOut, problem(hostIP6))
	for i := range s.batch {
		o := &s.batch[i]
		o.Data = o.Data[:captured]
		o.Headers = packet.Headers{}
		o.Headers.Parse(packet.Ethernet, o.Data, o.WireLength)
		o.Fingerprint = packet.Fingerprint(&o.Headers, o.Data)
	}
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	if len(s.journeys) != 1 || path(s.journeys[0]) != outPath {
		t.Fatalf("%d journeys: %s", len(s.journeys), s.verdicts())
	}
	if got, want := s.journeys[0].Notes, "too little captured to find its conntrack entry (-s takes more): hops joined because nothing else fits"; len(got) != 1 || got[0] != want {
		t.Errorf("notes %q, want %q", got, want)
	}
}

// Where rules track IPv4 alone, an IPv6 packet that arrives needs no entry.
func TestIPv6IsNotTrackedBecauseIPv4Is(t *testing.T) {
	s := newStage6(t)
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: echoTuple(backIP, internetIP, 7, false), Reply: echoTuple(internetIP, hostIP, 7, true)})
	s.see(uplinkIn, udp6(t, port(internetIP6, 5), port(hostIP6, 80), "hello"))
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != 1 || s.journeys[0].Verdict.Result != Delivered || s.journeys[0].Verdict.Evidence != ByTap {
		t.Fatalf("%d journeys, want one, delivered", len(s.journeys))
	}
}
