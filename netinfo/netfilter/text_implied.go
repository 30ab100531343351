package netfilter

import (
	"bytes"

	"natlens/capture/packet"
)

// layer is a header that a condition says the kind of.
type layer uint8

const (
	noLayer layer = iota
	linkLayer
	vlanLayer
	networkLayer
	transportLayer
)

// tells returns the layer of which a field's value says what it is.
func (f field) tells(value []byte) layer {
	switch f.kind {
	case transportProtocol, ipProtocol, nextHeader:
		return transportLayer
	case etherType:
		if at := (place{}); len(value) == 2 {
			at.learn(&term{fields: []field{f}, value: value})
			if at.tagged {
				return vlanLayer
			}
		}
		return networkLayer
	case networkProtocol, frameType, vlanType:
		return networkLayer
	case linkKindIn:
		return linkLayer
	}
	return noLayer
}

// layer returns the layer that a field is in.
func (f field) layer() layer {
	switch f.kind {
	case sourcePort, destinationPort, icmpType, tcpFlags, udpLength:
		return transportLayer
	case sourceAddress, destinationAddress, ipProtocol, timeToLive, ipLength, ipID, nextHeader,
		arpHardware, arpProtocol, arpHardwareLength, arpProtocolLength, arpOperation, arpSenderMAC, arpSender, arpTargetMAC, arpTarget:
		return networkLayer
	case vlanID, vlanPriority:
		return vlanLayer
	case etherSource, etherDestination, etherType:
		return linkLayer
	}
	return noLayer
}

// implied reports whether a term is one that nft adds by itself for what comes
// after it, and therefore does not print: the protocol before ports, the type of
// the frame before addresses. It remembers the protocol.
func (w *nftWriter) implied(list []term, i int) bool {
	t := &list[i]
	if !t.single() {
		return false
	}
	f := t.fields[0]
	told := f.tells(t.value)
	if told == noLayer {
		return false
	}
	if told == transportLayer && len(t.value) == 1 {
		w.protocol = xtablesProtocol(t.value[0])
	}
	// These say what the network header is, too, where the family does not.
	if f.kind == nextHeader || f.kind == ipProtocol && w.family != "ip" {
		return false
	}
	for _, later := range list[i+1:] {
		if later.action != nil {
			return later.action.name == "reject" && later.action.key == rejectReset && told == transportLayer
		}
		for _, f := range later.fields {
			if f.layer() == told {
				return true
			}
		}
		if later.verdictMap {
			return false
		}
		if later.single() && later.fields[0].tells(later.value) == told {
			return false
		}
		if told == networkLayer && later.single() && later.fields[0].kind == transportProtocol && later.isICMPOf(t.value) {
			return true
		}
	}
	return false
}

// single reports whether a term says what one field is.
func (t *term) single() bool {
	return t.action == nil && t.undecoded == "" && len(t.fields) == 1 && t.set == nil && t.operation == cmpEqual && !t.ranged && t.fields[0].mask == nil
}

// isICMPOf reports whether a protocol is the ICMP of what network says.
func (t *term) isICMPOf(network []byte) bool {
	if len(t.value) != 1 {
		return false
	}
	switch packet.Protocol(t.value[0]) {
	case packet.ICMP:
		return bytes.Equal(network, []byte{0x08, 0x00}) || bytes.Equal(network, []byte{familyIPv4})
	case packet.ICMPv6:
		return bytes.Equal(network, []byte{0x86, 0xdd}) || bytes.Equal(network, []byte{familyIPv6})
	}
	return false
}

// asksForIP reports whether only packets of which journeys tell make a term true: those
// of IPv4, and those of a protocol other than ICMPv6.
func (t *term) asksForIP() bool {
	if !t.single() {
		return false
	}
	switch t.fields[0].tells(t.value) {
	case networkLayer:
		return bytes.Equal(t.value, []byte{0x08, 0x00}) || bytes.Equal(t.value, []byte{familyIPv4})
	case transportLayer:
		return len(t.value) == 1 && packet.Protocol(t.value[0]) != packet.ICMPv6
	}
	return false
}
