package netfilter

import (
	"net/netip"
	"testing"

	"natlens/capture/packet"
)

// A set of ipset that is understood can be asked, and is the same out of a file.
func FuzzIPSet(f *testing.F) {
	for _, kind := range append(ipsetKinds, "hash:mac") {
		f.Add([]byte(ipsetAnswer(kind, nil, addressAttribute("192.0.2.1"))))
	}
	member := append(addressAttribute("198.51.100.0"), nested(ipsetDataCIDR, []byte{24})...)
	member = append(member, nested(ipsetDataPort, []byte{0, 80})...)
	member = append(member, nested(ipsetDataProtocol, []byte{6})...)
	member = append(member, nested(ipsetDataLink, []byte("eth0\x00"))...)
	member = append(member, nested(ipsetDataFlags, []byte{0, 0, 0, ipsetFlagNomatch | ipsetFlagWildcard})...)
	f.Add([]byte(ipsetAnswer("hash:net,port", nested(ipsetDataNetmask, []byte{24}), member, member[:8])))
	f.Add([]byte(ipsetAnswer("hash:net,iface", nil, member)))
	p := Packet{Tuple: packet.NewTuple(packet.TCP, netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("192.0.2.1"), 80, 80), InLink: "eth0", OutLink: "eth1"}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &ipset{}
		s.add(attributes(b), 1)
		s.add(attributes(b), 1) // an answer is of several messages
		if s.unreadable != "" {
			return
		}
		s.seal()
		again := &ipset{}
		again.add(attributes(b), 1)
		again.add(attributes(b), 1)
		again.seal()
		if !s.sameMembers(again, 1) {
			t.Errorf("%+v is not the same as %+v", s, again)
		}
		first := netip.PrefixFrom(p.Tuple.Source(), 32)
		for _, k := range []ipsetKey{{first: first}, {first: first, second: netip.PrefixFrom(p.Tuple.Destination(), 32), port: 80, protocol: 6}} {
			s.find(k, "eth0", 2)
		}
	})
}
