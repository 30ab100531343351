package netfilter

import (
	"testing"

	"natlens/capture/packet"
)

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

// Which packets a rule exempts is what it asks for, and only where connection
// tracking has not seen them yet.
func TestPacketsThatAreExempted(t *testing.T) {
	needs(t, "nsenter", "nft", "iptables-nft", "iptables-legacy")
	dns := Packet{Tuple: tuple(packet.UDP, "172.17.0.2", "192.0.2.10", 4711, 53), InLink: "docker0", MarkKnown: true}
	web := Packet{Tuple: tuple(packet.TCP, "172.17.0.2", "192.0.2.10", 4711, 80), InLink: "docker0", MarkKnown: true}
	for _, c := range []struct {
		name, line string
		hook       Hook
		dns, web   Fact
	}{
		{"no rule", "true", Prerouting, False, False},
		{"nft", "nft add table ip a; add chain ip a b { type filter hook prerouting priority raw; }; add rule ip a b udp dport 53 notrack", Prerouting, True, False},
		{"nft, too late", "nft add table ip a; add chain ip a b { type filter hook prerouting priority -150; }; add rule ip a b udp dport 53 notrack", Prerouting, False, False},
		{"another hook", "iptables-nft -t raw -A OUTPUT -p udp -j NOTRACK", Prerouting, False, False},
		{"this hook", "iptables-nft -t raw -A OUTPUT -p udp -j NOTRACK", Output, True, False},
		{"iptables", "iptables-nft -t raw -A PREROUTING -i docker0 -p tcp -j CT --notrack", Prerouting, False, True},
		{"iptables-legacy", "iptables-legacy -t raw -A PREROUTING -p udp -j CT --notrack", Prerouting, True, False},
		{"by chance", "iptables-nft -t raw -A PREROUTING -p udp -m statistic --mode random --probability 0.5 -j CT --notrack", Prerouting, NotKnown, False},
		{"dropped before", "iptables-nft -t raw -A PREROUTING -p udp -j DROP", Prerouting, False, False},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newNamespace(t)
			run(t, h, c.line)
			r := readRules(t, h)
			if got := [2]Fact{r.Exempted(c.hook, dns), r.Exempted(c.hook, web)}; got != [2]Fact{c.dns, c.web} {
				t.Errorf("a question to a name server, a segment: exempted %v, want %v", got, [2]Fact{c.dns, c.web})
			}
		})
	}
	if got := (*Ruleset)(nil).Exempted(Prerouting, dns); got != NotKnown {
		t.Errorf("rules that are not known: %v", got)
	}
}
