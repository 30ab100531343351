package netfilter

import (
	"testing"

	"natlens/capture/packet"
)

// evaluateFrame runs one rule alone in a chain of a bridge.
func evaluateFrame(family string, expressions []expression, p Packet) (Walk, string) {
	c := &chain{family: "bridge", table: "t", name: "c", base: true, kind: "filter", hook: Forward, policy: verdictAccept}
	c.rules = []rule{{ref: RuleRef{Family: family}, expressions: expressions}}
	t := &table{chains: map[string]*chain{"c": c}, sets: map[string]*set{}}
	r := &Ruleset{base: []*chain{c}, tables: map[tableKey]*table{{family: "bridge", name: "t"}: t}}
	c.rules[0].describe(tableKey{family: family, name: "t"}, t, nil)
	p.Bridged = true
	return r.Walk(Path{Forward}, p), c.rules[0].ref.Text
}

// A kernel without VLANs of its own takes the tag for granted; the priority in it is not
// known from a Packet.
func TestRuleForVLAN(t *testing.T) {
	load := func(offset, n uint32) []byte {
		return instruction("payload", nested(1, word(1)), nested(2, word(payloadLink)), nested(3, word(offset)), nested(4, word(n)))
	}
	equal := func(b ...byte) []byte {
		return instruction("cmp", nested(1, word(1)), nested(2, word(cmpEqual)), nested(3, nested(1, b)))
	}
	masked := func(mask ...byte) []byte {
		return instruction("bitwise", nested(1, word(1)), nested(2, word(1)), nested(3, word(uint32(len(mask)))), nested(4, nested(1, mask)), nested(5, nested(1, make([]byte, len(mask)))))
	}
	drop := instruction("immediate", nested(1, word(0)), nested(2, nested(2, nested(1, word(0)))))
	join := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	id := join(load(12, 2), equal(0x81, 0), load(14, 2), masked(0x0f, 0xff), equal(0, 5), drop)
	priority := join(load(12, 2), equal(0x81, 0), load(14, 1), masked(0xe0), equal(0x60), drop)
	kind := join(load(12, 2), equal(0x81, 0), load(16, 2), equal(8, 0), drop)
	for _, c := range []struct {
		name string
		rule []byte
		text string
		vlan uint16
		want Verdict
	}{
		{"its number", id, "vlan id 5 drop", 5, Dropped},
		{"another number", id, "vlan id 5 drop", 6, Accepted},
		{"no tag", id, "vlan id 5 drop", 0, Accepted},
		{"priority", priority, "vlan pcp 3 drop", 5, ""},
		{"priority, no tag", priority, "vlan pcp 3 drop", 0, Accepted},
		{"what is behind the tag", kind, "ether type 8021q vlan type ip drop", 5, Dropped},
	} {
		list, ok := decodeExpressions(c.rule, familyNumbers["bridge"])
		if !ok {
			t.Fatal(c.name)
		}
		p := Packet{Tuple: tuple(packet.UDP, "10.0.0.1", "10.0.0.2", 1, 2), Frame: Frame{Known: true, VLAN: c.vlan}}
		if w, text := evaluateFrame("bridge", list, p); w.Verdict != c.want || text != c.text {
			t.Errorf("%s: %q (%s) by %q, want %q by %q", c.name, w.Verdict, w.Unsure, text, c.want, c.text)
		}
	}
}
