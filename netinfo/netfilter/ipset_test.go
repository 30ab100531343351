package netfilter

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"natlens/capture/packet"
)

// ipsetAnswer is what the kernel would answer about a set of IPv4.
func ipsetAnswer(kind string, head []byte, members ...[]byte) attributes {
	b := nested(ipsetAttrType, append([]byte(kind), 0))
	b = append(b, nested(ipsetAttrFamily, []byte{familyIPv4})...)
	b = append(b, nested(ipsetAttrData, head)...)
	var list []byte
	for _, m := range members {
		list = append(list, nested(ipsetAttrData, m)...)
	}
	return append(b, nested(ipsetAttrMembers, list)...)
}

func addressAttribute(a string) []byte {
	return nested(ipsetDataAddress, nested(1, netip.MustParseAddr(a).AsSlice()))
}

func seconds(n uint32) []byte {
	return nested(ipsetDataTimeout, binary.BigEndian.AppendUint32(nil, n))
}

// What a set says of a packet depends on when it came, and on what can be known.
func TestMemberOfIPSet(t *testing.T) {
	const read = int64(1000e9)
	forever := addressAttribute("192.0.2.1")
	for _, c := range []struct {
		name   string
		answer attributes
		at     int64
		change func(*ipset)
		want   truth
		why    string
	}{
		{"a member", ipsetAnswer("hash:ip", nil, forever), read + 1, nil, yes, ""},
		{"another", ipsetAnswer("hash:ip", nil, addressAttribute("192.0.2.9")), read + 1, nil, no, ""},
		{"as of now", ipsetAnswer("hash:ip", nil, append(forever, seconds(5)...)), 0, nil, yes, ""},
		{"before its end", ipsetAnswer("hash:ip", nil, append(forever, seconds(5)...)), read + 5e9 - 1, nil, yes, ""},
		{"about its end", ipsetAnswer("hash:ip", nil, append(forever, seconds(5)...)), read + 5e9, nil, maybe, ""},
		{"past its end", ipsetAnswer("hash:ip", nil, append(forever, seconds(5)...)), read + 6e9, nil, no, ""},
		{"it stays", ipsetAnswer("hash:ip", nil, append(forever, seconds(0)...)), read + 1e15, nil, yes, ""},
		{"before it was read", ipsetAnswer("hash:ip", nil, forever), read - 1, nil, maybe, "what was in the set s then"},
		{"rules write it", ipsetAnswer("hash:ip", nil, forever), read + 1, func(s *ipset) { s.written = true }, maybe, "what was in the set s then"},
		{"not evaluated", ipsetAnswer("hash:mac", nil, nested(ipsetDataMAC, make([]byte, 6))), read + 1, nil, maybe,
			"what is in the set s (hash:mac is not evaluated here)"},
		{"with a bitmask", ipsetAnswer("hash:ip", nested(ipsetDataBitmask, nested(1, []byte{255, 0, 0, 255})), forever), read + 1, nil, maybe,
			"what is in the set s (with a bitmask, not evaluated here)"},
		{"malformed", ipsetAnswer("hash:ip", nil, nested(ipsetDataAddress, []byte{1, 2, 3, 4})), read + 1, nil, maybe, "what is in the set s (not understood)"},
		{"netmask", ipsetAnswer("hash:ip", nested(ipsetDataNetmask, []byte{24}), addressAttribute("192.0.2.0")), read + 1, nil, yes, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &ipset{since: read}
			s.add(c.answer, read)
			s.seal()
			if c.change != nil {
				c.change(s)
			}
			p := Packet{Tuple: tuple(packet.UDP, "192.0.2.1", "198.51.100.7", 5, 6), Time: c.at}
			m := newMachine(&p, &Ruleset{ipsets: map[string]*ipset{"s": s}})
			got := m.member("s", ipsetQuery{ipsetMatch: ipsetMatch{dimensions: 1, flags: 2}, at: c.at})
			if got != c.want || c.why != "" && m.why != c.why {
				t.Errorf("%v, %q; want %v, %q", got, m.why, c.want, c.why)
			}
		})
	}
}

// A set is the same as before where nothing came, went, or came back.
func TestSameMembersOfIPSet(t *testing.T) {
	member := func(a string, expires int64) ipsetMember {
		return ipsetMember{first: netip.MustParsePrefix(a), expires: expires}
	}
	old := &ipset{kind: "hash:ip", members: []ipsetMember{member("192.0.2.1/32", 0), member("192.0.2.2/32", 20)}}
	for _, c := range []struct {
		name    string
		members []ipsetMember
		want    bool
	}{
		{"in another order", []ipsetMember{old.members[1], old.members[0]}, true},
		{"lives longer", []ipsetMember{old.members[0], member("192.0.2.2/32", 40)}, true},
		{"one more", append([]ipsetMember{member("192.0.2.3/32", 0)}, old.members...), false},
		{"one less", old.members[:1], false},
		{"another", []ipsetMember{old.members[0], member("192.0.2.3/32", 20)}, false},
	} {
		if got := (&ipset{kind: "hash:ip", members: c.members}).sameMembers(old, 10); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	back := &ipset{kind: "hash:ip", members: []ipsetMember{old.members[0], member("192.0.2.2/32", 60)}}
	if back.sameMembers(old, 30) {
		t.Error("what had expired and came back was never away")
	}
}
