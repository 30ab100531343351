package packet

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// spec says what packet to build; build makes its bytes with gopacket.
type spec struct {
	tags                  int // VLAN tags
	six                   bool
	protocol              layers.IPProtocol
	source, destination   netip.Addr
	sport, dport          uint16
	id                    uint16 // IPv4
	ttl, tos              uint8
	options               int // 32-bit words of IPv4 or TCP options
	seq, ack              uint32
	flags                 uint8
	icmpType, icmpCode    uint8
	icmpID, icmpSeq       uint16
	payload               []byte
	hopByHop, destOptions bool
	padding               int // zeros behind, as a link adds them
}

var serialize = gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}

func (s spec) build(t testing.TB) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, serialize, s.layers()...); err != nil {
		t.Fatalf("serialize %+v: %v", s, err)
	}
	return append(buf.Bytes(), make([]byte, s.padding)...)
}

func (s spec) layers() []gopacket.SerializableLayer {
	etherType := layers.EthernetTypeIPv4
	if s.six {
		etherType = layers.EthernetTypeIPv6
	}
	eth := &layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0x42, 10, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0x42, 10, 0, 0, 2},
		EthernetType: etherType,
	}
	stack := []gopacket.SerializableLayer{eth}
	switch s.tags {
	case 1:
		eth.EthernetType = layers.EthernetTypeDot1Q
	case 2:
		eth.EthernetType = layers.EthernetTypeQinQ
		stack = append(stack, &layers.Dot1Q{VLANIdentifier: 100, Priority: 3, Type: layers.EthernetTypeDot1Q})
	}
	if s.tags > 0 {
		stack = append(stack, &layers.Dot1Q{VLANIdentifier: 7, Type: etherType})
	}
	var network gopacket.NetworkLayer
	if s.six {
		ip := &layers.IPv6{
			Version: 6, TrafficClass: s.tos, HopLimit: s.ttl, FlowLabel: 0x12345,
			SrcIP: s.source.AsSlice(), DstIP: s.destination.AsSlice(), NextHeader: s.protocol,
		}
		stack = append(stack, ip)
		next := &ip.NextHeader
		pad := &layers.IPv6HopByHopOption{OptionType: 1, OptionData: make([]byte, 4)}
		if s.hopByHop {
			h := &layers.IPv6HopByHop{Options: []*layers.IPv6HopByHopOption{pad}}
			h.NextHeader = s.protocol
			*next = layers.IPProtocolIPv6HopByHop
			next = &h.NextHeader
			stack = append(stack, h)
		}
		if s.destOptions {
			d := &layers.IPv6Destination{Options: []*layers.IPv6DestinationOption{{OptionType: 1, OptionData: make([]byte, 4)}}}
			d.NextHeader = s.protocol
			*next = layers.IPProtocolIPv6Destination
			stack = append(stack, d)
		}
		network = ip
	} else {
		ip := &layers.IPv4{
			Version: 4, TOS: s.tos, Id: s.id, TTL: s.ttl, Protocol: s.protocol,
			SrcIP: s.source.AsSlice(), DstIP: s.destination.AsSlice(), Flags: layers.IPv4DontFragment,
		}
		if s.options > 0 {
			ip.Options = []layers.IPv4Option{{
				OptionType: 0x44, OptionLength: uint8(s.options * 4), OptionData: make([]byte, s.options*4-2),
			}}
		}
		stack = append(stack, ip)
		network = ip
	}
	switch s.protocol {
	case layers.IPProtocolTCP:
		tcp := &layers.TCP{
			SrcPort: layers.TCPPort(s.sport), DstPort: layers.TCPPort(s.dport), Seq: s.seq, Ack: s.ack, Window: 64240,
			FIN: s.flags&FIN != 0, SYN: s.flags&SYN != 0, RST: s.flags&RST != 0, PSH: s.flags&PSH != 0,
			ACK: s.flags&ACK != 0, URG: s.flags&URG != 0, ECE: s.flags&ECE != 0, CWR: s.flags&CWR != 0,
		}
		for range s.options {
			tcp.Options = append(tcp.Options, layers.TCPOption{
				OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 0xb4},
			})
		}
		_ = tcp.SetNetworkLayerForChecksum(network)
		stack = append(stack, tcp)
	case layers.IPProtocolUDP:
		udp := &layers.UDP{SrcPort: layers.UDPPort(s.sport), DstPort: layers.UDPPort(s.dport)}
		_ = udp.SetNetworkLayerForChecksum(network)
		stack = append(stack, udp)
	case layers.IPProtocolSCTP:
		stack = append(stack, &layers.SCTP{SrcPort: layers.SCTPPort(s.sport), DstPort: layers.SCTPPort(s.dport), VerificationTag: s.seq})
	case layers.IPProtocolICMPv4:
		stack = append(stack, &layers.ICMPv4{
			TypeCode: layers.CreateICMPv4TypeCode(s.icmpType, s.icmpCode), Id: s.icmpID, Seq: s.icmpSeq,
		})
	case layers.IPProtocolICMPv6:
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(s.icmpType, s.icmpCode)}
		_ = icmp.SetNetworkLayerForChecksum(network)
		body := binary.BigEndian.AppendUint16(nil, s.icmpID)
		body = binary.BigEndian.AppendUint16(body, s.icmpSeq)
		stack = append(stack, icmp, gopacket.Payload(body))
	}
	return append(stack, gopacket.Payload(s.payload))
}

