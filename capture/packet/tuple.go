package packet

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// Protocol is an IP protocol number (IANA "Assigned Internet Protocol Numbers").
type Protocol uint8

const (
	ICMP   Protocol = 1
	TCP    Protocol = 6
	UDP    Protocol = 17
	ICMPv6 Protocol = 58
	SCTP   Protocol = 132
)

// String returns the name that /etc/protocols has, or the number.
func (p Protocol) String() string {
	switch p {
	case ICMP:
		return "icmp"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case ICMPv6:
		return "icmp6"
	case SCTP:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}

// Tuple is one direction of a conversation, as conntrack keeps it
// (include/net/netfilter/nf_conntrack_tuple.h). It holds no pointer and is
// comparable, so that it is cheap as a map's key. The zero Tuple is invalid.
//
// For ICMP, DestinationPort holds type and code, type<<8 | code, and SourcePort
// the identifier of an echo or of another query that has one, just as the
// kernel's union does; it is zero for errors. For other protocols without ports
// both are zero.
type Tuple struct {
	source, destination [16]byte // IPv4 in its v4-mapped form
	SourcePort          uint16
	DestinationPort     uint16
	Protocol            Protocol
	family              uint8 // 4, 6, or 0 in the zero Tuple
}

// NewTuple builds a Tuple. Both addresses must be of one family: an IPv4-mapped
// IPv6 address counts as IPv4. Zones are not kept.
func NewTuple(p Protocol, source, destination netip.Addr, sourcePort, destinationPort uint16) Tuple {
	t := Tuple{
		source: source.As16(), destination: destination.As16(),
		SourcePort: sourcePort, DestinationPort: destinationPort,
		Protocol: p, family: 6,
	}
	if source.Unmap().Is4() {
		t.family = 4
	}
	return t
}

// Valid reports whether t is anything but the zero Tuple.
func (t Tuple) Valid() bool { return t.family != 0 }

// Is4 reports whether the addresses are IPv4.
func (t Tuple) Is4() bool { return t.family == 4 }

// Source returns the source address; invalid for the zero Tuple.
func (t Tuple) Source() netip.Addr { return t.addr(t.source) }

// Destination returns the destination address; invalid for the zero Tuple.
func (t Tuple) Destination() netip.Addr { return t.addr(t.destination) }

// Destination16 returns the bytes of the destination, IPv4 in its v4-mapped form.
// It is for tables: an address takes longer to make than to look up.
func (t *Tuple) Destination16() [16]byte { return t.destination }

func (t Tuple) addr(b [16]byte) netip.Addr {
	switch t.family {
	case 4:
		return netip.AddrFrom16(b).Unmap()
	case 6:
		return netip.AddrFrom16(b)
	}
	return netip.Addr{}
}

// HasPorts reports whether the protocol is one whose ports a person reads.
func (t Tuple) HasPorts() bool {
	return t.Protocol == TCP || t.Protocol == UDP || t.Protocol == SCTP
}

// Inverse returns the tuple that an answer carries when nothing translates it.
// The type of an ICMP query becomes that of its answer, as the kernel's
// invert_tuple functions do (net/netfilter/nf_conntrack_proto_icmp.c); an ICMP
// type that has no answer is kept.
func (t Tuple) Inverse() Tuple {
	i := t
	i.source, i.destination = t.destination, t.source
	switch t.Protocol {
	case ICMP:
		i.DestinationPort = inverseType(uint8(t.DestinationPort>>8), 8, 0, 13, 14, 15, 16, 17, 18)<<8 | t.DestinationPort&0xff
	case ICMPv6:
		i.DestinationPort = inverseType(uint8(t.DestinationPort>>8), 128, 129, 139, 140)<<8 | t.DestinationPort&0xff
	default:
		i.SourcePort, i.DestinationPort = t.DestinationPort, t.SourcePort
	}
	return i
}

// inverseType finds typ in pairs of query and answer and returns its partner.
func inverseType(typ uint8, pairs ...uint8) uint16 {
	for i, p := range pairs {
		if p == typ {
			return uint16(pairs[i^1])
		}
	}
	return uint16(typ)
}

// Half returns the tuple with t's source and u's destination: the form in
// which only one of two translations has been made.
func (t Tuple) Half(u Tuple) Tuple {
	h := u
	h.source, h.SourcePort = t.source, t.SourcePort
	return h
}

// Hash returns a number to find t by in a table. Tuples that differ have
// different ones but for chance, which depends on the seed: who can't know it
// can't choose tuples that collide.
func (t *Tuple) Hash(seed uint64) uint64 {
	ports := uint64(t.SourcePort)<<32 | uint64(t.DestinationPort)<<16 | uint64(t.Protocol)<<8 | uint64(t.family)
	le := binary.LittleEndian
	prefixes := mix(le.Uint64(t.source[:])^seed^mixA, le.Uint64(t.destination[:])^mixB)
	return mix(le.Uint64(t.source[8:])^seed^mixC, le.Uint64(t.destination[8:])^ports*mixA^prefixes)
}

// String returns "icmp 172.17.0.2 > 198.51.100.7" or, with ports,
// "tcp 172.17.0.2:4711 > 198.51.100.7:80".
func (t Tuple) String() string {
	if !t.Valid() {
		return "no tuple"
	}
	s, d := t.Source().String(), t.Destination().String()
	if t.HasPorts() {
		s = netip.AddrPortFrom(t.Source(), t.SourcePort).String()
		d = netip.AddrPortFrom(t.Destination(), t.DestinationPort).String()
	}
	return t.Protocol.String() + " " + s + " > " + d
}
