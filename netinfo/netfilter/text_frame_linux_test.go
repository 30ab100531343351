package netfilter

import (
	"fmt"
	"math/rand"
	"regexp"
	"strings"
	"testing"

	"natlens/netinfo/netns"
)

// frameTables have the chains of frames and of ARP, and what frameRules look into.
const frameTables = `
table bridge b {
	set macs { type ether_addr; elements = { 02:00:00:00:00:01, 02:00:00:00:00:02 }; }
	set pairs { type ether_addr . ipv4_addr; elements = { 02:00:00:00:00:01 . 10.0.0.1 }; }
	set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }
	map ports { type ifname : verdict; elements = { "veth0" : drop, "veth1" : jump other }; }
	map bymac { type ether_addr : verdict; elements = { 02:00:00:00:00:01 : drop }; }
	map types { type ether_type : verdict; elements = { arp : accept, 0x88cc : drop }; }
	chain other { }
	chain forward { type filter hook forward priority -200; }
	chain prerouting { type filter hook prerouting priority -300; policy drop; }
	chain output { type filter hook output priority 100; }
}
table arp a {
	set known { type ipv4_addr; elements = { 10.0.0.1 }; }
	chain input { type filter hook input priority 0; }
	chain output { type filter hook output priority 0; }
}
table netdev n {
	set banned { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.1.1 }; }
	set macs { type ether_addr; elements = { 02:00:00:00:00:01 }; }
	chain ingress { type filter hook ingress device "d0" priority 0; }
	chain egress { type filter hook egress device "d0" priority 0; }
}
`

