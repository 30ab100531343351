// Package packet turns the bytes of one packet into headers, a tuple and an
// identity. It is pure: no operating system, no state, nothing else of natlens.
//
// Parsing never fails. Bytes that end early or contradict themselves give the
// headers up to that point and say so in Headers.Layers.
package packet

// LinkType says with which header the captured bytes begin.
type LinkType uint8

const (
	Ethernet LinkType = iota // 14 bytes, IEEE 802.3
	RawIP                    // no link header: tun, WireGuard
	SLL                      // 16 bytes, tcpdump's "cooked" capture
	SLL2                     // 20 bytes, the same with the interface index
	Loopback                 // 4 bytes, BSD's address family
)

// Layers is the set of headers that were found, and what was wrong with them.
type Layers uint16

const (
	LayerEthernet Layers = 1 << iota
	LayerVLAN
	LayerARP
	LayerIPv4
	LayerIPv6
	LayerICMP // ICMP or ICMPv6: see Headers.Tuple.Protocol
	LayerTCP
	LayerUDP
	// LayerFragment: the packet is a fragment, the first or a later one.
	LayerFragment
	// LayerQuoted: an ICMP error quotes the packet it is about.
	LayerQuoted
	// Truncated: the captured bytes end before the headers do.
	Truncated
	// Malformed: a header contradicts itself or its surroundings.
	Malformed
	// LayerSCTP: only the ports are taken from it.
	LayerSCTP
)

// Has reports whether every layer of want was found.
func (l Layers) Has(want Layers) bool { return l&want == want }

// TCP flags, as they stand in byte 13 of the header (RFC 9293, section 3.1).
const (
	FIN uint8 = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Headers is what one packet says of itself, flat and without pointers, so
// that it can be copied and kept. A field is valid only where its comment's
// layer is in Layers; else it is zero.
type Headers struct {
	Layers    Layers
	EtherType uint16 // of the innermost tag; LayerEthernet, and the SLL link types
	VLAN      uint16 // 12-bit id of the outermost tag; LayerVLAN

	SourceMAC, DestinationMAC [6]byte // LayerEthernet

	// Tuple holds the addresses (LayerIPv4, LayerIPv6; for LayerARP the
	// sender's and target's) and, but for later fragments, the ports or the
	// ICMP fields.
	Tuple Tuple

	Length uint32 // bytes of the IP packet, from its header; LayerIPv4, LayerIPv6
	IPID   uint16 // LayerIPv4; what IPv6 has in its place is FragmentID
	TOS    uint8  // DSCP and ECN; LayerIPv4, LayerIPv6
	TTL    uint8  // or hop limit; LayerIPv4, LayerIPv6
	DF     bool   // LayerIPv4

	FragmentID     uint32 // in IPv4 the same as IPID; LayerFragment
	FragmentOffset uint16 // bytes; LayerFragment
	MoreFragments  bool   // LayerFragment

	ICMPType, ICMPCode uint8  // LayerICMP
	ICMPID, ICMPSeq    uint16 // LayerICMP and an echo type

	TCPSeq, TCPAck uint32 // LayerTCP
	TCPFlags       uint8  // LayerTCP
	TCPWindow      uint16 // LayerTCP

	ARPOperation uint16 // 1 request, 2 reply; LayerARP

	// Quoted is the tuple of the packet that an ICMP error is about, as the
	// error quotes it; LayerQuoted. It has no ports when the quoted packet is a
	// later fragment or ends too early.
	Quoted Tuple
	// QuotedID is the identification of that packet, by which its sender's
	// packets of one flow differ; LayerQuoted, IPv4 only.
	QuotedID uint16

	// Offsets are in bytes from the start of the link header and never lie
	// beyond the captured bytes.

	NetworkOffset   uint16 // where the IP or ARP header begins
	TransportOffset uint16 // where the header behind IP begins; 0 when there is none
	PayloadOffset   uint16 // where the bytes behind the last parsed header begin
	// PayloadLength is how many of those bytes were on the wire, from the IP
	// header's length: a link's padding does not count, what the snap length
	// cut off does.
	PayloadLength uint32
}

// Payload returns the captured bytes behind the last parsed header, without the
// link's padding. It shares memory with data, which must be what h was parsed
// from.
func (h *Headers) Payload(data []byte) []byte {
	p := data[h.PayloadOffset:]
	if uint64(len(p)) > uint64(h.PayloadLength) {
		p = p[:h.PayloadLength]
	}
	return p
}

// IsIP reports whether the packet is IPv4 or IPv6.
func (h *Headers) IsIP() bool { return h.Layers&(LayerIPv4|LayerIPv6) != 0 }

// IsEcho reports whether the packet is an echo request or reply.
func (h *Headers) IsEcho() bool {
	if h.Layers&LayerICMP == 0 {
		return false
	}
	return isEcho(h.Tuple.Protocol, h.ICMPType)
}

func isEcho(p Protocol, icmpType uint8) bool {
	switch p {
	case ICMP:
		return icmpType == 8 || icmpType == 0
	case ICMPv6:
		return icmpType == 128 || icmpType == 129
	}
	return false
}