// randomSpec draws a packet of any kind that the parser knows.
func randomSpec(r *rand.Rand) spec {
	s := spec{
		tags: r.IntN(3), six: r.IntN(2) == 1,
		sport: uint16(r.Uint32()), dport: uint16(r.Uint32()), id: uint16(r.Uint32()),
		ttl: uint8(r.Uint32()), tos: uint8(r.Uint32()), options: r.IntN(4),
		seq: r.Uint32(), ack: r.Uint32(), flags: uint8(r.Uint32()),
		icmpID: uint16(r.Uint32()), icmpSeq: uint16(r.Uint32()),
		hopByHop: r.IntN(3) == 0, destOptions: r.IntN(3) == 0,
		payload: make([]byte, r.IntN(120)), padding: r.IntN(2) * r.IntN(20),
	}
	for i := range s.payload {
		s.payload[i] = uint8(r.Uint32())
	}
	random := func() netip.Addr {
		var b [16]byte
		binary.LittleEndian.PutUint64(b[:], r.Uint64())
		binary.LittleEndian.PutUint64(b[8:], r.Uint64())
		if s.six {
			b[0] = 0xfd
			return netip.AddrFrom16(b)
		}
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	s.source, s.destination = random(), random()
	s.protocol = []layers.IPProtocol{
		layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolSCTP, layers.IPProtocolICMPv4, 47,
	}[r.IntN(5)]
	if s.protocol == layers.IPProtocolICMPv4 {
		s.icmpType = []uint8{0, 8, 13, 14}[r.IntN(4)]
		if s.six {
			s.protocol = layers.IPProtocolICMPv6
			s.icmpType = []uint8{128, 129, 128, 134}[r.IntN(4)]
		}
	}
	return s
}

// expected decodes data with gopacket and says what Parse has to say.
func expected(t *testing.T, data []byte) Headers {
	t.Helper()
	var h Headers
	at := 0
	ports := func(source, destination uint16) {
		h.Tuple = NewTuple(h.Tuple.Protocol, h.Tuple.Source(), h.Tuple.Destination(), source, destination)
	}
	transport := func(l gopacket.Layer, layer Layers) {
		h.Layers |= layer
		h.TransportOffset = uint16(at)
		at += len(l.LayerContents())
	}
	protocol := func(p layers.IPProtocol, source, destination net.IP) {
		s, _ := netip.AddrFromSlice(source)
		d, _ := netip.AddrFromSlice(destination)
		h.Tuple = NewTuple(Protocol(p), s, d, 0, 0)
	}
	icmp := func(l gopacket.Layer, body []byte, typ, code uint8) {
		transport(l, LayerICMP)
		h.ICMPType, h.ICMPCode = typ, code
		id := uint16(0)
		echo := typ == 8 || typ == 0 || typ == 128 || typ == 129
		if echo {
			h.ICMPID, h.ICMPSeq = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
		}
		if echo || typ == 13 || typ == 14 {
			id = binary.BigEndian.Uint16(body)
		}
		ports(id, uint16(typ)<<8|uint16(code))
	}
	for _, layer := range gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default).Layers() {
		switch l := layer.(type) {
		case *layers.Ethernet:
			h.Layers |= LayerEthernet
			h.EtherType = uint16(l.EthernetType)
			copy(h.SourceMAC[:], l.SrcMAC)
			copy(h.DestinationMAC[:], l.DstMAC)
			at += 14
		case *layers.Dot1Q:
			if !h.Layers.Has(LayerVLAN) {
				h.Layers |= LayerVLAN
				h.VLAN = l.VLANIdentifier
			}
			h.EtherType = uint16(l.Type)
			at += 4
		case *layers.IPv4:
			h.Layers |= LayerIPv4
			h.NetworkOffset = uint16(at)
			h.Length, h.IPID, h.TOS, h.TTL = uint32(l.Length), l.Id, l.TOS, l.TTL
			h.DF = l.Flags&layers.IPv4DontFragment != 0
			protocol(l.Protocol, l.SrcIP, l.DstIP)
			at += int(l.IHL) * 4
			h.TransportOffset = uint16(at)
		case *layers.IPv6:
			h.Layers |= LayerIPv6
			h.NetworkOffset = uint16(at)
			h.Length, h.TOS, h.TTL = uint32(l.Length)+40, l.TrafficClass, l.HopLimit
			protocol(l.NextHeader, l.SrcIP, l.DstIP)
			at += 40
			h.TransportOffset = uint16(at)
		case *layers.IPv6HopByHop:
			protocol(l.NextHeader, h.Tuple.Source().AsSlice(), h.Tuple.Destination().AsSlice())
			at += l.ActualLength
			h.TransportOffset = uint16(at)
		case *layers.IPv6Destination:
			protocol(l.NextHeader, h.Tuple.Source().AsSlice(), h.Tuple.Destination().AsSlice())
			at += l.ActualLength
			h.TransportOffset = uint16(at)
		case *layers.TCP:
			transport(l, LayerTCP)
			ports(uint16(l.SrcPort), uint16(l.DstPort))
			h.TCPSeq, h.TCPAck, h.TCPWindow = l.Seq, l.Ack, l.Window
			for i, set := range []bool{l.FIN, l.SYN, l.RST, l.PSH, l.ACK, l.URG, l.ECE, l.CWR} {
				if set {
					h.TCPFlags |= 1 << i
				}
			}
		case *layers.UDP:
			transport(l, LayerUDP)
			ports(uint16(l.SrcPort), uint16(l.DstPort))
		case *layers.SCTP:
			transport(l, LayerSCTP)
			ports(uint16(l.SrcPort), uint16(l.DstPort))
		case *layers.ICMPv4:
			icmp(l, l.Contents[4:], l.TypeCode.Type(), l.TypeCode.Code())
		case *layers.ICMPv6:
			icmp(l, l.Payload, l.TypeCode.Type(), l.TypeCode.Code())
			at += 4 // gopacket counts identifier and sequence as payload
		}
	}
	h.PayloadOffset = uint16(at)
	h.PayloadLength = uint32(int(h.NetworkOffset) + int(h.Length) - at)
	return h
}

