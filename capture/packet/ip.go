package packet

import "encoding/binary"

const (
	ipv4Header = 20 // without options
	ipv6Header = 40

	ipv4DF         = 0x4000
	ipv4MF         = 0x2000
	ipv4OffsetMask = 0x1fff
)

// Extension headers of IPv6 (RFC 8200, section 4; AH: RFC 4302).
const (
	nextHopByHop    = 0
	nextRouting     = 43
	nextFragment    = 44
	nextAH          = 51
	nextDestination = 60
)

// maxExtensions bounds the walk along IPv6 extension headers. RFC 8200 foresees
// seven in one packet; a chain can be long only to waste the reader's time.
const maxExtensions = 8

// parseIPv4 reads the header of RFC 791 at data[off] and what follows it.
func (h *Headers) parseIPv4(data []byte, off, wire int) {
	if len(data)-off < ipv4Header {
		h.ends(data, wire)
		return
	}
	b := data[off : off+ipv4Header]
	header := int(b[0]&0xf) * 4
	if b[0]>>4 != 4 || header < ipv4Header {
		h.Layers |= Malformed
		return
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if length == 0 {
		// A super-packet too long for the field (BIG TCP, Linux 6.3; TSO
		// on other systems) has no length of its own.
		length = wire - off
	}
	if length < header || length > wire-off {
		h.Layers |= Malformed
	}
	flags := binary.BigEndian.Uint16(b[6:])
	h.Layers |= LayerIPv4
	h.NetworkOffset = uint16(off)
	h.Length = uint32(length)
	h.IPID = binary.BigEndian.Uint16(b[4:])
	h.TOS = b[1]
	h.TTL = b[8]
	h.DF = flags&ipv4DF != 0
	h.Tuple.Protocol = Protocol(b[9])
	h.Tuple.setIPv4(b[12:16], b[16:20])

	data = data[:min(len(data), off+length)]
	if flags&(ipv4MF|ipv4OffsetMask) != 0 {
		h.Layers |= LayerFragment
		h.FragmentID = uint32(h.IPID)
		h.FragmentOffset = flags & ipv4OffsetMask << 3
		h.MoreFragments = flags&ipv4MF != 0
	}
	h.behindIP(data, off+header)
}

// parseIPv6 reads the header of RFC 8200 at data[off], its extension headers
// and what follows them.
func (h *Headers) parseIPv6(data []byte, off, wire int) {
	if len(data)-off < ipv6Header {
		h.ends(data, wire)
		return
	}
	b := data[off : off+ipv6Header]
	if b[0]>>4 != 6 {
		h.Layers |= Malformed
		return
	}
	length := int(binary.BigEndian.Uint16(b[4:])) + ipv6Header
	if length == ipv6Header && wire-off > ipv6Header+0xffff {
		// A jumbogram (RFC 2675) or a BIG TCP super-packet: the field is 0.
		length = wire - off
	}
	if length > wire-off {
		h.Layers |= Malformed
	}
	h.Layers |= LayerIPv6
	h.NetworkOffset = uint16(off)
	h.Length = uint32(length)
	h.TOS = b[0]<<4 | b[1]>>4
	h.TTL = b[7]
	h.Tuple.setIPv6(b[8:24], b[24:40])

	data = data[:min(len(data), off+length)]
	e := walkExtensions(data, off+ipv6Header, b[6])
	h.Tuple.Protocol = e.next
	if e.fragment {
		h.Layers |= LayerFragment
		h.FragmentID, h.FragmentOffset, h.MoreFragments = e.id, e.offset, e.more
	}
	switch {
	case e.endless:
		h.Layers |= Malformed
		h.setPayload(data, e.at)
	case e.short:
		h.setPayload(data, e.at)
		h.packetEnds(data)
	default:
		h.behindIP(data, e.at)
	}
}

// extensions is what stands between an IPv6 header and the next protocol.
type extensions struct {
	next     Protocol // of the header at the position at
	at       int
	fragment bool // a fragment header was there and it is not the whole packet
	more     bool
	offset   uint16 // bytes
	id       uint32
	short    bool // data ends within the extension header next
	endless  bool // there are more than maxExtensions
}

// walkExtensions follows the chain of headers that begins with next at
// data[at]. It stops behind a fragment header whose offset is not 0.
func walkExtensions(data []byte, at int, next uint8) extensions {
	e := extensions{next: Protocol(next), at: at}
	for range maxExtensions {
		switch e.next {
		case nextHopByHop, nextRouting, nextDestination, nextAH, nextFragment:
		default:
			return e
		}
		if e.at+8 > len(data) {
			e.short = true
			return e
		}
		b := data[e.at : e.at+8]
		size := 8
		switch e.next {
		case nextFragment:
			field := binary.BigEndian.Uint16(b[2:])
			// Neither offset nor more: an atomic fragment, which is a
			// whole packet (RFC 6946).
			if field&^6 != 0 {
				e.fragment = true
				e.offset = field &^ 7
				e.more = field&1 != 0
				e.id = binary.BigEndian.Uint32(b[4:])
			}
		case nextAH:
			size = (int(b[1]) + 2) * 4
		default:
			size = (int(b[1]) + 1) * 8
		}
		if e.at+size > len(data) {
			e.short = true
			return e
		}
		e.next = Protocol(b[0])
		e.at += size
		if e.offset != 0 {
			return e
		}
	}
	switch e.next {
	case nextHopByHop, nextRouting, nextDestination, nextAH, nextFragment:
		e.endless = true
	}
	return e
}

// behindIP goes on at data[at] with the protocol that IP carries. data ends
// where the IP packet does, or before.
func (h *Headers) behindIP(data []byte, at int) {
	h.setPayload(data, at)
	if at > len(data) {
		h.packetEnds(data)
		return
	}
	if h.FragmentOffset != 0 {
		return
	}
	h.TransportOffset = uint16(at)
	h.parseTransport(data, at)
}

// setPayload notes that the headers end at data[at], which may be beyond the
// captured bytes.
func (h *Headers) setPayload(data []byte, at int) {
	h.PayloadOffset = uint16(min(at, len(data)))
	h.PayloadLength = uint32(max(0, int(h.NetworkOffset)+int(h.Length)-at))
}

// packetEnds notes that data, which ends where the IP packet does or before,
// ends within a header.
func (h *Headers) packetEnds(data []byte) {
	h.ends(data, int(h.NetworkOffset)+int(h.Length))
}
