package packet

import (
	"encoding/binary"
	"math/bits"
)

const (
	// fingerprintWindow is how far behind the start of the IP header bytes
	// count. With it, points of one snap length agree although their link
	// headers differ: 96 bytes and the longest of them, 22, fit into 128.
	fingerprintWindow = 96
	// fingerprintPayload is how many payload bytes count.
	fingerprintPayload = 32
)

// Odd constants with about as many ones as zeros, to multiply with.
const (
	mixA = 0x9e3779b97f4a7c15
	mixB = 0xc2b2ae3d27d4eb4f
	mixC = 0x165667b19e3779f9
	mixD = 0xd6e8feb86659fd93
)

// Fingerprint returns an identity of the packet that network address
// translation and forwarding leave alone, so that two sightings of one packet
// have the same; different packets can have the same, too. h must be what Parse
// made of data. It is 0 when, and only when, the packet is not IP.
//
// It covers the protocol, the IPv4 identification, the length, TCP's sequence
// numbers and flags, ICMP's type, code and sequence number, a fragment's place,
// and up to 32 bytes of payload that lie within 96 bytes from the start of the
// IP header. It does not cover addresses, ports, the ICMP identifier, checksums,
// TTL, DSCP and ECN, TCP options, nor the identification of IPv6 fragments,
// which a router that reassembles them sets anew. Of the packet that an ICMP
// error quotes, in which addresses, ports and checksums are translated too, it
// covers the same fields.
//
// Observation points agree only when both captured the whole window, or the
// same part of it. What a connection tracking helper or a SYN proxy rewrites is
// not left alone: package trace pairs such packets by more than this.
func Fingerprint(h *Headers, data []byte) uint64 {
	if !h.IsIP() {
		return 0
	}
	network := uint64(h.Tuple.Protocol) | uint64(h.Tuple.family)<<8 |
		uint64(h.IPID)<<16 | uint64(h.Length)<<32
	place := uint64(h.FragmentOffset) << 1
	if h.MoreFragments {
		place |= 1
	}
	var transport uint64
	payload := window(h, data)
	switch {
	case h.Layers&LayerTCP != 0:
		transport = uint64(h.TCPSeq)<<32 | uint64(h.TCPAck)
		place |= uint64(h.TCPFlags) << 32
	case h.Layers&LayerICMP != 0:
		transport = uint64(h.ICMPType)<<24 | uint64(h.ICMPCode)<<16 | uint64(h.ICMPSeq)
		if isError(h.Tuple.Protocol, h.ICMPType) {
			transport |= quotedIdentity(payload) << 32
			place |= uint64(quotedSequence(payload)) << 32
			payload = nil
		}
	default:
		payload = payload[min(len(payload), translatedHeader(h)):]
	}
	sum := mix(network^mixA, transport^mixB) ^ mix(place^mixC, mixD)
	sum = mix(sum^hashPayload(payload), mixA)
	if sum == 0 {
		return 1 // 0 says "not IP"
	}
	return sum
}

// window returns the payload bytes that may count.
func window(h *Headers, data []byte) []byte {
	end := min(int(h.NetworkOffset)+fingerprintWindow, len(data))
	start := int(h.PayloadOffset)
	if start >= end {
		return nil
	}
	p := data[start:end]
	if uint64(len(p)) > uint64(h.PayloadLength) {
		p = p[:h.PayloadLength] // the rest is padding
	}
	return p
}

// translatedHeader returns how many bytes at the start of the payload belong to
// a header that may hold ports and a checksum.
func translatedHeader(h *Headers) int {
	if h.FragmentOffset != 0 {
		return 0 // the header is in the first fragment
	}
	const (
		dccp    = 33
		gre     = 47 // PPTP's call identifier is a port to the kernel
		udpLite = 136
	)
	switch h.Tuple.Protocol {
	case TCP, UDP, ICMP, ICMPv6, SCTP:
		if h.Layers&(LayerUDP|LayerSCTP) == 0 {
			return fingerprintWindow // cut off within its header
		}
	case dccp, gre, udpLite:
		return 8
	}
	return 0
}

// quotedIdentity returns the length and, with IPv4, the identification of the
// quoted packet q.
func quotedIdentity(q []byte) uint64 {
	if len(q) < ipv4Header {
		return 0
	}
	if q[0]>>4 == 4 {
		return uint64(binary.BigEndian.Uint32(q[2:]))
	}
	return uint64(binary.BigEndian.Uint16(q[4:]))
}

// quotedSequence returns the sequence number of TCP or ICMP, or UDP's length,
// in the quoted packet q; 0 when it has none or it is not at once to be found.
func quotedSequence(q []byte) uint32 {
	if len(q) < ipv4Header {
		return 0
	}
	header, protocol := ipv6Header, Protocol(q[6])
	if q[0]>>4 == 4 {
		if binary.BigEndian.Uint16(q[6:])&ipv4OffsetMask != 0 {
			return 0
		}
		header, protocol = int(q[0]&0xf)*4, Protocol(q[9])
	}
	if len(q) < header+8 {
		return 0
	}
	l4 := q[header : header+8]
	switch protocol {
	case TCP:
		return binary.BigEndian.Uint32(l4[4:])
	case UDP:
		return uint32(binary.BigEndian.Uint16(l4[4:]))
	case ICMP, ICMPv6:
		if isEcho(protocol, l4[0]) {
			return uint32(binary.BigEndian.Uint16(l4[6:]))
		}
	}
	return 0
}

func hashPayload(p []byte) uint64 {
	var short [fingerprintPayload]byte
	n := len(p)
	if n < fingerprintPayload {
		copy(short[:], p)
		p = short[:]
	} else {
		n = fingerprintPayload
	}
	a := binary.LittleEndian.Uint64(p)
	b := binary.LittleEndian.Uint64(p[8:])
	c := binary.LittleEndian.Uint64(p[16:])
	d := binary.LittleEndian.Uint64(p[24:32])
	return mix(a^mixB, b^mixC) ^ mix(c^mixD^uint64(n), d^mixA)
}

// mix multiplies to 128 bits and folds, so that every bit of both factors
// reaches every bit of the result.
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}