func TestParseAgreesWithGopacket(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	kinds := map[string]int{}
	for i := range 5000 {
		s := randomSpec(r)
		data := s.build(t)
		want := expected(t, data)
		var h Headers
		h.Parse(Ethernet, data, uint32(len(data)))
		if diff := cmp.Diff(want, h, cmp.AllowUnexported(Tuple{})); diff != "" {
			t.Fatalf("packet %d, %+v\n% x\n(-gopacket +Parse):\n%s", i, s, data, diff)
		}
		if got := h.Payload(data); s.protocol != 47 && string(got) != string(s.payload) {
			t.Fatalf("packet %d, %+v: payload % x, want % x", i, s, got, s.payload)
		}
		kinds[fmt.Sprintf("%v tags %d six %t", s.protocol, s.tags, s.six)]++
	}
	if len(kinds) != 30 {
		t.Errorf("%d kinds of packets were compared, want 30", len(kinds))
	}
}

// TestParseCutAnywhere compares packets that the capture cut off with the whole
// ones: what is still told must be the same.
func TestParseCutAnywhere(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		s := randomSpec(r)
		s.padding = 0
		data := s.build(t)
		var whole Headers
		whole.Parse(Ethernet, data, uint32(len(data)))
		for n := range data {
			var h Headers
			h.Parse(Ethernet, data[:n], uint32(len(data)))
			missing := whole.Layers &^ h.Layers
			if missing != 0 && !h.Layers.Has(Truncated) {
				t.Fatalf("%+v cut at %d: layers %b are missing and it is not Truncated", s, n, missing)
			}
			if extra := h.Layers &^ whole.Layers; extra&^Truncated != 0 {
				t.Fatalf("%+v cut at %d: layers %b are new", s, n, extra)
			}
			if h.IsIP() && h.Length != whole.Length {
				t.Fatalf("%+v cut at %d: length %d, want %d", s, n, h.Length, whole.Length)
			}
			const transport = LayerTCP | LayerUDP | LayerSCTP | LayerICMP
			if h.Layers&transport != 0 && h.Layers&(transport|Truncated) == whole.Layers&transport && h.Tuple != whole.Tuple {
				t.Fatalf("%+v cut at %d: tuple %v, want %v", s, n, h.Tuple, whole.Tuple)
			}
			if !h.Layers.Has(Truncated) && h.PayloadLength != whole.PayloadLength {
				t.Fatalf("%+v cut at %d: payload of %d, want %d", s, n, h.PayloadLength, whole.PayloadLength)
			}
		}
	}
}

