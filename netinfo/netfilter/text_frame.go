package netfilter

import (
	"encoding/binary"
	"fmt"
	"net"
	"strconv"
)

// frameFieldNames are nft's words for the fields of a frame and of ARP.
var frameFieldNames = map[fieldKind]string{
	etherSource: "ether saddr", etherDestination: "ether daddr", etherType: "ether type", frameType: "meta protocol",
	vlanID: "vlan id", vlanPriority: "vlan pcp", vlanType: "vlan type", bridgeIn: "meta ibrname", bridgeOut: "meta obrname", linkKindIn: "meta iiftype",
	arpHardware: "arp htype", arpProtocol: "arp ptype", arpHardwareLength: "arp hlen", arpProtocolLength: "arp plen", arpOperation: "arp operation",
	arpSenderMAC: "arp saddr ether", arpSender: "arp saddr ip", arpTargetMAC: "arp daddr ether", arpTarget: "arp daddr ip",
}

var etherTypeNames = map[uint16]string{
	etherIPv4: "ip", etherARP: "arp", etherIPv6: "ip6", etherVLAN: "8021q", etherProvider: "8021ad",
}

var arpOperationNames = map[uint16]string{
	1: "request", 2: "reply", 3: "rrequest", 4: "rreply", 8: "inrequest", 9: "inreply", 10: "nak",
}

func (f field) isMAC() bool {
	switch f.kind {
	case etherSource, etherDestination, arpSenderMAC, arpTargetMAC:
		return true
	}
	return false
}

// frameValue writes the value of a field of a frame or of ARP.
func frameValue(f field, b []byte) (string, bool) {
	var number uint16
	switch len(b) {
	case 1:
		number = uint16(b[0])
	case 2:
		number = binary.BigEndian.Uint16(b)
	}
	switch {
	case f.isMAC():
		return macText(f, b)
	case len(b) != f.length:
		return "", false
	}
	switch f.kind {
	case linkKindIn:
		const ether = 1 // ARPHRD_ETHER
		return "ether", binary.NativeEndian.Uint16(b) == ether
	case etherType, frameType, vlanType, arpProtocol:
		if name := etherTypeNames[number]; name != "" {
			return name, true
		}
		return fmt.Sprintf("0x%04x", number), true
	case vlanID, arpHardware, arpHardwareLength, arpProtocolLength:
		return strconv.Itoa(int(number)), true
	case vlanPriority:
		return strconv.Itoa(int(number >> 5)), number&0x1f == 0
	case arpOperation:
		if name := arpOperationNames[number]; name != "" {
			return name, true
		}
		return strconv.Itoa(int(number)), true
	}
	return "", false
}

// macText writes a MAC address, or the beginning of one that was loaded alone.
func macText(f field, b []byte) (string, bool) {
	const full = 6
	if len(b) != f.length || len(b) > full || len(b) == 0 {
		return "", false
	}
	whole := append(append(net.HardwareAddr{}, b...), make([]byte, full-len(b))...)
	s := whole.String()
	if len(b) < full {
		s += "/" + strconv.Itoa(8*len(b))
	}
	return s, true
}

// rewrite writes a statement that puts a constant into a header.
func (w *nftWriter) rewrite(t *term) string {
	e := t.action
	from, ok := t.operandValues.at(e.source)
	f := payloadField(e, placeOf(w.family))
	name, named := w.name(f)
	value, good := w.value(f, from.value)
	if !ok || !named || !good || from.kind != constant || len(from.value) != f.length || f.length != f.whole() {
		return notDecoded(e.what())
	}
	return name + " set " + value
}

// whole is the length of a field of which no part is left out, as far as rewrite
// has words for it.
func (f field) whole() int {
	switch {
	case f.isMAC():
		return 6
	case f.isAddress() && f.inet6:
		return 16
	case f.isAddress():
		return 4
	}
	return 0
}

// sentBy writes a statement that sends the packet, or a copy of it, out by a link.
func (w *nftWriter) sentBy(t *term) string {
	e := t.action
	link, linked := "", false
	if f, ok := t.operandValues.at(e.device.number); ok && e.device.there {
		link, linked = w.value(field{kind: linkOut, length: 4}, f.value)
	}
	if e.device.there && !linked {
		return notDecoded(e.what())
	}
	if !e.address.there {
		return e.name + " to " + link
	}
	to, ok := t.constantAddress(e.address)
	if !ok {
		return notDecoded(e.what())
	}
	s := e.name
	if e.name == "fwd" {
		s += map[uint32]string{familyIPv4: " ip", familyIPv6: " ip6"}[e.family]
	}
	s += " to " + to.String()
	if linked {
		s += " device " + link
	}
	return s
}
