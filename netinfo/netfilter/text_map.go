package netfilter

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
)

// toldByNAT reports whether the next statement is one of NAT that takes its address from
// a map.
func toldByNAT(list []term) bool {
	i := slices.IndexFunc(list, func(t term) bool { return t.action != nil && t.action.name != "counter" && t.action.name != "log" })
	if i < 0 || list[i].action.name != "nat" || !list[i].action.one() {
		return false
	}
	f, ok := list[i].operandValues.at(list[i].action.address.number)
	return ok && f.lookup != nil
}

// one reports whether a NAT statement names one address and no range of ports.
func (e *expression) one() bool {
	return e.address.there && (!e.addressTo.there || e.addressTo == e.address) && (!e.portTo.there || e.portTo == e.port)
}

// natByMap writes a NAT statement whose address, and perhaps port, a map tells.
func (w *nftWriter) natByMap(word string, m *term, t *term) string {
	e := t.action
	keys, undecoded := w.names(m)
	if undecoded != "" || !e.one() {
		return word + " to " + notDecoded("mapped address")
	}
	port, numbered := t.constantPort(e.port)
	if e.port.there && !numbered && w.family != "inet" {
		word += map[bool]string{true: " ip", false: " ip6"}[e.family == familyIPv4]
	}
	s := word + " to " + keys + " map " + w.setText(m)
	if e.port.there && numbered {
		s += ":" + strconv.Itoa(int(port))
	}
	return s + natFlags(e.flags)
}

// mappedEnd writes what a map tells of an end: an address, or one with a port.
func mappedEnd(b []byte) (string, bool) {
	size := 4
	if len(b) >= 16 {
		size = 16
	}
	address, ok := netip.AddrFromSlice(b[:min(size, len(b))])
	switch {
	case ok && len(b) == size:
		return address.String(), true
	case ok && len(b) == size+4:
		return address.String() + " . " + strconv.Itoa(int(binary.BigEndian.Uint16(b[size:]))), true
	}
	return "", false
}
