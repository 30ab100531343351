package netfilter

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"natlens/capture/packet"
)

// nested makes an attribute out of parts, in this machine's byte order.
func nested(kind uint16, parts ...[]byte) []byte {
	var data []byte
	for _, p := range parts {
		data = append(data, p...)
	}
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	return append(b, make([]byte, -len(b)&3)...)
}

func word(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func instruction(name string, attrs ...[]byte) []byte {
	return nested(1, nested(1, []byte(name+"\x00")), nested(2, attrs...))
}

// masqueradeRule is "oifname != docker0 ip saddr 172.17.0.0/16 counter
// masquerade", as nft sends it.
func masqueradeRule() []byte {
	var b []byte
	for _, e := range [][]byte{
		instruction("meta", nested(1, word(1)), nested(2, word(metaOIFName))),
		instruction("cmp", nested(1, word(1)), nested(2, word(cmpNotEqual)), nested(3, nested(1, []byte("docker0\x00")))),
		instruction("payload", nested(1, word(1)), nested(2, word(payloadNetwork)), nested(3, word(12)), nested(4, word(2))),
		instruction("cmp", nested(1, word(1)), nested(2, word(cmpEqual)), nested(3, nested(1, []byte{172, 17}))),
		instruction("counter", nested(1, make([]byte, 8)), nested(2, make([]byte, 8))),
		instruction("masq"),
	} {
		b = append(b, e...)
	}
	return b
}

// evaluate runs one rule alone.
func evaluate(expressions []expression, p Packet) Match {
	c := &chain{family: "ip", table: "t", name: "c", base: true, kind: "nat", hook: Postrouting, policy: verdictAccept}
	c.rules = []rule{{ref: RuleRef{Family: "ip"}, expressions: expressions}}
	t := &table{chains: map[string]*chain{"c": c}, sets: map[string]*set{}}
	r := &Ruleset{base: []*chain{c}, tables: map[tableKey]*table{{family: "ip", name: "t"}: t}}
	c.rules[0].describe(tableKey{family: "ip", name: "t"}, t, nil)
	m := r.NAT(Postrouting, p)
	m.Rule = c.rules[0].ref
	return m
}

func TestDecodeExpressions(t *testing.T) {
	list, ok := decodeExpressions(masqueradeRule(), familyIPv4)
	if !ok || len(list) != 6 {
		t.Fatalf("%d expressions, ok %v", len(list), ok)
	}
	p := Packet{Tuple: packet.NewTuple(packet.TCP, netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("192.0.2.1"), 1, 2), OutLink: "eth0"}
	m := evaluate(list, p)
	if m.Certainty != Covered || m.Kind != "masquerade" {
		t.Errorf("%+v", m)
	}
	if want := `oifname != "docker0" ip saddr 172.17.0.0/16 counter masquerade`; m.Rule.Text != want {
		t.Errorf("text %q, want %q", m.Rule.Text, want)
	}
}

func TestAnUnknownAttributeMakesARuleUnsure(t *testing.T) {
	for _, unknown := range [][]byte{
		instruction("cmp", nested(1, word(1)), nested(2, word(cmpEqual)), nested(3, nested(1, []byte{172, 17})), nested(77, word(1))),
		instruction("payload", nested(1, word(1)), nested(77, word(1))),
		instruction("future", nested(1, word(1))),
		instruction("masq", nested(77, word(1))),
	} {
		list, ok := decodeExpressions(append(unknown, masqueradeRule()...), familyIPv4)
		if !ok || !list[0].opaque {
			t.Fatalf("ok %v, first %+v", ok, list[0])
		}
		p := Packet{Tuple: packet.NewTuple(packet.TCP, netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("192.0.2.1"), 1, 2), OutLink: "eth0"}
		if m := evaluate(list, p); m.Certainty != Unsure {
			t.Errorf("%s: %+v, want Unsure", list[0].name, m)
		}
		p.OutLink = "docker0"
		want := NoRule
		if list[0].name == "masq" {
			want = Unsure // it may act before the comparison fails
		}
		if m := evaluate(list, p); m.Certainty != want {
			t.Errorf("%s, on docker0: %+v, want %d", list[0].name, m, want)
		}
	}
}

// TestAWalkEnds builds what a kernel would take ages to walk: each chain jumps
// to the next many times.
func TestAWalkEnds(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"}
	tab := &table{chains: map[string]*chain{}, sets: map[string]*set{}}
	for i, name := range names {
		c := &chain{family: "ip", table: "t", name: name, base: i == 0, kind: map[bool]string{true: "nat"}[i == 0], hook: Postrouting}
		for range 20 {
			next := names[(i+1)%len(names)]
			c.rules = append(c.rules, rule{expressions: []expression{{name: "immediate", verdict: verdict{there: true, code: verdictJump, chain: next}}}})
		}
		tab.chains[name] = c
	}
	tab.chains["k"].rules = nil
	r := &Ruleset{base: []*chain{tab.chains["a"]}, tables: map[tableKey]*table{{family: "ip", name: "t"}: tab}}
	p := Packet{Tuple: packet.NewTuple(packet.TCP, netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("192.0.2.1"), 1, 2)}
	if m := r.NAT(Postrouting, p); m.Certainty != Unsure {
		t.Errorf("%+v, want Unsure", m)
	}
}

func FuzzRuleExpressions(f *testing.F) {
	f.Add(masqueradeRule())
	f.Add(instruction("match", nested(1, []byte("multiport\x00")), nested(2, word(1)), nested(3, make([]byte, 48))))
	f.Add(instruction("match", nested(1, []byte("addrtype\x00")), nested(2, word(1)), nested(3, make([]byte, 8))))
	f.Add(instruction("target", nested(1, []byte("DNAT\x00")), nested(2, word(2)), nested(3, make([]byte, 44))))
	f.Add(instruction("bitwise", nested(1, word(1)), nested(2, word(1)), nested(3, word(4)), nested(4, nested(1, word(7))), nested(5, nested(1, word(0)))))
	f.Add(instruction("immediate", nested(1, word(0)), nested(2, nested(2, nested(1, word(0xfffffffd)), nested(2, []byte("c\x00"))))))
	f.Add([]byte(ipsetAnswer("hash:net", nil, addressAttribute("192.0.2.1"))))
	p := Packet{Tuple: packet.NewTuple(packet.TCP, netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("192.0.2.1"), 1, 2), OutLink: "eth0"}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, family := range []uint8{familyIPv4, familyIPv6} {
			list, ok := decodeExpressions(b, family)
			if !ok {
				continue
			}
			evaluate(list, p)
			iptablesText(&rule{expressions: list})
		}
		for _, family := range []string{"bridge", "netdev", "arp"} {
			if list, ok := decodeExpressions(b, familyNumbers[family]); ok {
				evaluateFrame(family, list, Packet{Tuple: p.Tuple, Frame: Frame{Known: true, VLAN: 5}})
			}
		}
		_, _ = decodeElements(attributes(b))
		_, _, _ = decodeSet(attributes(b))
		_, _, _ = decodePolicyCount(attributes(b), "ip") // of a chain
		_, _ = decodeRule(attributes(b), "ip", familyIPv4)
		_, _, _ = decodeCount(attributes(b), "ip")
		(&statistics{}).add(attributes(b))
		var members ipset
		members.add(attributes(b), 0)
	})
}
