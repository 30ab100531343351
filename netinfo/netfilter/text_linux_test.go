package netfilter

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/netinfo/netns"
)

// languageRules is the language of iptables beyond what Docker says.
const languageRules = `*mangle
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A FORWARD -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j TCPMSS --set-mss 1400
-A PREROUTING -m connmark --mark 0x1/0xff -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff
-A PREROUTING -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff
-A PREROUTING -p tcp -m tcp --dport 80 -j TPROXY --on-port 3129 --on-ip 127.0.0.1 --tproxy-mark 0x1/0x1
-A PREROUTING -p udp -j TPROXY --on-port 53 --on-ip 0.0.0.0 --tproxy-mark 0x0/0x0
COMMIT
*raw
-A PREROUTING -i eth0 -p udp -m udp --dport 53 -j CT --notrack
-A OUTPUT -p udp -m udp --sport 53 -j NOTRACK
-A PREROUTING -i docker0 -j CT --zone 5
-A PREROUTING -j CT --zone-orig 6
-A PREROUTING -j CT --zone-reply 65535
-A PREROUTING -j CT --zone mark
-A PREROUTING -j CT --ctevents new
COMMIT
*filter
:OTHER - [0:0]
-A INPUT -m conntrack --ctstate INVALID,NEW,UNTRACKED,DNAT -j DROP
-A INPUT -m conntrack ! --ctstate RELATED,ESTABLISHED -m conntrack --ctdir REPLY -j DROP
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -m conntrack --ctstatus ASSURED,CONFIRMED -j ACCEPT
-A INPUT -p tcp -m conntrack --ctstate DNAT --ctorigdstport 20000:60000 -j ACCEPT
-A INPUT -p tcp -m conntrack --ctproto 6 --ctorigsrc 10.0.0.0/8 ! --ctorigdst 192.0.2.1 --ctreplsrc 172.17.0.0/16 --ctorigdstport 443 --ctdir ORIGINAL -j DROP
-A INPUT -p tcp -m conntrack ! --ctorigdstport 8080 --ctrepldstport 1000 --ctdir REPLY -j DROP
-A INPUT -p tcp -m tcp --dport 22 -m limit --limit 3/min --limit-burst 3 -j ACCEPT
-A INPUT -m limit --limit 100/sec -j LOG --log-prefix "in: "
-A INPUT -m limit --limit 1/hour -j OTHER
-A INPUT -p udp -m udp --dport 80 -m statistic --mode nth --every 3 --packet 1 -j OTHER
-A INPUT -m statistic --mode nth ! --every 3 --packet 0 -j OTHER
-A INPUT -m statistic --mode random --probability 0.33332999982 -j OTHER
-A INPUT -m statistic --mode random ! --probability 0.5 -j OTHER
-A INPUT -p tcp -j REJECT --reject-with tcp-reset
-A INPUT -p udp -j REJECT --reject-with icmp-admin-prohibited
-A INPUT -j REJECT
-A INPUT -m pkttype --pkt-type broadcast -j DROP
-A INPUT -m iprange --src-range 10.0.0.1-10.0.0.9 -j DROP
-A INPUT -m length --length 0:100 -j DROP
-A INPUT -m mac --mac-source 02:00:00:00:00:01 -j DROP
-A INPUT -m ttl --ttl-eq 3 -j DROP
-A INPUT -m ttl ! --ttl-eq 4 -j DROP
-A INPUT -m ttl --ttl-lt 5 -j DROP
-A INPUT -m ttl --ttl-gt 6 -j DROP
-A INPUT -m pkttype ! --pkt-type multicast -j DROP
-A INPUT -m pkttype --pkt-type unicast -j DROP
-A INPUT -m iprange ! --src-range 10.0.0.1-10.0.0.9 --dst-range 192.0.2.1-192.0.2.7 -j DROP
-A INPUT -m length ! --length 7 -j DROP
-A INPUT -m mac ! --mac-source 02:00:00:00:00:0a -j DROP
-A FORWARD -m physdev --physdev-in veth0 --physdev-out veth+ --physdev-is-bridged -j ACCEPT
-A FORWARD -m physdev ! --physdev-in veth0 -j ACCEPT
-A FORWARD -j NFLOG --nflog-prefix "x" --nflog-group 5
-A FORWARD -j NFQUEUE --queue-num 3
-A FORWARD -j NFQUEUE --queue-num 4 --queue-bypass
-A FORWARD -j NFQUEUE --queue-balance 5:7 --queue-cpu-fanout
-A OUTPUT -m owner --uid-owner 1000 -j ACCEPT
-A OUTPUT -m owner ! --gid-owner 5-9 -j ACCEPT
-A OTHER -f -j DROP
-A OTHER -g OTHER2
COMMIT
`