// frameRules are what people write there, by chain.
var frameRules = map[string][]string{
	"bridge b forward": {
		"ether saddr 02:00:00:00:00:01 drop", "ether saddr 02:00:00:00:00:01 ether daddr ff:ff:ff:ff:ff:ff counter drop", "ether saddr != 02:00:00:00:00:01 drop",
		"ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 drop", "ether saddr & ff:ff:ff:00:00:00 == 02:42:00:00:00:00 drop", "ether daddr 02:00:00:00:00:01 ether type ip drop",
		"ether saddr { 02:00:00:00:00:01, 02:00:00:00:00:03 } drop", "ether saddr @macs accept", "ether saddr != @macs drop", "ether saddr vmap @bymac",
		"ether saddr . ip saddr @pairs accept", "ether saddr . ether daddr { 02:00:00:00:00:01 . 02:00:00:00:00:02 } drop", "iifname . ether saddr { \"veth0\" . 02:00:00:00:00:01 } accept",
		"ether type arp drop", "ether type ip accept", "ether type ip6 counter accept", "ether type vlan accept", "ether type 8021ad accept", "ether type 0x88cc drop", "ether type 0x0600 drop",
		"ether type { ip, arp } accept", "ether type != { ip, arp, ip6 } drop", "ether type vmap { ip : accept, arp : drop }", "ether type vmap @types", "ether type != arp drop",
		"meta protocol ip accept", "meta protocol arp drop", "meta protocol { ip, ip6 } accept", "meta protocol != ip drop",
		"vlan id 5 drop", "vlan id { 5, 7 } drop", "vlan id 5-9 drop", "vlan id 5 ip saddr 10.0.0.1 drop", "vlan id 5 tcp dport 80 drop", "vlan type ip drop", "vlan id 7 vlan pcp 3 drop", "vlan pcp 3 drop",
		"vlan id != 5 drop", "vlan id 5 vlan type arp drop", "ether saddr 02:00:00:00:00:01 vlan id 5 drop",
		"arp operation request drop", "arp operation reply counter accept", "arp operation { request, reply } accept", "arp htype 1 arp ptype 0x0800 accept", "arp plen 4 arp hlen 6 accept",
		"arp saddr ip 10.0.0.1 drop", "arp daddr ip 10.0.0.0/24 drop", "arp saddr ether 02:00:00:00:00:01 arp saddr ip != 10.0.0.1 drop", "arp saddr ether 02:00:00:00:00:01 arp saddr ip 10.0.0.1 drop",
		"arp daddr ether 02:00:00:00:00:01 drop", "arp saddr ip { 10.0.0.1, 10.0.0.2 } drop", "arp saddr ip 10.0.0.0/23 drop", "arp saddr ip 10.0.0.3-10.0.0.9 drop", "arp operation != request drop",
		"ip saddr 10.0.0.1 drop", "ip daddr 10.0.0.0/24 drop", "ip saddr @nets ip daddr != @nets drop", "ip saddr 10.0.0.1 tcp dport 80 drop", "ip saddr 10.0.0.1 ip daddr 10.0.0.2 drop", "ip protocol icmp drop",
		"ip protocol tcp drop", "ip ttl 3 drop", "ip6 saddr fd00::1 drop", "ip6 daddr fd00::/64 udp dport 53 drop", "ip6 nexthdr tcp drop", "ip6 nexthdr tcp tcp dport 80 drop", "ip6 saddr fd00::1 ip6 daddr fd00::2 drop",
		"tcp dport 80 drop", "tcp dport { 80, 443 } accept", "tcp sport 1000 tcp dport 80 drop", "udp dport 53 ip daddr 10.0.0.1 accept", "icmp type echo-request drop",
		"icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept", "meta l4proto tcp drop", "ip protocol tcp tcp dport 22 drop", "tcp flags syn drop", "tcp dport vmap { 22 : accept, 80 : jump other }",
		"ip saddr . tcp dport { 10.0.0.1 . 80 } drop", "ip saddr 10.0.0.1 ip protocol udp udp dport 67 drop",
		"ct state established,related accept", "ct state invalid drop", "ct state vmap { established : accept, invalid : drop }",
		"meta ibrname br0 drop", "meta obrname br0 accept", "meta ibrname br* drop", "meta ibrname { br0, br1 } drop",
		"iifname veth0 drop", "iifname veth0 oifname veth1 counter drop", "iifname . oifname { veth0 . veth1 } drop", "iifname vmap @ports", "iifname veth* accept",
		"iifname veth0 ether saddr != 02:00:00:00:00:01 counter drop", "iifname veth0 arp saddr ip != 10.0.0.1 drop", "iifname veth0 ip saddr != 10.0.0.1 drop",
		"meta pkttype broadcast drop", "meta pkttype { broadcast, multicast } limit rate 10/second accept", "meta mark 0x1 accept", "meta mark set 0x1",
		"ether type ip ip saddr 10.0.0.1 drop", "ether type ip6 ip6 saddr fd00::1 drop", "ether type arp arp operation request drop", "ether type 8021q vlan id 3 drop",
		"meta protocol ip ip saddr 10.0.0.1 drop", "meta protocol ip tcp dport 22 drop", "ether type ip tcp dport 22 drop", "meta l4proto tcp tcp dport 22 drop",
		"reject", "reject with icmpx admin-prohibited", "tcp dport 99 reject with tcp reset",
		"ether saddr set 02:00:00:00:00:09", "ether daddr set 02:00:00:00:00:09 accept", "log prefix \"x\" drop", "jump other", "counter accept", "limit rate 5/second drop",
	},
	"bridge b prerouting": {"ether type { ip, arp } accept", "ether daddr 02:00:00:00:00:01 tcp dport 80 counter drop"},
	"bridge b output":     {"oifname veth0 ip daddr 10.0.0.1 drop"},
	"arp a input": {
		"arp operation request drop", "arp operation { request, reply } counter accept", "arp htype 1 drop", "arp ptype ip drop", "arp hlen 6 drop", "arp plen 4 drop", "arp saddr ip 10.0.0.1 counter drop",
		"arp saddr ip @known accept", "arp saddr ip != 10.0.0.0/24 drop", "arp daddr ip 10.0.0.1 drop", "arp saddr ether 02:00:00:00:00:01 drop", "arp daddr ether 02:00:00:00:00:01 drop",
		"iifname eth0 arp saddr ip 10.0.0.1 arp saddr ether != 02:00:00:00:00:01 drop", "arp operation request arp daddr ip 10.0.0.1 drop", "arp operation inrequest drop", "arp operation 77 drop",
		"meta protocol arp drop", "ether saddr 02:00:00:00:00:01 drop", "limit rate 5/second accept", "arp saddr ip . arp saddr ether { 10.0.0.1 . 02:00:00:00:00:01 } accept",
	},
	"arp a output": {"oifname eth0 arp operation reply drop", "arp saddr ip set 10.0.0.9", "arp daddr ether set 02:00:00:00:00:09"},
	"netdev n ingress": {
		"ip saddr 10.0.0.1 drop", "ip saddr @banned counter drop", "ip daddr 10.0.0.1 tcp dport 80 drop", "ip6 saddr fd00::1 drop", "tcp dport 80 drop", "udp dport { 53, 67 } drop",
		"tcp flags syn limit rate over 100/second drop", "tcp flags & (fin|syn) == fin|syn drop", "ip protocol icmp drop", "icmp type echo-request drop", "ether saddr @macs drop", "ether type arp accept",
		"ether type ip accept", "meta protocol ip drop", "meta protocol { ip, arp } accept", "meta protocol ip udp dport 53 drop", "vlan id 3 drop", "vlan id 3 ip saddr 10.0.0.1 drop", "iif d0 drop", "iifname d0 drop",
		"arp operation request drop", "arp saddr ip 10.0.0.1 drop", "meta pkttype broadcast drop", "meta mark set 0x2", "fwd to d1", "dup to d1", "fwd ip to 10.0.0.1 device d1", "ip saddr 10.0.0.1 fwd to d1",
		"ip saddr vmap { 10.0.0.1 : drop }", "meta l4proto { tcp, udp } drop", "fib daddr type local drop", "ip protocol tcp tcp dport 22 drop", "ip ttl 1 drop",
	},
	"netdev n egress": {"ip daddr 10.0.0.1 drop", "oifname d0 ip6 daddr fd00::1 counter drop"},
}

