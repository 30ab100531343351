package netfilter

import (
	"encoding/binary"
	"maps"
	"slices"
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

// ipsetsWritten are the sets to which -j SET adds what it sees, or from which it takes it: two
// of struct xt_set_info (xt_set.h), of which an index of IPSET_INVALID_ID is none.
func ipsetsWritten(e *expression) (list []uint16) {
	const none = 0xffff
	if e.name != "target" || e.extension != "SET" || e.revision < 1 || len(e.data) < 8 {
		return nil
	}
	for _, at := range []int{0, 4} {
		if index := binary.NativeEndian.Uint16(e.data[at:]); index != none {
			list = append(list, index)
		}
	}
	return list
}

// asksIPSets are the names of the sets of ipset that rules ask for.
func (r *Ruleset) asksIPSets() []string {
	names := map[string]bool{}
	for _, table := range r.tables {
		for _, c := range table.chains {
			for i := range c.rules {
				for k := range c.rules[i].expressions {
					if e := &c.rules[i].expressions[k]; e.name == "match" && e.extension == "set" && e.set != "" {
						names[e.set] = true
					}
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// rememberIPSets notes of sets that have the members they had since when they have had
// them, and reports whether all have. It is for who has made r and not shown it yet.
func (r *Ruleset) rememberIPSets(old *Ruleset) bool {
	same := old != nil && len(r.ipsets) == len(old.ipsets)
	for name, s := range r.ipsets {
		var was *ipset
		if old != nil {
			was = old.ipsets[name]
		}
		if s.sameMembers(was, r.Time) {
			s.since = was.since
		} else {
			same = false
		}
	}
	return same
}
