package netfilter

import "testing"

func TestRulesThatExemptFromTracking(t *testing.T) {
	needs(t, "nsenter", "nft", "iptables-nft", "iptables-legacy")
	for _, c := range []struct {
		line string
		want bool
	}{
		{"nft add table ip a; add chain ip a b { type filter hook prerouting priority raw; }; add rule ip a b udp dport 53 notrack", true},
		{"iptables-nft -t raw -A PREROUTING -p udp -j CT --notrack", true},
		{"iptables-nft -t raw -A OUTPUT -p udp -j NOTRACK", true},
		{"iptables-legacy -t raw -A PREROUTING -p udp -j CT --notrack", true},
		{"iptables-nft -t raw -A PREROUTING -p udp -j CT --zone 5", false},
		{"iptables-nft -t raw -A PREROUTING -p udp -j DROP", false},
	} {
		h := newNamespace(t)
		if readRules(t, h).Exempts() {
			t.Fatal("no rules exempt packets")
		}
		run(t, h, c.line)
		if got := readRules(t, h).Exempts(); got != c.want {
			t.Errorf("%s: exempts %v, want %v", c.line, got, c.want)
		}
	}
}