// linked returns a new namespace with the two links that frameRules name.
func linked(t *testing.T) *netns.Handle {
	t.Helper()
	h := newNamespace(t)
	run(t, h, "ip link add d0 type veth peer name d1")
	return h
}

// try adds a rule, unless the kernel lacks what it asks for.
func try(t *testing.T, h *netns.Handle, chain, rule string) bool {
	t.Helper()
	c := command(h, "nft", "-f", "-")
	c.Stdin = strings.NewReader("add rule " + chain + " " + rule + "\n")
	if b, err := c.CombinedOutput(); err != nil {
		t.Logf("left out: %s %s: %s", chain, rule, strings.SplitN(string(b), "\n", 2)[0])
		return false
	}
	return true
}

func TestTextOfFrameRulesIsThatOfNft(t *testing.T) {
	needs(t, "nsenter", "ip", "nft")
	h := linked(t)
	script(t, h, frameTables, "nft", "-f", "-")
	for chain, rules := range frameRules {
		for _, rule := range rules {
			try(t, h, chain, rule)
		}
	}
	sayTheSame(t, nftRules(run(t, h, "nft -s list ruleset")), nativeTexts(t, h))
}

// TestTextOfMixedFrameRulesIsThatOfNft puts conditions together at random: what nft
// leaves out and takes together depends on what stands beside it.
func TestTextOfMixedFrameRulesIsThatOfNft(t *testing.T) {
	needs(t, "nsenter", "ip", "nft")
	conditions := []string{
		"ether saddr 02:00:00:00:00:01", "ether daddr 02:00:00:00:00:02", "ether daddr != 02:00:00:00:00:03", "ether type ip", "ether type arp", "meta protocol ip", "meta protocol ip6", "meta protocol != arp",
		"vlan id 5", "vlan pcp 3", "arp operation request", "arp saddr ip 10.0.0.1", "arp saddr ether 02:00:00:00:00:01", "arp daddr ip != 10.0.0.0/24", "arp htype 1",
		"ip saddr 10.0.0.1", "ip daddr 10.0.0.0/24", "ip protocol tcp", "ip protocol udp", "ip ttl 3", "ip6 saddr fd00::1", "ip6 nexthdr tcp", "tcp dport 80", "tcp sport 1000", "udp dport { 53, 67 }",
		"icmp type echo-request", "meta l4proto tcp", "tcp flags syn", "iifname d0", "meta mark 0x1", "limit rate 5/second", "counter", "meta pkttype host", "ip saddr != { 10.0.0.1, 10.0.0.7 }",
		"ether saddr . ip daddr { 02:00:00:00:00:01 . 10.0.0.1 }",
	}
	r := rand.New(rand.NewSource(1))
	h := linked(t)
	script(t, h, frameTables, "nft", "-f", "-")
	for range 200 {
		chain := []string{"bridge b forward", "netdev n ingress"}[r.Intn(2)]
		var words []string
		for range 2 + r.Intn(3) {
			words = append(words, conditions[r.Intn(len(conditions))])
		}
		c := command(h, "nft", "-f", "-")
		c.Stdin = strings.NewReader(fmt.Sprintf("add rule %s %s drop\n", chain, strings.Join(words, " ")))
		_ = c.Run() // nft may say that they contradict each other
	}
	want, rules := nftRules(run(t, h, "nft -s list ruleset")), readRules(t, h)
	same, again := 0, 0
	for _, c := range rules.ordered() {
		chain := fmt.Sprintf("%s %s %s", c.family, c.table, c.name)
		for i := range c.rules {
			one := &c.rules[i]
			if one.ref.Text == want[chain][i] {
				same++
				continue
			}
			// nft leaves out what counts here; what is said must mean the same.
			if again++; !strings.Contains(one.ref.Text, "[not decoded") && !means(t, h, chain, one) {
				t.Errorf("%s: %s\n          nft: %s", chain, one.ref.Text, want[chain][i])
			}
		}
	}
	if same < 100 || again > same/20 {
		t.Errorf("%d rules read as nft lists them, %d otherwise", same, again)
	}
}

// means reports whether nft makes of a rule's text what the rule is.
func means(t *testing.T, h *netns.Handle, chain string, r *rule) bool {
	t.Helper()
	script(t, h, fmt.Sprintf("add chain %s\nflush chain %[1]s\nadd rule %[1]s %s\n", strings.Join(strings.Fields(chain)[:2], " ")+" again", r.ref.Text), "nft", "-f", "-")
	for _, c := range readRules(t, h).ordered() {
		if c.name != "again" || c.family != r.ref.Family {
			continue
		}
		a, b := fmt.Sprintf("%+v", c.rules[0].expressions), fmt.Sprintf("%+v", r.expressions)
		names := regexp.MustCompile(`__(set|map)[0-9]+`) // of sets without a name
		if a, b = names.ReplaceAllString(a, "__"), names.ReplaceAllString(b, "__"); a != b {
			t.Logf("%s\n%s", a, b)
		}
		return a == b
	}
	return false
}
