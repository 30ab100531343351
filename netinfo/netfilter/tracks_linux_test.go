package netfilter

import "testing"

// What makes the kernel track connections: chains of NAT, and rules that ask for a
// state. nf_conntrack itself tells by what it has tracked.
func TestTracks(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "iptables-nft")
	for _, c := range []struct {
		name, rules string
		with        []string
		four, six   bool
	}{
		{"nothing", "table ip t { chain c { type filter hook input priority 0; tcp dport 1 drop; }; }", []string{"nft", "-f", "-"}, false, false},
		{"NAT", "table ip t { chain c { type nat hook postrouting priority 100; }; }", []string{"nft", "-f", "-"}, true, false},
		{"NAT of both", "table inet t { chain c { type nat hook postrouting priority 100; }; }", []string{"nft", "-f", "-"}, true, true},
		{"a state", "table ip6 t { chain c { type filter hook input priority 0; ct state new drop; }; }", []string{"nft", "-f", "-"}, false, true},
		{"iptables", "*filter\n-A INPUT -m conntrack --ctstate NEW -j DROP\nCOMMIT\n", []string{"iptables-nft-restore"}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newNamespace(t)
			script(t, h, c.rules, c.with...)
			r := readRules(t, h)
			if r.Tracks(true) != c.four || r.Tracks(false) != c.six {
				t.Errorf("IPv4 %v, IPv6 %v; want %v, %v", r.Tracks(true), r.Tracks(false), c.four, c.six)
			}
		})
	}
	if (*Ruleset)(nil).Tracks(true) {
		t.Error("rules that are not known")
	}
}
