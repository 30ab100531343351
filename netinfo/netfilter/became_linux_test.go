package netfilter

import (
	"net/netip"
	"testing"

	"natlens/capture/packet"
)

// What became of a flow's first packet tells which rule did it, where the rules alone
// don't, and that none did where all would have made something else of it.
func TestRuleThatMadeThatOfAPacket(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "iptables-nft")
	h := newNamespace(t)
	script(t, h, `*mangle
-A PREROUTING -p udp -m udp --dport 5 -j MARK --set-mark 0x17
COMMIT
*nat
-A PREROUTING -p udp -m udp --dport 1 -m statistic --mode random --probability 0.5 -j DNAT --to-destination 172.17.0.2:80
-A PREROUTING -p udp -m udp --dport 1 -j DNAT --to-destination 172.17.0.3:80
-A PREROUTING -p udp -m udp --dport 2:4 -j DNAT --to-destination 172.17.0.2:82-84/2
-A PREROUTING -p udp -m mark --mark 0x17 -j DNAT --to-destination 172.17.0.5
-A PREROUTING -p udp -m udp --dport 6 -j NETMAP --to 172.17.0.0/24
-A PREROUTING -p udp -m udp --dport 7 -j REDIRECT --to-ports 70-79 --random
-A INPUT -p udp -j SNAT --to-source 172.17.0.1
-A OUTPUT -p udp -m udp --dport 8 -m owner --uid-owner 0 -j DNAT --to-destination 172.17.0.8
-A POSTROUTING -p udp -m udp --dport 9 -m statistic --mode nth --every 2 --packet 0 -j SNAT --to-source 192.0.2.1-192.0.2.9:1000-1009
-A POSTROUTING -p udp -m udp --dport 9 -j SNAT --to-source 192.0.2.20
COMMIT
`, "iptables-nft-restore")
	script(t, h, `
table ip native {
	chain pre {
		type nat hook prerouting priority -90;
		udp dport 11 dnat to numgen inc mod 2 map { 0 : 172.17.0.2, 1 : 172.17.0.3 }
		udp dport 12 dnat to udp sport map { 4000 : 172.17.0.2 . 80, 4001 : 172.17.0.3 . 81 }
		udp dport 13 dnat to 172.17.0.2-172.17.0.9:80-90
	}
}
`, "nft", "-f", "-")
	r := readRules(t, h)
	const client, host = "198.51.100.7", "192.0.2.10"
	udp := func(from string, sport uint16, to string, dport uint16) packet.Tuple {
		return tuple(packet.UDP, from, to, sport, dport)
	}
	to := func(dport uint16, address string, became uint16) [2]packet.Tuple {
		return [2]packet.Tuple{udp(client, 4000, host, dport), udp(client, 4000, address, became)}
	}
	from := func(dport uint16, address string, became uint16) [2]packet.Tuple {
		return [2]packet.Tuple{udp("172.17.0.2", 4000, client, dport), udp(address, became, client, dport)}
	}
	for _, c := range []struct {
		name   string
		hook   Hook
		tuples [2]packet.Tuple // before and after
		want   string
	}{
		{"by chance", Prerouting, to(1, "172.17.0.2", 80), "dnat PREROUTING 1"},
		{"by chance, the other", Prerouting, to(1, "172.17.0.3", 80), "dnat PREROUTING 2"},
		{"by chance, to where none sends it", Prerouting, to(1, "172.17.0.4", 80), "none"},
		{"untouched, where a rule is sure", Prerouting, to(1, host, 1), "none"},
		{"a shifted range", Prerouting, to(3, "172.17.0.2", 83), "dnat PREROUTING 3"},
		{"another port than the range", Prerouting, to(3, "172.17.0.2", 90), "none"},
		{"by mark", Prerouting, to(5, "172.17.0.5", 5), "dnat PREROUTING 4"},
		{"mark not set", Prerouting, to(5, host, 5), "none"},
		{"a network", Prerouting, to(6, "172.17.0.10", 6), "netmap PREROUTING 5"},
		{"redirected", Prerouting, to(7, host, 75), "redirect PREROUTING 6"},
		{"redirected beyond", Prerouting, to(7, host, 80), "none"},
		{"by owner", Output, to(8, "172.17.0.8", 8), "dnat OUTPUT 1"},
		{"of another owner", Output, to(8, host, 8), "none"},
		{"at input", Input, from(22, "172.17.0.1", 4000), "snat INPUT 1"},
		{"ranges of a source", Postrouting, from(9, "192.0.2.5", 1005), "snat POSTROUTING 1"},
		{"source, the other", Postrouting, from(9, "192.0.2.20", 1005), "snat POSTROUTING 2"},
		{"source beyond the ranges", Postrouting, from(9, "192.0.2.5", 4000), "none"},
		{"by number", Prerouting, to(11, "172.17.0.3", 11), "dnat pre 1"},
		{"by a map", Prerouting, to(12, "172.17.0.2", 80), "dnat pre 2"},
		{"by a map, elsewhere", Prerouting, to(12, "172.17.0.3", 81), "none"},
		{"ranges of nft", Prerouting, to(13, "172.17.0.9", 90), "dnat pre 3"},
		{"beyond the ranges of nft", Prerouting, to(13, "172.17.0.10", 90), "none"},
	} {
		p := Packet{Tuple: c.tuples[0], InLink: "eth0", OutLink: "eth0"}
		p.LocalAddress = func(a netip.Addr) bool { return a.String() == host }
		m := r.NATOf(c.hook, p, c.tuples[1])
		got := map[Certainty]string{NoRule: "none", Unsure: "unsure"}[m.Certainty]
		if m.Certainty == Covered {
			got = m.Kind + " " + m.Rule.Chain + " " + itoa(uint64(m.Rule.Position))
		}
		if got != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, got, m.Rule.Text, c.want)
		}
	}
}