// withoutWords are those of them for which natlens has none.
var withoutWords = []string{
	"-A PREROUTING -j CT --ctevents new",
	"-A OTHER -f -j DROP",
}

// savedRules returns the rules that a save program prints, by table and chain.
func savedRules(saved string) map[string][]string {
	rules, table := map[string][]string{}, ""
	for line := range strings.Lines(saved) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, "-A "):
			chain := table + " " + strings.Fields(line)[1]
			rules[chain] = append(rules[chain], line)
		}
	}
	return rules
}

// ourRules are those that were read, in the same shape, of one family.
func ourRules(r *Ruleset, family string, backend Backend) map[string][]string {
	rules := map[string][]string{}
	for _, rule := range r.Rules() {
		if rule.Family == family && rule.Backend == backend {
			chain := rule.Table + " " + rule.Chain
			rules[chain] = append(rules[chain], rule.Text)
		}
	}
	return rules
}

// sayTheSame holds each rule's text against that of the program. Where natlens has no
// words it must say so: undecoded are the rules for which it may, as the program
// writes them, and no others.
func sayTheSame(t *testing.T, want, got map[string][]string, undecoded ...string) {
	t.Helper()
	for chain, lines := range want {
		if len(got[chain]) != len(lines) {
			t.Errorf("%s: %d rules, want %d", chain, len(got[chain]), len(lines))
			continue
		}
		for i, line := range lines {
			ours, may := got[chain][i], slices.Contains(undecoded, line)
			switch without := strings.Contains(ours, "[not decoded"); {
			case without && !may, !without && ours != line:
				t.Errorf("%s %d: %s\n          want %s", chain, i+1, ours, line)
			case !without && may:
				t.Errorf("%s has words now: take it out of the list", line)
			}
		}
	}
	for chain := range got {
		if want[chain] == nil {
			t.Errorf("%s is not there", chain)
		}
	}
}

func TestTextOfAllTablesIsThatOfIptablesSave(t *testing.T) {
	needs(t, "nsenter", "ip", "iptables-nft", "iptables-legacy")
	for _, backend := range []Backend{IPTablesNFT, IPTablesLegacy} {
		t.Run(string(backend), func(t *testing.T) {
			h := newNamespace(t)
			if b, err := command(h, string(backend), "-t", "raw", "-L", "-n").CombinedOutput(); err != nil {
				t.Skipf("needs a kernel with %s: %s", backend, b)
			}
			language := strings.NewReplacer("-A OTHER -g OTHER2\n", "", ":OTHER -", ":OTHER -").Replace(languageRules)
			for _, line := range strings.Split(language, "\n") { // not every kernel has every extension
				if strings.HasPrefix(line, "-A ") {
					table := language[:strings.Index(language, line)]
					table = table[strings.LastIndex(table, "*")+1:]
					table = table[:strings.Index(table, "\n")]
					_ = command(h, string(backend), "-t", "filter", "-N", "OTHER").Run()
					c := command(h, string(backend)+"-restore", "-n")
					c.Stdin = strings.NewReader("*" + table + "\n" + line + "\nCOMMIT\n")
					if b, err := c.CombinedOutput(); err != nil {
						t.Logf("left out: %s: %s", line, strings.TrimSpace(string(b)))
					}
				}
			}
			save := string(backend) + "-save"
			sayTheSame(t, savedRules(run(t, h, save)), ourRules(readRules(t, h), "ip", backend), withoutWords...)

			for _, rules := range []string{docker28Rules, dockerRules} {
				h = newNamespace(t)
				script(t, h, rules, string(backend)+"-restore")
				sayTheSame(t, savedRules(run(t, h, save)), ourRules(readRules(t, h), "ip", backend))
			}
			h = newNamespace(t)
			script(t, h, dockerRules6, strings.Replace(string(backend), "ip", "ip6", 1)+"-restore")
			sayTheSame(t, savedRules(run(t, h, strings.Replace(save, "ip", "ip6", 1))), ourRules(readRules(t, h), "ip6", backend))
		})
	}
}

