package netfilter

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// addressRange evaluates -m iprange: struct xt_iprange_mtinfo, the ends of two ranges and
// which of them are asked for or negated.
func (m *machine) addressRange(e *expression) truth {
	m.why = "its addresses"
	if len(e.data) < 65 {
		return maybe
	}
	size := 16
	if m.packet.Tuple.Is4() {
		size = 4
	}
	t, flags, result := m.packet.Tuple, e.data[64], yes
	for side, address := range []netip.Addr{t.Source(), t.Destination()} {
		asked, negated := flags>>side&1 != 0, flags>>(4+side)&1 != 0
		switch {
		case !asked:
		case !m.addressKnown[side]:
			result = both(result, maybe)
		default:
			from, to := e.data[32*side:][:size], e.data[32*side+16:][:size]
			within := bytes.Compare(from, address.AsSlice()) <= 0 && bytes.Compare(address.AsSlice(), to) <= 0
			result = both(result, truthOf(within != negated))
		}
	}
	return result
}

// sourceMAC evaluates -m mac: struct xt_mac_info. What is routed keeps the header of the
// link by which it came.
func (m *machine) sourceMAC(e *expression) truth {
	m.why = "the header of its frame"
	if len(e.data) < 12 || !m.packet.Frame.Known || m.hook == Output || m.hook == Postrouting {
		return maybe
	}
	negated := binary.NativeEndian.Uint32(e.data[8:]) != 0
	return truthOf(bytes.Equal(e.data[:6], m.packet.Frame.Source[:]) != negated)
}
