package netfilter

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

// plainMatchText writes the xtables matches that ask for one thing or two: what a
// rule's own structure holds is their option. False when there is no telling.
func plainMatchText(e *expression) (string, bool) {
	b := e.data
	switch {
	case e.extension == "pkttype" && e.revision == 0 && len(b) >= 8: // struct xt_pkttype_info
		kind := map[uint32]string{0: "unicast", 1: "broadcast", 2: "multicast"}[binary.NativeEndian.Uint32(b)]
		return "-m pkttype" + bang(binary.NativeEndian.Uint32(b[4:]) != 0) + " --pkt-type " + kind, kind != ""
	case e.extension == "length" && e.revision == 0 && len(b) >= 5: // struct xt_length_info
		r := [2]uint16{binary.NativeEndian.Uint16(b), binary.NativeEndian.Uint16(b[2:])}
		return "-m length" + bang(b[4] != 0) + " --length " + portRange(r, ":"), true
	case e.extension == "mac" && e.revision == 0 && len(b) >= 12: // struct xt_mac_info
		return "-m mac" + bang(binary.NativeEndian.Uint32(b[8:]) != 0) + " --mac-source " + net.HardwareAddr(b[:6]).String(), true
	case e.extension == "ttl" && e.revision == 0 && len(b) >= 2 && int(b[0]) < len(ttlOptions): // struct ipt_ttl_info
		return fmt.Sprintf("-m ttl%s %d", ttlOptions[b[0]], b[1]), true
	case e.extension == "iprange" && e.revision == 1 && len(b) >= 65:
		return addressRangeText(b, e.extensionFamily), true
	}
	return "", false
}

// ttlOptions are in the order of IPT_TTL_EQ, _NE, _LT, _GT.
var ttlOptions = [...]string{" --ttl-eq", " ! --ttl-eq", " --ttl-lt", " --ttl-gt"}

// addressRangeText writes -m iprange from struct xt_iprange_mtinfo.
func addressRangeText(b []byte, family uint8) string {
	n := 4
	if family == familyIPv6 {
		n = 16
	}
	s, flags := "-m iprange", b[64]
	for i, option := range []string{" --src-range ", " --dst-range "} {
		if flags>>i&1 == 0 {
			continue
		}
		from, _ := netip.AddrFromSlice(b[32*i:][:n]) // n bytes are an address
		to, _ := netip.AddrFromSlice(b[32*i+16:][:n])
		s += bang(flags>>(4+i)&1 != 0) + option + from.String() + "-" + to.String()
	}
	return s
}

// queueText writes -j NFQUEUE from struct xt_NFQ_info and its successors.
func queueText(e *expression) (string, bool) {
	b := e.data
	if len(b) < [...]int{2, 4, 6, 6}[min(e.revision, 3)] || e.revision > 3 {
		return "", false
	}
	const bypass, fanout = 1, 2
	first, total, flags := binary.NativeEndian.Uint16(b), uint16(1), uint16(0)
	if e.revision > 0 {
		total = binary.NativeEndian.Uint16(b[2:])
	}
	if e.revision > 1 {
		flags = binary.NativeEndian.Uint16(b[4:])
	}
	s := fmt.Sprintf("NFQUEUE --queue-num %d", first)
	if total > 1 {
		s = fmt.Sprintf("NFQUEUE --queue-balance %d:%d", first, first+total-1)
	}
	if flags&bypass != 0 {
		s += " --queue-bypass"
	}
	if flags&fanout != 0 {
		s += " --queue-cpu-fanout"
	}
	return s, flags&^(bypass|fanout) == 0
}