// moby29Tables are those of Docker 29 with its nftables backend: docker0, bridge1
// with a published port, internal ones with and without talk between containers,
// one without docker-proxy and one that is routed; facts from Moby's
// integration/network/bridge/nftablesdoc.
const moby29Tables = `
table ip docker-bridges {
	map filter-forward-in-jumps {
		type ifname : verdict
		elements = { "docker0" : jump filter-forward-in__docker0, "bridge1" : jump filter-forward-in__bridge1, "inner" : jump filter-forward-in__inner }
	}
	map filter-forward-out-jumps {
		type ifname : verdict
		elements = { "docker0" : jump filter-forward-out__docker0, "bridge1" : jump filter-forward-out__bridge1, "inner" : jump filter-forward-out__inner }
	}
	map nat-postrouting-in-jumps {
		type ifname : verdict
		elements = { "docker0" : jump nat-postrouting-in__docker0, "bridge1" : jump nat-postrouting-in__bridge1 }
	}
	map nat-postrouting-out-jumps {
		type ifname : verdict
		elements = { "docker0" : jump nat-postrouting-out__docker0, "bridge1" : jump nat-postrouting-out__bridge1 }
	}
	chain filter-FORWARD {
		type filter hook forward priority filter; policy drop;
		oifname vmap @filter-forward-in-jumps
		iifname vmap @filter-forward-out-jumps
	}
	chain nat-OUTPUT {
		type nat hook output priority -100; policy accept;
		ip daddr != 127.0.0.0/8 fib daddr type local counter jump nat-prerouting-and-output
	}
	chain nat-POSTROUTING {
		type nat hook postrouting priority srcnat; policy accept;
		iifname vmap @nat-postrouting-out-jumps
		oifname vmap @nat-postrouting-in-jumps
	}
	chain nat-PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local counter jump nat-prerouting-and-output
	}
	chain nat-prerouting-and-output {
		iifname != "bridge1" tcp dport 8080 counter dnat to 192.0.2.2:80 comment "DNAT"
	}
	chain raw-PREROUTING {
		type filter hook prerouting priority raw; policy accept;
		ip daddr 192.0.2.2 iifname != "bridge1" counter drop comment "DROP DIRECT ACCESS"
		iifname != "lo" ip daddr 127.0.0.1 tcp dport 8081 counter drop comment "DROP REMOTE LOOPBACK"
	}
	chain filter-forward-in__docker0 {
		ct state established,related counter accept
		iifname "docker0" counter accept comment "ICC"
		counter drop comment "UNPUBLISHED PORT DROP"
	}
	chain filter-forward-out__docker0 {
		ct state established,related counter accept
		counter accept comment "OUTGOING"
	}
	chain nat-postrouting-in__docker0 {
		fib saddr type local counter masquerade comment "MASQUERADE FROM HOST"
	}
	chain nat-postrouting-out__docker0 {
		oifname != "docker0" ip saddr 172.17.0.0/16 counter masquerade comment "MASQUERADE"
	}
	chain filter-forward-in__bridge1 {
		ct state established,related counter accept
		ip protocol icmp counter accept comment "ICMP"
		ip daddr 192.0.2.2 tcp dport 80 ct original ip daddr != 192.0.2.2 counter accept
		iifname "bridge1" counter accept comment "ICC"
		ip daddr 192.0.2.2 tcp dport 80 counter accept
		counter drop comment "UNPUBLISHED PORT DROP"
	}
	chain filter-forward-out__bridge1 {
		ct state established,related counter accept
		counter accept comment "OUTGOING"
	}
	chain nat-postrouting-in__bridge1 {
		fib saddr type local counter masquerade comment "MASQUERADE FROM HOST"
		ip saddr 192.0.2.2 ip daddr 192.0.2.2 tcp dport 80 counter masquerade comment "MASQ TO OWN PORT"
	}
	chain nat-postrouting-out__bridge1 {
		oifname != "bridge1" ip saddr 192.0.2.0/24 counter masquerade comment "MASQUERADE"
	}
	chain filter-forward-in__inner {
		ct state established,related counter accept
		iifname != "inner" counter drop comment "INTERNAL NETWORK INGRESS"
		counter drop comment "ICC"
	}
	chain filter-forward-out__inner {
		ct state established,related counter accept
		oifname != "inner" counter drop comment "INTERNAL NETWORK EGRESS"
	}
}
table ip6 docker-bridges {
	chain filter-FORWARD {
		type filter hook forward priority filter; policy accept;
		ct state established,related counter accept
		iifname "bridge1" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } counter accept comment "ICMPv6 ND"
		ip6 daddr fd00::2 tcp dport 80 ct original ip6 daddr != fd00::2 counter accept
		ip6 saddr != fe80::/10 ip6 daddr fd00::1 tcp dport 80 counter accept
		oifname != "bridge1" ip6 saddr fd00::/64 counter drop
		meta l4proto ipv6-icmp counter accept comment "ICMP"
		ip6 nexthdr ipv6-icmp counter accept comment "ICMP"
		ip6 daddr fd00::2 tcp dport 80 counter accept
	}
}
`

