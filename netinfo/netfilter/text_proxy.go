package netfilter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// tproxyText writes -j TPROXY: struct xt_tproxy_target_info_v1.
func tproxyText(e *expression) (string, bool) {
	if e.revision != 1 || len(e.data) < 26 {
		return "", false
	}
	mask, mark := binary.NativeEndian.Uint32(e.data), binary.NativeEndian.Uint32(e.data[4:])
	address := netip.AddrFrom16([16]byte(e.data[8:24]))
	if e.extensionFamily == familyIPv4 {
		address = netip.AddrFrom4([4]byte(e.data[8:12]))
	}
	return fmt.Sprintf("TPROXY --on-port %d --on-ip %s --tproxy-mark %#x/%#x", binary.BigEndian.Uint16(e.data[24:]), address, mark, mask), true
}

// tproxy writes nft's tproxy.
func (w *nftWriter) tproxy(t *term) string {
	e := t.action
	word := "tproxy"
	if w.family == "inet" {
		word += map[uint32]string{familyIPv4: " ip", familyIPv6: " ip6"}[e.family]
	}
	if !e.address.there {
		return w.translated(word, "", t)
	}
	to, ok := t.constantAddress(e.address)
	if !ok {
		return word + " to " + notDecoded("mapped address")
	}
	address := to.String()
	if to.Is6() {
		address = "[" + address + "]"
	}
	return w.translated(word, address, t)
}

// synproxyStatement writes nft's synproxy.
func synproxyStatement(e *expression) string {
	const mss, scale, selective, stamps = 1, 2, 4, 8 // NF_SYNPROXY_OPT_* (nf_synproxy.h)
	s := "synproxy"
	if e.flags&(mss|scale) != 0 {
		s += fmt.Sprintf(" mss %d wscale %d", e.length, e.operation)
	}
	if e.flags&stamps != 0 {
		s += " timestamp"
	}
	if e.flags&selective != 0 {
		s += " sack-perm"
	}
	return s
}
