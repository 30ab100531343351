package netfilter

import (
	"testing"

	"natlens/capture/packet"
)

// What rules write into a packet without NAT is what the rules behind them see, and the
// rule that did it is known.
func TestAddressesWrittenByRules(t *testing.T) {
	needs(t, "nsenter", "ip", "nft")
	h := newNamespace(t)
	script(t, h, `
table inet stateless {
	chain pre {
		type filter hook prerouting priority raw
		udp dport 1 ip daddr set 172.17.0.2 udp dport set 8000
		udp dport 2 ip ttl set 9
		udp dport 3 ip saddr set ip saddr map { 198.51.100.7 : 198.51.100.8 }
		udp dport 4 ip6 daddr set fd00::2
		udp dport 5 @th,0,16 set numgen random mod 9
	}
}
`, "nft", "-f", "-")
	r := readRules(t, h)
	udp := func(from, to string, port uint16) packet.Tuple { return tuple(packet.UDP, from, to, 4000, port) }
	for _, c := range []struct {
		before, after packet.Tuple
		rule          int
	}{
		{udp("198.51.100.7", "192.0.2.10", 1), udp("198.51.100.7", "172.17.0.2", 8000), 1},
		{udp("198.51.100.7", "192.0.2.10", 2), udp("198.51.100.7", "192.0.2.10", 2), 0},
		{udp("198.51.100.7", "192.0.2.10", 3), udp("198.51.100.8", "192.0.2.10", 3), 3},
		{udp("fd02::1", "fd02::10", 4), udp("fd02::1", "fd00::2", 4), 4},
		{udp("198.51.100.7", "192.0.2.10", 5), packet.Tuple{}, 5},
	} {
		w := r.Walk(Path{Prerouting}, Packet{Tuple: c.before, InLink: "eth0", State: StateNew})
		rule := 0
		if w.Rewriter != nil {
			rule = w.Rewriter.Position
		}
		if w.Verdict != Accepted || w.Packet.Tuple != c.after || rule != c.rule {
			t.Errorf("%v: %q, %v by rule %d, want %v by %d (%s)", c.before, w.Verdict, w.Packet.Tuple, rule, c.after, c.rule, w.Unsure)
		}
	}
}
