package netfilter

import (
	"encoding/binary"
	"strings"
)

// ipsetMatch is struct xt_set_info, with which each revision of -m set from 1 on
// begins (xt_set.h). Flags are bits: the inversion, then source or destination for each
// of the set's dimensions.
type ipsetMatch struct {
	index      uint16 // of the set, in the namespace
	dimensions uint8
	flags      uint8
}

const (
	ipsetInvert        = 1 << 0
	ipsetReturnNomatch = 1 << 7
)

// decodeIPSet reads -m set; plain says that it asks for nothing but the set.
func decodeIPSet(e *expression) (m ipsetMatch, plain, ok bool) {
	b := e.data
	if e.revision < 1 || e.revision > 4 || len(b) < 4 {
		return m, false, false
	}
	m = ipsetMatch{index: binary.NativeEndian.Uint16(b), dimensions: b[2], flags: b[3]}
	plain = m.flags&ipsetReturnNomatch == 0
	if e.revision >= 3 { // counters of the element, and flags, may be asked for
		plain = plain && zero(b[4:])
	}
	return m, plain, true
}

// ipsetText writes -m set. The set's name is known by its index only.
func ipsetText(e *expression) (string, bool) {
	m, plain, ok := decodeIPSet(e)
	if !ok || !plain || e.set == "" || m.dimensions == 0 || m.dimensions > 6 {
		return "", false
	}
	var sides []string
	for i := range m.dimensions {
		side := "dst"
		if m.flags&(2<<i) != 0 {
			side = "src"
		}
		sides = append(sides, side)
	}
	return "-m set" + bang(m.flags&ipsetInvert != 0) + " --match-set " + e.set + " " + strings.Join(sides, ","), true
}
