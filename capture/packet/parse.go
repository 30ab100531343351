package packet

import "encoding/binary"

// EtherTypes (IEEE 802 Numbers, IANA).
const (
	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806
	etherTypeVLAN = 0x8100 // 802.1Q, the customer's tag
	etherTypeIPv6 = 0x86dd
	etherTypeQinQ = 0x88a8 // 802.1ad, the provider's tag
)

const (
	ethernetHeader = 14
	vlanTag        = 4
	maxVLANTags    = 2
	sllHeader      = 16
	sll2Header     = 20
	loopbackHeader = 4
	arpHeader      = 28 // for Ethernet and IPv4
)

// Parse sets h to what data says; what h held before is gone. data holds the
// captured bytes from the link header on, wireLength is how many the packet had
// on the link. Parse neither keeps nor changes data, does not allocate and never
// fails: see Headers.Layers for what it found.
//
// A tag that the kernel took out of the frame (auxiliary data of a packet
// socket) is not in data: who knows it sets VLAN and LayerVLAN afterwards.
func (h *Headers) Parse(link LinkType, data []byte, wireLength uint32) {
	*h = Headers{}
	wire := max(int(wireLength), len(data))
	off, whole := h.parseLink(link, data)
	h.PayloadOffset = uint16(off)
	h.PayloadLength = uint32(wire - off)
	if !whole {
		h.ends(data, wire)
		return
	}
	switch h.EtherType {
	case etherTypeIPv4:
		h.parseIPv4(data, off, wire)
	case etherTypeIPv6:
		h.parseIPv6(data, off, wire)
	case etherTypeARP:
		h.parseARP(data, off, wire)
	}
	if link != Ethernet && link != SLL && link != SLL2 {
		h.EtherType = 0 // it was only derived
	}
}

// parseLink reads the link header and sets EtherType. It returns the length of
// what it read, and whether that is the whole header with its tags.
func (h *Headers) parseLink(link LinkType, data []byte) (off int, whole bool) {
	switch link {
	case Ethernet:
		if len(data) < ethernetHeader {
			return off, false
		}
		h.Layers = LayerEthernet
		h.DestinationMAC = [6]byte(data[0:6])
		h.SourceMAC = [6]byte(data[6:12])
		h.EtherType = binary.BigEndian.Uint16(data[12:])
		off = ethernetHeader
	case SLL:
		if len(data) < sllHeader {
			return off, false
		}
		h.EtherType = binary.BigEndian.Uint16(data[14:])
		off = sllHeader
	case SLL2:
		if len(data) < sll2Header {
			return off, false
		}
		h.EtherType = binary.BigEndian.Uint16(data)
		off = sll2Header
	case RawIP:
		if len(data) == 0 {
			return off, false
		}
		switch data[0] >> 4 {
		case 4:
			h.EtherType = etherTypeIPv4
		case 6:
			h.EtherType = etherTypeIPv6
		default:
			h.Layers |= Malformed
		}
		return 0, true
	case Loopback:
		if len(data) < loopbackHeader {
			return off, false
		}
		h.EtherType = addressFamily(data)
		return loopbackHeader, true
	default:
		return 0, true
	}
	for range maxVLANTags {
		if h.EtherType != etherTypeVLAN && h.EtherType != etherTypeQinQ {
			break
		}
		if len(data) < off+vlanTag {
			return off, false
		}
		if h.Layers&LayerVLAN == 0 {
			h.Layers |= LayerVLAN
			h.VLAN = binary.BigEndian.Uint16(data[off:]) & 0xfff
		}
		h.EtherType = binary.BigEndian.Uint16(data[off+2:])
		off += vlanTag
	}
	return off, true
}

// addressFamily returns the EtherType for the address family that a Loopback
// header names. It is in the byte order of the machine that captured, and the
// number of IPv6 differs between systems (pcap-linktype(7), LINKTYPE_NULL).
func addressFamily(data []byte) uint16 {
	family := data[0]
	if family == 0 {
		family = data[3]
	}
	switch family {
	case 2:
		return etherTypeIPv4
	case 10, 24, 28, 30: // Linux, the BSDs, FreeBSD, macOS
		return etherTypeIPv6
	}
	return 0
}

// parseARP reads address resolution for IPv4 (RFC 826). For other protocols
// only the operation is told.
func (h *Headers) parseARP(data []byte, off, wire int) {
	if len(data)-off < 8 {
		h.ends(data, wire)
		return
	}
	b := data[off:]
	h.Layers |= LayerARP
	h.NetworkOffset = uint16(off)
	h.ARPOperation = binary.BigEndian.Uint16(b[6:])
	if b[4] != 6 || b[5] != 4 || binary.BigEndian.Uint16(b[2:]) != etherTypeIPv4 {
		return
	}
	if len(b) < arpHeader {
		h.ends(data, wire)
		return
	}
	h.Tuple.setIPv4(b[14:18], b[24:28])
	h.PayloadOffset = uint16(off + arpHeader)
	h.PayloadLength = 0 // what follows on a wire is padding
}

// ends notes that data ends before a header does: cut off by the capture, or
// sent like that.
func (h *Headers) ends(data []byte, wire int) {
	if wire > len(data) {
		h.Layers |= Truncated
	} else {
		h.Layers |= Malformed
	}
}

// The addresses are copied as arrays: that is a few moves, where copy would call
// memmove.

func (t *Tuple) setIPv4(source, destination []byte) {
	t.family = 4
	t.source[10], t.source[11] = 0xff, 0xff
	*(*[4]byte)(t.source[12:]) = [4]byte(source)
	t.destination[10], t.destination[11] = 0xff, 0xff
	*(*[4]byte)(t.destination[12:]) = [4]byte(destination)
}

func (t *Tuple) setIPv6(source, destination []byte) {
	t.family = 6
	t.source = [16]byte(source)
	t.destination = [16]byte(destination)
}