// languageTables is more of the language of nft.
var languageTables = []string{
	"ct state new", "ct state != established", "ct state invalid drop", "ct state { established, related } accept", "ct state vmap { invalid : drop, new : jump other }",
	"ct state ! established,related drop", "ct status dnat accept", "ct direction reply accept", "ct mark 0x00000001 accept", "ct mark set 0x00000001", "meta mark set ct mark", "ct mark set meta mark", "meta mark set meta mark or 0x2000", "meta mark set meta mark and 0xff", "meta mark set meta mark xor 0x3",
	"tcp flags syn", "tcp flags syn / fin,syn,rst,ack drop", "tcp flags & (fin | syn | rst | ack) == syn", "iif \"lo\" accept", "oif != \"lo\" drop", "meta pkttype broadcast drop",
	"limit rate 5/second accept", "limit rate over 10/minute burst 3 packets drop", "reject", "reject with icmp host-unreachable", "ip protocol tcp reject with tcp reset", "reject with icmp admin-prohibited",
	"notrack", "ct zone set 5", "ct original zone set 6", "ct reply zone set 65535", "log prefix \"x\" level info", "log group 3", "log flags all", "queue num 3", "queue flags bypass to 3", "ip ttl 3 drop", "ip length 100 drop", "meta skuid 1000 accept", "meta skgid != 5-9 drop", "oifgroup 4 accept", "ip length != 20-99 drop", "ip id 1-3 drop", "ip dscp cs1", "udp length 8-100 drop",
	"counter name \"hits\" drop", "ip saddr @banned drop", "update @seen { ip saddr limit rate 1/second } accept", "meta l4proto { tcp, udp } th dport 53 accept", "icmp type echo-request icmp code 0 accept",
	"ether saddr 02:00:00:00:00:01 drop", "iifgroup 3 drop", "meta iifkind \"veth\" accept", "icmp type { echo-reply, echo-request } accept", "goto other", "ip saddr & 0.0.0.255 == 0.0.0.1 drop", "tcp sport 1-1023 tcp dport != 22 drop",
	"ip protocol != tcp drop", "meta length > 1000 drop", "rt classid 3 drop", "fib saddr . iif oif missing drop", "ip saddr . tcp dport vmap { 10.0.0.1 . 22 : drop }", "numgen random mod 3 vmap { 0 : drop, 1 : accept }",
	"ct original ip daddr 192.0.2.1 accept", "ct original ip saddr != 10.0.0.0/8 drop", "ct reply ip daddr 10.0.0.1 accept",
	"meta l4proto tcp ct original proto-dst 8080 drop", "meta l4proto tcp ct reply proto-src 80 accept",
	"tcp dport 80 tproxy to 127.0.0.1:3129", "meta l4proto udp tproxy to :53", "meta l4proto tcp tproxy to 192.0.2.1",
	"tcp dport 80 synproxy mss 1460 wscale 7 timestamp sack-perm", "tcp dport 81 synproxy mss 1460 sack-perm", "tcp dport 82 synproxy",
	"continue", "meta nftrace set 1", "meta cgroup 5 drop", "vlan id 5 drop", "meta priority 5 drop", "ip id 7 drop",
}