// TestQuotedAgreesWithGopacket builds ICMP errors about packets of every kind.
func TestQuotedAgreesWithGopacket(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		about := randomSpec(r)
		about.tags, about.padding = 0, 0
		quoted := about.build(t)
		want := expected(t, quoted).Tuple
		packetAbout := quoted[ethernetHeader:]
		errorSpec := spec{
			six: about.six, source: about.destination, destination: about.source, ttl: 64,
			protocol: layers.IPProtocolICMPv4, icmpType: []uint8{3, 4, 5, 11, 12}[r.IntN(5)],
			payload: packetAbout,
		}
		if about.six {
			errorSpec.protocol = layers.IPProtocolICMPv6
			errorSpec.icmpType = uint8(1 + r.IntN(4))
		}
		data := errorSpec.build(t)
		var h Headers
		h.Parse(Ethernet, data, uint32(len(data)))
		if !h.Layers.Has(LayerICMP | LayerQuoted) {
			t.Fatalf("%+v: nothing quoted in layers %b", errorSpec, h.Layers)
		}
		if h.Quoted != want {
			t.Fatalf("%+v: quoted %v, want %v", about, h.Quoted, want)
		}
		if h.Tuple.SourcePort != 0 {
			t.Fatalf("%+v: an error has identifier %d", errorSpec, h.Tuple.SourcePort)
		}
	}
}

type sample struct {
	name string
	data []byte
}

// samples returns one frame of each kind.
func samples(t testing.TB) []sample {
	v4 := spec{source: addr("172.17.0.2"), destination: addr("198.51.100.7"), sport: 4711, dport: 80, id: 9, ttl: 64, payload: []byte("GET / HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n")}
	v6 := v4
	v6.six, v6.source, v6.destination = true, addr("fd00::2"), addr("fd00::7")
	var all []sample
	add := func(name string, s spec, p layers.IPProtocol, edit func(*spec)) {
		s.protocol = p
		if edit != nil {
			edit(&s)
		}
		all = append(all, sample{name, s.build(t)})
	}
	echo := func(s *spec) { s.icmpType, s.icmpID, s.icmpSeq = 8, 42, 7 }
	echo6 := func(s *spec) { s.icmpType, s.icmpID, s.icmpSeq = 128, 42, 7 }
	add("tcp", v4, layers.IPProtocolTCP, func(s *spec) { s.flags = PSH | ACK })
	add("udp", v4, layers.IPProtocolUDP, nil)
	add("echo", v4, layers.IPProtocolICMPv4, echo)
	add("tcp6", v6, layers.IPProtocolTCP, func(s *spec) { s.flags = PSH | ACK })
	add("udp6", v6, layers.IPProtocolUDP, func(s *spec) { s.hopByHop = true })
	add("echo6", v6, layers.IPProtocolICMPv6, echo6)
	add("error", v4, layers.IPProtocolICMPv4, func(s *spec) {
		s.icmpType, s.icmpCode, s.payload = 3, 3, all[1].data[ethernetHeader:]
	})
	add("error6", v6, layers.IPProtocolICMPv6, func(s *spec) {
		s.icmpType, s.icmpCode, s.payload = 1, 4, all[3].data[ethernetHeader:]
	})
	return all
}
