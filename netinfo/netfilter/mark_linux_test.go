package netfilter

import (
	"net/netip"
	"testing"

	"natlens/capture/packet"
)

// netavarkChains are what netavark 1.4 lays down for a published port.
const netavarkChains = `*nat
:NETAVARK-DN-1 - [0:0]
:NETAVARK-HOSTPORT-DNAT - [0:0]
:NETAVARK-HOSTPORT-MASQ - [0:0]
:NETAVARK-HOSTPORT-SETMARK - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT
-A POSTROUTING -j NETAVARK-HOSTPORT-MASQ
-A NETAVARK-DN-1 -s 10.88.0.0/16 -p tcp -m tcp --dport 9000 -j NETAVARK-HOSTPORT-SETMARK
-A NETAVARK-DN-1 -s 127.0.0.1/32 -p tcp -m tcp --dport 9000 -j NETAVARK-HOSTPORT-SETMARK
-A NETAVARK-DN-1 -p tcp -m tcp --dport 9000 -j DNAT --to-destination 10.88.0.2:80
-A NETAVARK-HOSTPORT-DNAT -p tcp -m tcp --dport 9000 -j NETAVARK-DN-1
-A NETAVARK-HOSTPORT-MASQ -m comment --comment "netavark portfw masq mark" -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A NETAVARK-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000
COMMIT
`

// netavarkTable is the same in the language of nft, as newer ones do it.
const netavarkTable = `
table inet netavark {
	chain POSTROUTING {
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x00002000 == 0x00002000 masquerade
	}
	chain PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local jump NETAVARK-HOSTPORT-DNAT
	}
	chain OUTPUT {
		type nat hook output priority -100; policy accept;
		fib daddr type local jump NETAVARK-HOSTPORT-DNAT
	}
	chain NETAVARK-HOSTPORT-DNAT {
		tcp dport 9000 jump nv_dnat
	}
	chain NETAVARK-HOSTPORT-SETMARK {
		meta mark set meta mark | 0x00002000
	}
	chain nv_dnat {
		ip saddr 10.88.0.0/16 tcp dport 9000 jump NETAVARK-HOSTPORT-SETMARK
		ip saddr 127.0.0.1 tcp dport 9000 jump NETAVARK-HOSTPORT-SETMARK
		tcp dport 9000 dnat ip to 10.88.0.2:80
	}
}
`

// A mark that nobody knows is known in the bits that a rule set.
func TestMasqueradeByMark(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "iptables-nft", "iptables-legacy")
	const setMark = "-A NETAVARK-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000"
	for name, lay := range map[string]struct {
		rules  string
		words  []string
		masq   string // chain of the rule that masquerades
		marker string // the rule that sets the mark
	}{
		"iptables-nft":    {netavarkChains, []string{"iptables-nft-restore"}, "NETAVARK-HOSTPORT-MASQ", setMark},
		"iptables-legacy": {netavarkChains, []string{"iptables-legacy-restore"}, "NETAVARK-HOSTPORT-MASQ", setMark},
		"nft":             {netavarkTable, []string{"nft", "-f", "-"}, "POSTROUTING", "meta mark set meta mark | 0x00002000"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newNamespace(t)
			if b, err := command(h, "iptables-legacy", "-t", "nat", "-L", "-n").CombinedOutput(); err != nil && name == "iptables-legacy" {
				t.Skipf("needs a kernel with iptables-legacy: %s", b)
			}
			script(t, h, lay.rules, lay.words...)
			r := readRules(t, h)
			local := func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.10") || a.IsLoopback() }
			for _, c := range []struct {
				from  string
				hook  Hook
				known bool // the mark that it comes with
				masq  Certainty
			}{
				{"10.88.0.3", Prerouting, true, Covered},
				{"10.88.0.3", Prerouting, false, Covered},
				{"127.0.0.1", Output, false, Covered},
				{"198.51.100.7", Prerouting, true, NoRule},
				{"198.51.100.7", Prerouting, false, Unsure}, // it may have come with that mark
			} {
				p := Packet{Tuple: tuple(packet.TCP, c.from, "192.0.2.10", 4000, 9000), InLink: "podman0", MarkKnown: c.known, LocalAddress: local}
				if c.hook == Output {
					p.InLink, p.OutLink = "", "lo"
				}
				m := r.NAT(c.hook, p)
				if m.Kind != "dnat" || m.Marker != nil {
					t.Errorf("from %s: %+v, want dnat", c.from, m)
				}
				p = p.Behind(m)
				p.Tuple, p.OutLink = tuple(packet.TCP, c.from, "10.88.0.2", 4000, 80), "podman0"
				n := r.NAT(Postrouting, p)
				if n.Certainty != c.masq {
					t.Errorf("from %s with mark known %v: %+v, want %v", c.from, c.known, n, c.masq)
				}
				if c.masq != Covered {
					continue
				}
				if n.Kind != "masquerade" || n.Rule.Chain != lay.masq || n.Marker == nil || n.Marker.Chain != "NETAVARK-HOSTPORT-SETMARK" || n.Marker.Text != lay.marker || m.Mark&m.MarkBits != 0x2000 || m.MarkKnown != c.known {
					t.Errorf("from %s: %+v, then %+v", c.from, m, n)
				}
			}
		})
	}
}

func TestHasMark(t *testing.T) {
	for _, c := range []struct {
		mark, bits, want, mask uint32
		truth                  truth
	}{
		{0x2000, allBits, 0x2000, 0x2000, yes},
		{0x2000, 0x2000, 0x2000, 0x2000, yes},
		{0x2000, 0x2000, 0x2000, allBits, maybe},
		{0x2000, 0x2000, 0x1000, 0x3000, no},
		{0, 0, 0x2000, 0x2000, maybe},
		{0, allBits, 0, 0, yes},
		{0, 0, 1, 0, no}, // no mark has a bit that was taken out
	} {
		m := machine{effects: effects{mark: c.mark, markBits: c.bits}}
		if got := m.hasMark(c.want, c.mask); got != c.truth {
			t.Errorf("%#x of which %#x is known has %#x/%#x: %v, want %v", c.mark, c.bits, c.want, c.mask, got, c.truth)
		}
	}
	m := machine{effects: effects{mark: 5, markBits: 5}}
	m.setMark(0x2000, 0x2001)
	if m.mark != 0x2004 || m.markBits != 0x2005 {
		t.Errorf("mark %#x, known %#x", m.mark, m.markBits)
	}
	a, b := effects{mark: 6, markBits: 7}, effects{mark: 2, markBits: 0xff}
	if got := a.orElse(b); got.markBits != 3 {
		t.Errorf("%#x is known of a mark that may be either", got.markBits)
	}
}