// tablesWithoutWords are those of them for which natlens has none, as nft lists them.
var tablesWithoutWords = []string{
	"log flags all", "meta skgid != 5-9 drop", "ip dscp cs1", "update @seen { ip saddr limit rate 1/second } accept",
	"icmp type echo-request icmp code net-unreachable accept", "meta iifkind \"veth\" accept", "meta length > 1000 drop",
	"fib saddr . iif oif missing drop", "numgen random mod 3 vmap { 0 : drop, 1 : accept }", "meta priority 0:5 drop",
	"queue to 3", "queue flags bypass to 3", "rt classid 3 drop",
}

func TestTextOfAllTablesIsThatOfNft(t *testing.T) {
	needs(t, "nsenter", "ip", "nft")
	h := newNamespace(t)
	script(t, h, moby29Tables, "nft", "-f", "-")
	if diff := cmp.Diff(nftRules(run(t, h, "nft -s list ruleset")), nativeTexts(t, h)); diff != "" {
		t.Errorf("rules (-nft +natlens):\n%s", diff)
	}
	h = newNamespace(t)
	script(t, h, "table ip t {\ncounter hits { }\nset banned { type ipv4_addr; }\nset seen { type ipv4_addr; flags dynamic; timeout 1m; }\nchain other { }\nchain c { type filter hook input priority 0; }\nchain p { type filter hook prerouting priority 0; }\n}\n", "nft", "-f", "-")
	for _, line := range languageTables {
		chain := "c"
		if strings.Contains(line, "tproxy") {
			chain = "p" // it works nowhere else
		}
		if b, err := command(h, append([]string{"nft", "add", "rule", "ip", "t", chain}, strings.Fields(line)...)...).CombinedOutput(); err != nil {
			// What the kernel has no module for is "Could not process rule" or, where nft
			// goes on guessing, "No such file or directory".
			if said := string(b); !strings.Contains(said, "Could not process rule") && !strings.Contains(said, "No such file or directory") {
				t.Errorf("nft does not know %s: %s", line, b)
			}
			t.Logf("left out: %s: %s", line, b)
		}
	}
	sayTheSame(t, nftRules(run(t, h, "nft -s list ruleset")), nativeTexts(t, h), tablesWithoutWords...)
}

// nativeTexts are the rules that were read, as nftRules has them.
func nativeTexts(t *testing.T, h *netns.Handle) map[string][]string {
	t.Helper()
	got := map[string][]string{}
	for _, rule := range readRules(t, h).Rules() {
		chain := fmt.Sprintf("%s %s %s", rule.Family, rule.Table, rule.Chain)
		got[chain] = append(got[chain], rule.Text)
	}
	return got
}
