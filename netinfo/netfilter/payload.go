package netfilter

import "encoding/binary"

// Types of what a frame carries (linux/if_ether.h).
const (
	etherIPv4     = 0x0800
	etherARP      = 0x0806
	etherVLAN     = 0x8100
	etherIPv6     = 0x86dd
	etherProvider = 0x88a8 // IEEE 802.1ad
)

// place is what the conditions of a rule so far say of the headers that those
// behind them load from.
type place struct {
	family  string
	network uint16 // what the network header is; 0: not said
	tagged  bool   // the frame has the tag of a VLAN
}

func placeOf(family string) place {
	return place{family: family, network: map[string]uint16{"ip": etherIPv4, "ip6": etherIPv6, "arp": etherARP}[family]}
}

// learn takes in a condition.
func (at *place) learn(t *term) {
	f := t.fields[0]
	if t.operation != cmpEqual || t.ranged || f.mask != nil {
		return
	}
	switch {
	case f.kind == networkProtocol && len(t.value) == 1:
		at.network = map[byte]uint16{familyIPv4: etherIPv4, familyIPv6: etherIPv6}[t.value[0]]
	case (f.kind == etherType || f.kind == frameType || f.kind == vlanType) && len(t.value) == 2:
		at.network = binary.BigEndian.Uint16(t.value)
		at.tagged = at.tagged || isTag(at.network)
	}
}

func isTag(etherType uint16) bool { return etherType == etherVLAN || etherType == etherProvider }

// part is a field within a header.
type part struct {
	offset, length int
	kind           fieldKind
	inet6          bool
}

var (
	linkParts = []part{{0, 6, etherDestination, false}, {6, 6, etherSource, false}, {12, 2, etherType, false}}
	vlanParts = append(linkParts[:3:3], part{14, 2, vlanTag, false}, part{14, 1, vlanTag, false}, part{16, 2, vlanType, false})
	arpParts  = []part{
		{0, 2, arpHardware, false}, {2, 2, arpProtocol, false}, {4, 1, arpHardwareLength, false}, {5, 1, arpProtocolLength, false}, {6, 2, arpOperation, false},
		{8, 6, arpSenderMAC, false}, {14, 4, arpSender, false}, {18, 6, arpTargetMAC, false}, {24, 4, arpTarget, false},
	}
	ipv4Parts = []part{{8, 1, timeToLive, false}, {9, 1, ipProtocol, false}, {12, 4, sourceAddress, false}, {16, 4, destinationAddress, false}, {2, 2, ipLength, false}, {4, 2, ipID, false}}
	ipv6Parts = []part{{6, 1, nextHeader, false}, {8, 16, sourceAddress, true}, {24, 16, destinationAddress, true}}
	// eitherParts are told apart by where they are: the family is not known.
	eitherParts    = append(ipv4Parts[1:4:4], ipv6Parts[1:]...)
	transportParts = []part{{0, 2, sourcePort, false}, {2, 2, destinationPort, false}, {13, 1, tcpFlags, false}, {0, 1, icmpType, false}, {4, 2, udpLength, false}}
)

// parts returns the fields of the header that e loads from; nil where it is not known
// what that is.
func (at place) parts(base uint32) []part {
	switch {
	case base == payloadLink && at.tagged:
		return vlanParts
	case base == payloadLink:
		return linkParts
	case base == payloadTransport:
		return transportParts
	case base != payloadNetwork:
		return nil
	}
	switch at.network {
	case etherIPv4:
		return ipv4Parts
	case etherIPv6:
		return ipv6Parts
	case etherARP:
		return arpParts
	case 0:
		if at.family == "inet" {
			return eitherParts
		}
	}
	return nil
}

// payloadField names what e loads: one field, the first bytes of an address, or
// several fields that nft took together because they are side by side.
func payloadField(e *expression, at place) field {
	f := field{length: int(e.length), what: "payload"}
	var run []part
	next := int(e.offset)
	for _, p := range at.parts(e.base) {
		if p.offset == int(e.offset) && (p.length == f.length || f.length < p.length && f.length > 0 && p.field().hasPrefixes()) {
			f.kind, f.inet6 = p.kind, p.inet6
			return f
		}
		if p.offset == next && p.offset+p.length <= int(e.offset)+f.length {
			run, next = append(run, p), p.offset+p.length
		}
	}
	if len(run) > 1 && next == int(e.offset)+f.length {
		f.parts = run
	}
	return f
}

func (p part) field() field { return field{kind: p.kind, inet6: p.inet6, length: p.length} }

// hasPrefixes reports whether a field is an address of which a rule may load the
// first bytes alone.
func (f field) hasPrefixes() bool { return f.isAddress() || f.isMAC() }

// ofVLAN names the part of a VLAN's tag that a mask takes out.
func (f field) ofVLAN() field {
	mask := uint16(0)
	if len(f.mask) == 2 {
		mask = binary.BigEndian.Uint16(f.mask)
	}
	switch {
	case !zero(f.xor):
	case f.kind == vlanTag && mask == 0x0fff:
		return field{kind: vlanID, length: f.length}
	case f.kind == vlanTag && len(f.mask) == 1 && f.mask[0] == 0xe0:
		return field{kind: vlanPriority, length: f.length}
	}
	return f
}

// split makes a term of each field that one comparison took together.
func (t term) split() []term {
	f := t.fields[0]
	if len(f.parts) == 0 || t.operation != cmpEqual || t.ranged || len(t.value) != f.length {
		return []term{t}
	}
	var list []term
	value := t.value
	for _, p := range f.parts {
		list = append(list, term{fields: []field{p.field()}, operation: cmpEqual, value: value[:p.length]})
		value = value[p.length:]
	}
	return list
}
