package packet

import (
	"encoding/binary"
	"fmt"
)

// Codes of "destination unreachable" (RFC 792; 6 to 12 RFC 1122; 13 RFC 1812).
var unreachable4 = [...]string{
	"net unreachable", "host unreachable", "protocol unreachable", "port unreachable",
	"fragmentation needed", "source route failed", "destination network unknown",
	"destination host unknown", "source host isolated", "network administratively prohibited",
	"host administratively prohibited", "network unreachable for this service",
	"host unreachable for this service", "communication administratively prohibited",
}

// The same for ICMPv6 (RFC 4443).
var unreachable6 = [...]string{
	"no route to destination", "communication administratively prohibited",
	"beyond scope of source address", "address unreachable", "port unreachable",
	"source address failed policy", "reject route to destination",
}

var types4 = map[uint8]string{
	0: "echo reply", 3: "destination unreachable", 4: "source quench", 5: "redirect",
	8: "echo request", 9: "router advertisement", 10: "router solicitation",
	11: "time exceeded", 12: "parameter problem", 13: "timestamp request", 14: "timestamp reply",
	15: "information request", 16: "information reply",
	17: "address mask request", 18: "address mask reply",
}

var types6 = map[uint8]string{
	1: "destination unreachable", 2: "packet too big", 3: "time exceeded", 4: "parameter problem",
	128: "echo request", 129: "echo reply",
	130: "multicast listener query", 131: "multicast listener report", 132: "multicast listener done",
	133: "router solicitation", 134: "router advertisement",
	135: "neighbor solicitation", 136: "neighbor advertisement", 137: "redirect",
	143: "multicast listener report",
}

func (h *Headers) icmpInfo(data []byte) string {
	name := h.ICMPName()
	body := data[h.TransportOffset:] // 4 bytes at least
	switch {
	case len(body) < icmpHeader:
	case h.IsEcho():
		return fmt.Sprintf("%s %d", name, h.ICMPSeq)
	case h.Layers.Has(LayerIPv4) && h.ICMPType == 3 && h.ICMPCode == 4:
		name = fmt.Sprintf("%s, mtu %d", name, binary.BigEndian.Uint16(body[6:]))
	case h.Layers.Has(LayerIPv6) && h.ICMPType == 2:
		name = fmt.Sprintf("%s, mtu %d", name, binary.BigEndian.Uint32(body[4:]))
	case h.Layers.Has(LayerIPv6) && (h.ICMPType == 135 || h.ICMPType == 136) && len(body) >= icmpHeader+16:
		var t Tuple
		target := body[icmpHeader : icmpHeader+16]
		t.setIPv6(target, target)
		name = fmt.Sprintf("%s for %s", name, t.Source())
	}
	switch q := &h.Quoted; {
	case !h.Layers.Has(LayerQuoted):
	case h.Layers.Has(Truncated):
		return fmt.Sprintf("%s: %s %s > %s, the rest is not captured", name, q.Protocol, q.Source(), q.Destination())
	default:
		return name + ": " + q.String()
	}
	return name
}

// ICMPName returns the words for type and code, as RFC 792 and RFC 4443 have
// them; LayerICMP.
func (h *Headers) ICMPName() string {
	types, codes, exceeded := types4, unreachable4[:], uint8(11)
	unreachable := uint8(3)
	if h.Layers.Has(LayerIPv6) {
		types, codes, exceeded, unreachable = types6, unreachable6[:], 3, 1
	}
	switch {
	case h.ICMPType == unreachable && int(h.ICMPCode) < len(codes):
		return codes[h.ICMPCode]
	case h.ICMPType == exceeded && h.ICMPCode == 0:
		return "time to live exceeded"
	case h.ICMPType == exceeded && h.ICMPCode == 1:
		return "fragment reassembly time exceeded"
	}
	if name, ok := types[h.ICMPType]; ok {
		return name
	}
	return fmt.Sprintf("%s type %d code %d", h.Tuple.Protocol, h.ICMPType, h.ICMPCode)
}
