package filter

import (
	"encoding/binary"
	"fmt"
	"strings"

	"natlens/capture/packet"
)

// header is one whose bytes an expression can ask for.
type header uint8

const (
	etherHeader header = iota
	ipHeader
	ip6Header
	tcpHeader
	udpHeader
	sctpHeader
	icmpHeader
	icmp6Header
)

// kept says of each header which of its bytes journeys keep of every hop, as a bit
// for each.
var kept = [...]struct {
	name  string
	bytes uint64
}{
	etherHeader: {"ether", 0xfff},
	ipHeader:    {"ip", 0xff3fe},
	ip6Header:   {"ip6", 0xffffffffb1},
	tcpHeader:   {"tcp", 0xefff},
	udpHeader:   {"udp", 0xf},
	sctpHeader:  {"sctp", 0xf},
	icmpHeader:  {"icmp", 0x3},
	icmp6Header: {"icmp6", 0x3},
}

// headerNamed finds the header of a name.
func headerNamed(name string) (header, bool) {
	for h := range kept {
		if kept[h].name == name {
			return header(h), true
		}
	}
	return 0, false
}

// field is some bytes of a header, as tcp[13] or ip[2:2], big-endian.
type field struct {
	header       header
	offset, size uint8 // size is 1, 2 or 4
}

// bytesOf returns those bytes of a header: as a field where every hop has them.
func bytesOf(h header, offset value, size uint8) value {
	if n, ok := offset.(constant); ok && n < 64 {
		if wanted := (uint64(1)<<size - 1) << n; kept[h].bytes&wanted == wanted && uint32(n)+uint32(size) <= 64 {
			return field{h, uint8(n), size}
		}
	}
	return captured{h, offset, size}
}

func (f field) value(s sighting) (uint32, bool) {
	image, ok := f.header.image(&s)
	if !ok {
		return 0, false
	}
	b := image[f.offset:]
	switch f.size {
	case 1:
		return uint32(b[0]), true
	case 2:
		return uint32(binary.BigEndian.Uint16(b)), true
	}
	return binary.BigEndian.Uint32(b), true
}

// kinds are those of the places where packets can have the header.
func (f field) kinds() kindSet {
	switch f.header {
	case ipHeader:
		return kinds(ip4, everyProtocol)
	case ip6Header:
		return kinds(ip6, everyProtocol)
	case tcpHeader:
		return kinds(anyFamily, protocols(packet.TCP))
	case udpHeader:
		return kinds(anyFamily, protocols(packet.UDP))
	case sctpHeader:
		return kinds(anyFamily, protocols(packet.SCTP))
	case icmpHeader:
		return kinds(anyFamily, protocols(packet.ICMP))
	case icmp6Header:
		return kinds(anyFamily, protocols(packet.ICMPv6))
	}
	return everyKind
}

func (f field) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s[%d", kept[f.header].name, f.offset)
	if f.size > 1 {
		fmt.Fprintf(&s, ":%d", f.size)
	}
	return s.String() + "]"
}

// imageSize is the longest header that is put together.
const imageSize = 40

// image puts the header together from what the journey kept of it; false when
// the packet has none there.
func (h header) image(s *sighting) (b [imageSize]byte, ok bool) {
	p := s.headers
	if p == nil {
		return b, false
	}
	big := binary.BigEndian
	switch h {
	case etherHeader:
		if s.hop == nil || !s.has(packet.LayerEthernet) {
			return b, false
		}
		copy(b[0:], p.DestinationMAC[:])
		copy(b[6:], p.SourceMAC[:])
	case ipHeader:
		if !s.has(packet.LayerIPv4) || !s.source.Is4() || !s.destination.Is4() {
			return b, false
		}
		b[1], b[8], b[9] = p.TOS, p.TTL, uint8(s.protocol)
		big.PutUint16(b[2:], fits16(p.Length))
		big.PutUint16(b[4:], p.IPID)
		big.PutUint16(b[6:], fragmentField(p))
		source, destination := s.source.As4(), s.destination.As4()
		copy(b[12:], source[:])
		copy(b[16:], destination[:])
	case ip6Header:
		if !s.has(packet.LayerIPv6) || !s.source.Is6() || !s.destination.Is6() {
			return b, false
		}
		b[0], b[7] = 0x60|p.TOS>>4, p.TTL
		big.PutUint16(b[4:], fits16(max(p.Length, 40)-40))
		source, destination := s.source.As16(), s.destination.As16()
		copy(b[8:], source[:])
		copy(b[24:], destination[:])
	default:
		return h.transport(s)
	}
	return b, true
}

// transport is image for headers behind IP.
func (h header) transport(s *sighting) (b [imageSize]byte, ok bool) {
	p, protocol := s.headers, packet.TCP
	layer := packet.LayerTCP
	switch h {
	case udpHeader:
		protocol, layer = packet.UDP, packet.LayerUDP
	case sctpHeader:
		protocol, layer = packet.SCTP, packet.LayerSCTP
	case icmpHeader:
		protocol, layer = packet.ICMP, packet.LayerICMP
	case icmp6Header:
		protocol, layer = packet.ICMPv6, packet.LayerICMP
	}
	if s.protocol != protocol || !p.Layers.Has(layer) {
		return b, false
	}
	if layer == packet.LayerICMP {
		b[0], b[1] = p.ICMPType, p.ICMPCode
		return b, true
	}
	big := binary.BigEndian
	big.PutUint16(b[0:], s.sourcePort)
	big.PutUint16(b[2:], s.destinationPort)
	if h == tcpHeader {
		big.PutUint32(b[4:], p.TCPSeq)
		big.PutUint32(b[8:], p.TCPAck)
		b[13] = p.TCPFlags
		big.PutUint16(b[14:], p.TCPWindow)
	}
	return b, true
}

// fragmentField is bytes 6 and 7 of IPv4, without the reserved bit.
func fragmentField(p *packet.Headers) uint16 {
	f := p.FragmentOffset >> 3
	if p.DF {
		f |= 0x4000
	}
	if p.MoreFragments {
		f |= 0x2000
	}
	return f
}

// fits16 is the length as its field has it: 0 for a super-packet that is longer
// than the field can say.
func fits16(length uint32) uint16 {
	if length > 0xffff {
		return 0
	}
	return uint16(length)
}
