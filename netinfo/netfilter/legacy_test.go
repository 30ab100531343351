package netfilter

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// legacyEntry makes an entry of IPv4 whose only condition is a protocol.
func legacyEntry(protocol uint16, packets uint64, target []byte) []byte {
	s := legacyShapes["ip"]
	b := make([]byte, s.size)
	binary.NativeEndian.PutUint16(b[s.protocol:], protocol)
	binary.NativeEndian.PutUint16(b[s.target:], uint16(s.size))
	binary.NativeEndian.PutUint16(b[s.next:], uint16(s.size+len(target)))
	binary.NativeEndian.PutUint64(b[s.counts:], packets)
	return append(b, target...)
}

// legacyTarget makes a target: a verdict, or a name and what belongs to it.
func legacyTarget(name string, data []byte) []byte {
	b := make([]byte, xtHeader, xtHeader+len(data))
	copy(b[2:], name)
	b = append(b, data...)
	b = append(b, make([]byte, -len(b)&7)...)
	binary.NativeEndian.PutUint16(b, uint16(len(b)))
	return b
}

func legacyVerdict(code int32) []byte {
	return legacyTarget("", binary.NativeEndian.AppendUint32(nil, uint32(code)))
}

// legacyFilter is a table whose FORWARD jumps to USER for TCP, which drops, and
// has the policy accept.
func legacyFilter() (legacyInfo, []byte) {
	const entry, header = 112 + 40, 112 + 64
	var b []byte
	b = append(b, legacyEntry(6, 7, legacyVerdict(2*entry+header))...) // FORWARD 1, jump behind the header
	b = append(b, legacyEntry(0, 0, legacyVerdict(-2))...)             // its policy
	name := make([]byte, 30)
	copy(name, "USER")
	b = append(b, legacyEntry(0, 0, legacyTarget("ERROR", name))...)
	b = append(b, legacyEntry(0, 3, legacyVerdict(-1))...)
	b = append(b, legacyEntry(0, 0, legacyVerdict(-5))...) // the end of USER
	copy(name, "ERROR")
	b = append(b, legacyEntry(0, 0, legacyTarget("ERROR", name))...)
	info := legacyInfo{hooks: 1 << 2, byteSize: uint32(len(b))}
	info.underflow[2] = entry
	return info, b
}

func TestDecodeLegacy(t *testing.T) {
	info, b := legacyFilter()
	tab, err := decodeLegacy("ip", "filter", info, b)
	if err != nil {
		t.Fatal(err)
	}
	r := &Ruleset{tables: map[tableKey]*table{{"ip", "filter", true}: tab}}
	r.finish()
	var got []string
	for _, rule := range r.Rules() {
		got = append(got, fmt.Sprint(rule.Text, " ", rule.Counter.Packets))
	}
	if len(got) != 2 || got[0] != "-A FORWARD -p tcp -j USER 7" || got[1] != "-A USER -j DROP 3" {
		t.Errorf("rules %q", got)
	}
	if f := tab.chains["FORWARD"]; f == nil || !f.base || f.hook != Forward || f.policy != verdictAccept {
		t.Errorf("FORWARD is %+v", f)
	}
	for n := range b { // cut anywhere, it is malformed or shorter, never more
		cut, err := decodeLegacy("ip", "filter", info, b[:n])
		if err == nil && len(cut.chains) > 2 {
			t.Errorf("%d bytes of %d make %d chains", n, len(b), len(cut.chains))
		}
	}
}

func FuzzLegacy(f *testing.F) {
	info, b := legacyFilter()
	f.Add("ip", info.hooks, info.underflow[2], b)
	f.Add("ip6", uint32(1), uint32(0), make([]byte, 208))
	f.Fuzz(func(t *testing.T, family string, hooks, underflow uint32, b []byte) {
		info := legacyInfo{hooks: hooks, byteSize: uint32(len(b))}
		info.underflow[2] = underflow
		tab, err := decodeLegacy(family, "filter", info, b)
		if err != nil {
			return
		}
		r := &Ruleset{tables: map[tableKey]*table{{family, "filter", true}: tab}}
		r.finish()
		r.Walk(ThroughHost, Packet{Tuple: tuple(6, "172.17.0.2", "198.51.100.7", 4711, 80), InLink: "a", OutLink: "b", State: StateNew})
	})
}
