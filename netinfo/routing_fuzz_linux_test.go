package netinfo

import (
	"encoding/binary"
	"math"
	"net/netip"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// ruleMessage is what the kernel tells of one rule of routing.
func ruleMessage(family, toBits, fromBits byte, attributes ...[]byte) []byte {
	b := make([]byte, ruleHeaderSize)
	b[0], b[1], b[2], b[4], b[7] = family, toBits, fromBits, unix.RT_TABLE_MAIN, byte(RuleToTable)
	for _, a := range attributes {
		b = append(b, a...)
	}
	return b
}

// attribute is a struct nlattr with its value.
func attribute(kind uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, (4-len(value)%4)%4)...)
}

// A rule of routing that is understood can be asked and written.
func FuzzDecodeRoutingRule(f *testing.F) {
	f.Add(ruleMessage(unix.AF_INET, 0, 0, attribute(ruleTable, 254, 0, 0, 0), attribute(ruleSuppress, 255, 255, 255, 255)))
	f.Add(ruleMessage(unix.AF_INET, 16, 32, attribute(ruleTo, 172, 17, 0, 0), attribute(ruleFrom, 172, 17, 0, 2), attribute(rulePriority, 100, 0, 0, 0)))
	f.Add(ruleMessage(unix.AF_INET6, 0, 64, attribute(ruleFrom, netip.MustParseAddr("fd00::").AsSlice()...), attribute(ruleIn, []byte("eth0\x00")...)))
	f.Add(ruleMessage(unix.AF_INET, 0, 0, attribute(ruleMark, 1, 0, 0, 0), attribute(ruleMask, 1, 0, 0, 0), attribute(ruleProtocol, 6)))
	f.Add(ruleMessage(unix.AF_INET, 0, 0, attribute(rulePorts, 80, 0, 90, 0), attribute(ruleSourcePorts, 1, 0, 2, 0), attribute(ruleGoto, 9, 0, 0, 0)))
	f.Add(ruleMessage(unix.AF_INET, 200, 0, attribute(ruleTo, 1, 2, 3)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRoutingRule(b)
		if err != nil {
			return
		}
		for _, p := range []netip.Prefix{r.From, r.To} {
			if p != (netip.Prefix{}) && p != p.Masked() {
				t.Errorf("%v is no prefix", p)
			}
		}
		if r.Suppress < 0 || int64(r.Suppress) > math.MaxUint32 {
			t.Errorf("suppresses %d", r.Suppress)
		}
		if s := r.String(); s == "" || utf8.ValidString(r.In+r.Out) && !utf8.ValidString(s) {
			t.Errorf("written as %q", s)
		}
		n := &Namespace{Routing: &Routing{Rules: []RoutingRule{r}}}
		for _, q := range []RouteQuery{
			{Source: netip.MustParseAddr("172.17.0.2"), Destination: netip.MustParseAddr("198.51.100.7"), Protocol: 6, SourcePort: 1, DestinationPort: 80, In: 1},
			{Source: netip.MustParseAddr("fd00::2"), Destination: netip.MustParseAddr("2001:db8::1"), Protocol: 17, SourcePort: 1, DestinationPort: 53, In: 1, MarkBits: math.MaxUint32},
		} {
			n.Decide(q)
		}
	})
}
