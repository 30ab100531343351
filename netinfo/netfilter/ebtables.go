package netfilter

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"natlens/capture/packet"
)

// ebtablesIP is what ebtables' extension ip asks of a frame with IPv4 (struct
// ebt_ip_info, linux/netfilter_bridge/ebt_ip.h). Where it asks for a port, its
// protocol has ports.
type ebtablesIP struct {
	source, destination         netip.Prefix // invalid: not asked
	protocol                    packet.Protocol
	sourcePorts, destPorts      [2]uint16 // from, to
	notSource, notDestination   bool
	notSourcePort, notDestPort  bool
	asksProtocol, notProtocol   bool
	asksSourcePort, asksDstPort bool
}

// Bits of ebt_ip_info.
const (
	ebtSource      = 0x01
	ebtDestination = 0x02
	ebtProtocol    = 0x08
	ebtSourcePort  = 0x10
	ebtDestPort    = 0x20
)

// decodeEbtablesIP reports false for what it has no words for: the type of service, ICMP
// and IGMP, and masks that are no prefix.
func decodeEbtablesIP(e *expression) (m ebtablesIP, ok bool) {
	const size = 28
	if e.name != "match" || e.extension != "ip" || e.revision != 0 || familyNames[e.extensionFamily] != "bridge" || len(e.data) < size {
		return m, false
	}
	b := e.data
	asked, inverted := b[18], b[19]
	m.protocol = packet.Protocol(b[17])
	const told = ebtSource | ebtDestination | ebtProtocol | ebtSourcePort | ebtDestPort
	if asked&^told != 0 {
		return m, false
	}
	has := func(bit uint8) (asks, not bool) { return asked&bit != 0, inverted&bit != 0 }
	prefix := func(at int) (netip.Prefix, bool) {
		bits, isPrefix := maskBits(b[at+8 : at+12])
		a, _ := netip.AddrFromSlice(b[at : at+4])
		return netip.PrefixFrom(a, bits), isPrefix
	}
	for _, side := range []struct {
		bit    uint8
		at     int
		to     *netip.Prefix
		invert *bool
	}{{ebtSource, 0, &m.source, &m.notSource}, {ebtDestination, 4, &m.destination, &m.notDestination}} {
		var asks, good bool
		if asks, *side.invert = has(side.bit); !asks {
			continue
		}
		if *side.to, good = prefix(side.at); !good {
			return m, false
		}
	}
	m.asksProtocol, m.notProtocol = has(ebtProtocol)
	m.asksSourcePort, m.notSourcePort = has(ebtSourcePort)
	m.asksDstPort, m.notDestPort = has(ebtDestPort)
	for i := range 2 {
		m.sourcePorts[i] = binary.NativeEndian.Uint16(b[20+2*i:])
		m.destPorts[i] = binary.NativeEndian.Uint16(b[24+2*i:])
	}
	ports := m.asksSourcePort || m.asksDstPort
	return m, !ports || m.asksProtocol && !m.notProtocol && (m.protocol == packet.TCP || m.protocol == packet.UDP)
}

// ebtablesIP evaluates -p IPv4 --ip-… (net/bridge/netfilter/ebt_ip.c).
func (m *machine) ebtablesIP(e *expression) truth {
	x, ok := decodeEbtablesIP(e)
	t := m.packet.Tuple
	if !ok || !t.Is4() {
		m.why = ""
		return maybe
	}
	result := yes
	for side, want := range [2]netip.Prefix{x.source, x.destination} {
		if !want.IsValid() {
			continue
		}
		address, inverted := t.Source(), x.notSource
		if side == destinationSide {
			address, inverted = t.Destination(), x.notDestination
		}
		if !m.addressKnown[side] {
			m.why, result = "an address", both(result, maybe)
			continue
		}
		result = both(result, truthOf(want.Contains(address) != inverted))
	}
	if x.asksProtocol {
		result = both(result, truthOf((t.Protocol == x.protocol) != x.notProtocol))
	}
	if x.asksSourcePort {
		result = both(result, m.portWithin(sourceSide, x.sourcePorts, x.notSourcePort))
	}
	if x.asksDstPort {
		result = both(result, m.portWithin(destinationSide, x.destPorts, x.notDestPort))
	}
	return result
}

// ebtablesText writes it in nft's words.
func ebtablesText(e *expression) (string, bool) {
	x, ok := decodeEbtablesIP(e)
	if !ok {
		return "", false
	}
	var words []string
	add := func(name string, inverted bool, value string) {
		if inverted {
			name += " !="
		}
		words = append(words, name+" "+value)
	}
	address := func(p netip.Prefix) string { return strings.TrimSuffix(p.String(), "/32") }
	if x.source.IsValid() {
		add("ip saddr", x.notSource, address(x.source))
	}
	if x.destination.IsValid() {
		add("ip daddr", x.notDestination, address(x.destination))
	}
	if x.asksProtocol && !x.asksSourcePort && !x.asksDstPort {
		add("ip protocol", x.notProtocol, xtablesProtocol(byte(x.protocol)))
	}
	if x.asksSourcePort {
		add(x.protocol.String()+" sport", x.notSourcePort, portRange(x.sourcePorts, "-"))
	}
	if x.asksDstPort {
		add(x.protocol.String()+" dport", x.notDestPort, portRange(x.destPorts, "-"))
	}
	return strings.Join(words, " "), len(words) > 0
}
