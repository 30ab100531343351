package netfilter

import "encoding/binary"

// Exempts reports whether a rule takes packets out of connection tracking
// (notrack), wherever it stands and whatever it asks for. They have no flow, pass
// NAT untouched, and no event ever tells of them.
func (r *Ruleset) Exempts() bool {
	if r == nil {
		return false
	}
	for _, t := range r.tables {
		for _, c := range t.chains {
			for i := range c.rules {
				for j := range c.rules[i].expressions {
					if c.rules[i].expressions[j].exempts() {
						return true
					}
				}
			}
		}
	}
	return false
}

func (e *expression) exempts() bool {
	const noTrack = 1 // XT_CT_NOTRACK (linux/netfilter/xt_CT.h)
	switch {
	case e.name == "notrack":
		return true
	case e.name == "target" && e.extension == "NOTRACK":
		return true
	case e.name == "target" && e.extension == "CT":
		return len(e.data) >= 2 && binary.NativeEndian.Uint16(e.data)&noTrack != 0
	}
	return false
}
