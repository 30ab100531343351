package pcapng

import (
	"encoding/binary"
	"strconv"

	"natlens/capture/packet"
)

// LinkType says with which header the bytes of an interface begin: a LINKTYPE_
// value (https://www.tcpdump.org/linktypes.html).
type LinkType uint16

const (
	LinkNull     LinkType = 0
	LinkEthernet LinkType = 1
	LinkRaw      LinkType = 101
	LinkLoop     LinkType = 108
	LinkSLL      LinkType = 113
	LinkIPv4     LinkType = 228
	LinkIPv6     LinkType = 229
	LinkSLL2     LinkType = 276

	// DLT_RAW as old files have it: of most systems, and of OpenBSD.
	linkRawOld     LinkType = 12
	linkRawOpenBSD LinkType = 14
)

// String returns the name without LINKTYPE_, or the number.
func (l LinkType) String() string {
	switch l {
	case LinkNull:
		return "NULL"
	case LinkEthernet:
		return "ETHERNET"
	case LinkRaw, linkRawOld, linkRawOpenBSD:
		return "RAW"
	case LinkLoop:
		return "LOOP"
	case LinkSLL:
		return "LINUX_SLL"
	case LinkIPv4:
		return "IPV4"
	case LinkIPv6:
		return "IPV6"
	case LinkSLL2:
		return "LINUX_SLL2"
	}
	if name, ok := otherLinks[l]; ok {
		return name
	}
	return strconv.Itoa(int(l))
}

// otherLinks are the names of those that people capture and nothing here reads.
var otherLinks = map[LinkType]string{
	9: "PPP", 50: "PPP_HDLC", 51: "PPP_ETHER", 105: "IEEE802_11", 127: "IEEE802_11_RADIOTAP", 163: "IEEE802_11_AVS",
	189: "USB_LINUX", 192: "PPI", 220: "USB_LINUX_MMAPPED", 239: "NFLOG", 249: "USBPCAP", 253: "NETLINK",
}

// Parser returns how capture/packet calls this link type; ok is false for one
// that it can't parse.
func (l LinkType) Parser() (t packet.LinkType, ok bool) {
	switch l {
	case LinkEthernet:
		return packet.Ethernet, true
	case LinkRaw, linkRawOld, linkRawOpenBSD, LinkIPv4, LinkIPv6:
		return packet.RawIP, true
	case LinkSLL:
		return packet.SLL, true
	case LinkSLL2:
		return packet.SLL2, true
	case LinkNull, LinkLoop:
		return packet.Loopback, true
	}
	return 0, false
}

// LinkTypeOf is the reverse of Parser.
func LinkTypeOf(t packet.LinkType) LinkType {
	switch t {
	case packet.Ethernet:
		return LinkEthernet
	case packet.SLL:
		return LinkSLL
	case packet.SLL2:
		return LinkSLL2
	case packet.Loopback:
		return LinkNull
	}
	return LinkRaw
}

// readCooked takes direction and link from the header of a Linux "cooked"
// capture, where the file does not tell them itself (LINKTYPE_LINUX_SLL,
// LINKTYPE_LINUX_SLL2).
func (p *Packet) readCooked(l LinkType) {
	var kind uint16
	switch {
	case l == LinkSLL && len(p.Data) >= 2:
		kind = binary.BigEndian.Uint16(p.Data)
	case l == LinkSLL2 && len(p.Data) >= 11:
		kind = uint16(p.Data[10])
		p.Ifindex = int32(binary.BigEndian.Uint32(p.Data[4:]))
	default:
		return
	}
	if p.Direction != UnknownDirection {
		return
	}
	p.Direction = Inbound
	switch kind { // include/uapi/linux/if_packet.h
	case 0:
		p.Reception = Unicast
	case 1:
		p.Reception = Broadcast
	case 2:
		p.Reception = Multicast
	case 3:
		p.Reception = Promiscuous
	case 4:
		p.Direction, p.Reception = Outbound, UnknownReception
	default:
		p.Direction = UnknownDirection
	}
}
