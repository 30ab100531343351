package netfilter

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// dockerRules are what Docker 20.10 lays down for a bridge with a published
// port, and what netavark does for one; then corners of the language.
const dockerRules = `*nat
:DOCKER - [0:0]
:NETAVARK-HOSTPORT-SETMARK - [0:0]
:NETAVARK-HOSTPORT-MASQ - [0:0]
:NETAVARK-DN-1 - [0:0]
:CORNERS - [0:0]
:DESTINATIONS - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A PREROUTING -j DESTINATIONS
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.18.0.0/18 ! -o br-4c1f22aa -j MASQUERADE --random-fully
-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 8000 -j MASQUERADE
-A POSTROUTING -j NETAVARK-HOSTPORT-MASQ
-A POSTROUTING -g CORNERS
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8000 -j DNAT --to-destination 172.17.0.2:8000
-A DOCKER -d 127.0.0.1/32 ! -i docker0 -p udp -m udp --dport 53 -j DNAT --to-destination 172.17.0.3:5353
-A DOCKER -p tcp -m tcp --dport 9000 -j NETAVARK-DN-1
-A NETAVARK-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000
-A NETAVARK-HOSTPORT-MASQ -m comment --comment "netavark portfw masq mark" -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A NETAVARK-DN-1 -s 10.88.0.0/16 -p tcp -m tcp --dport 9000 -j NETAVARK-HOSTPORT-SETMARK
-A NETAVARK-DN-1 -p tcp -m tcp --dport 9000 -j DNAT --to-destination 10.88.0.2:80
-A CORNERS -p tcp -m tcp ! --sport 80 --dport 8000:9000 -j SNAT --to-source 192.0.2.7-192.0.2.9:1000-2000 --random --persistent
-A CORNERS -d 10.0.0.0/9 -o docker+ -p udp -m multiport --dports 80,81:90 -m mark ! --mark 0x1 -j MASQUERADE --to-ports 100-200
-A CORNERS ! -s 10.0.0.1/32 -p udp -m multiport ! --sports 53 -j SNAT --to-source 192.0.2.7
-A CORNERS -p icmp -m icmp --icmp-type 8 -m comment --comment "say \"hi\"" -j NETMAP --to 192.0.2.0/24
-A CORNERS -s 10.0.0.0/255.0.255.0 -j ACCEPT
-A CORNERS -p tcp -j LOG --log-prefix "nat: " --log-level 7
-A CORNERS ! -p udp -m addrtype ! --src-type LOCAL -j ACCEPT
-A DESTINATIONS -p tcp -m tcp --dport 8081 -j REDIRECT --to-ports 8080
-A DESTINATIONS -p udp -m udp --dport 8081 -j REDIRECT --to-ports 8080-8090 --random
-A DESTINATIONS -j DNAT --to-destination 10.0.0.1-10.0.0.9 --persistent
COMMIT
`

const dockerRules6 = `*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d ::1/128 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s fd00:1::/64 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s fd00:1::/61 -p tcp -m tcp --dport 80 -j SNAT --to-source [fd00::9]:1000-2000
-A POSTROUTING -s fd00:1::2/128 -d fd00:1::2/128 -p tcp -m tcp --dport 80 -j MASQUERADE --to-ports 1000-2000
-A POSTROUTING -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j SNAT --to-source fd00::9
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8000 -j DNAT --to-destination [fd00:1::2]:80
-A DOCKER -p udp -m udp --dport 8000 -j REDIRECT --to-ports 80
-A DOCKER -p tcp -m conntrack --ctorigdst fd00::9 ! --ctreplsrc fd00::/64 --ctorigdstport 443 -j RETURN
COMMIT
`

func readRules(t *testing.T, h *netns.Handle) *Ruleset {
	t.Helper()
	r, err := ReadRuleset(h)
	if err != nil {
		t.Fatal(err)
	}
	checkJSON(t, r)
	return r
}

// ruleLines returns the lines of iptables-save that are rules.
func ruleLines(saved string) (lines []string) {
	for line := range strings.Lines(saved) {
		if strings.HasPrefix(line, "-A ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// byChain groups rule lines by their chain; order within a chain counts.
func byChain(lines []string) map[string][]string {
	m := map[string][]string{}
	for _, l := range lines {
		chain := strings.Fields(l)[1]
		m[chain] = append(m[chain], l)
	}
	return m
}

func TestTextIsThatOfIptablesSave(t *testing.T) {
	needs(t, "nsenter", "ip", "iptables-nft", "ip6tables-nft")
	h := newNamespace(t)
	script(t, h, dockerRules, "iptables-nft-restore")
	script(t, h, dockerRules6, "ip6tables-nft-restore")
	r := readRules(t, h)
	for family, save := range map[string]string{"ip": "iptables-nft-save", "ip6": "ip6tables-nft-save"} {
		var got []string
		for _, ref := range r.Rules() {
			if ref.Family != family {
				continue
			}
			got = append(got, ref.Text)
			if ref.Backend != IPTablesNFT || ref.Table != "nat" || ref.Handle == 0 {
				t.Errorf("%+v, want a rule of iptables-nft in nat", ref)
			}
			if own := byChain(got)[ref.Chain]; len(own) != ref.Position {
				t.Errorf("%s is rule %d, want %d", ref.Text, ref.Position, len(own))
			}
		}
		want := ruleLines(run(t, h, save+" -t nat"))
		if len(want) < 8 {
			t.Fatalf("%s printed %d rules", save, len(want))
		}
		if diff := cmp.Diff(byChain(want), byChain(got)); diff != "" {
			t.Errorf("rules (-%s +natlens):\n%s", save, diff)
		}
	}
}

const nativeRules = `
table ip native {
	set inside { type ipv4_addr; flags interval; elements = { 10.9.0.0/24, 10.10.0.5-10.10.0.9 }; }
	map bridges { type ifname : verdict; elements = { "docker0" : jump out, "br-1" : return }; }
	chain out { ip saddr 172.17.0.0/16 oifname != "docker0" counter masquerade comment "docker0 out"; }
	chain ports { tcp dport 80 dnat to 172.17.0.2:80; }
	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local counter tcp dport vmap { 80 : jump ports, 443-445 : accept }
		tcp dport { 8080, 8081 } redirect to :80
		ip daddr . tcp dport { 192.0.2.10 . 22 } dnat to 10.9.0.2
		udp dport 5000-6000 dnat to 10.9.0.2-10.9.0.5:53
		iifname "docker*" meta l4proto { tcp, udp } ip saddr @inside return
		meta l4proto icmp meta mark set 0x00000007
		icmp type echo-request meta mark & 0x00000003 == 0x00000003 dnat to 10.9.0.9
		udp sport != 53 th dport 7 redirect random,persistent
	}
	chain post {
		type nat hook postrouting priority srcnat; policy accept;
		oifname vmap @bridges
		ip saddr @inside ip daddr != 10.9.0.0/24 snat to 192.0.2.10
		ip saddr { 10.0.0.1, 10.2.0.0/16 } meta l4proto tcp masquerade to :1000-2000 fully-random
		meta mark 0x00000009 log prefix "x" accept
	}
}
table inet six {
	chain post {
		type nat hook postrouting priority srcnat + 10; policy accept;
		ip6 saddr fd09::/64 masquerade
		ip saddr 10.0.0.0/8 snat ip to 192.0.2.11
		meta nfproto ipv6 tcp dport 80 snat ip6 to [fd00::1]:80
	}
}
table ip mapped {
	map ends { type inet_service : ipv4_addr . inet_service; elements = { 80 : 172.17.0.2 . 8000 }; }
	map sources { type ipv4_addr : ipv4_addr; flags interval; elements = { 172.17.0.2 : 192.0.2.10, 172.17.0.3-172.17.0.9 : 192.0.2.11 }; }
	chain to {
		iifname "eth0" dnat ip to udp dport map @ends
		iifname "eth0" counter dnat ip to tcp dport map { 80 : 172.17.0.2 . 8000, 82 : 172.17.0.3 . 8002 }
		tcp dport 81 dnat to ip saddr map { 198.51.100.7 : 172.17.0.2, 198.51.100.8 : 172.17.0.3 }:8000 persistent
		dnat ip to ip saddr . tcp dport map { 198.51.100.7 . 80 : 172.17.0.2 . 81 }
	}
	chain from {
		oifname "eth0" counter snat to ip saddr map @sources
	}
}
table inet mapped {
	chain to {
		dnat ip to tcp dport map { 80 : 172.17.0.2, 82 : 172.17.0.3 }
		dnat ip6 to tcp dport map { 80 : fd00::2, 82 : fd00::3 }
		dnat ip to tcp dport map { 80 : 172.17.0.2 . 8000 }
	}
}
`

// docker29Rules are laid out as Docker 29 does with its own nftables backend.
const docker29Rules = `
table ip docker-bridges {
	map nat-postrouting-in { type ifname : verdict; elements = { "docker0" : jump nat-postrouting-in__docker0 }; }
	map nat-postrouting-out { type ifname : verdict; elements = { "docker0" : jump nat-postrouting-out__docker0 }; }
	chain nat-PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local counter jump nat-prerouting-and-output comment "Forward to nat-prerouting-and-output"
	}
	chain nat-OUTPUT {
		type nat hook output priority -100; policy accept;
		ip daddr != 127.0.0.0/8 fib daddr type local counter jump nat-prerouting-and-output
	}
	chain nat-POSTROUTING {
		type nat hook postrouting priority srcnat; policy accept;
		iifname vmap @nat-postrouting-in
		oifname vmap @nat-postrouting-out
	}
	chain nat-prerouting-and-output { iifname != "docker0" tcp dport 8000 counter dnat to 172.17.0.2:80 comment "DNAT"; }
	chain nat-postrouting-in__docker0 { oifname != "docker0" ip saddr 172.17.0.0/16 counter masquerade comment "MASQUERADE"; }
	chain nat-postrouting-out__docker0 {
		ip saddr 172.17.0.0/16 fib saddr type local counter masquerade
		ip saddr . tcp dport { 10.0.0.0/24 . 80-90 } snat to 10.0.0.1
		iifname { "a", "b" } oifname != "c" ip saddr 10.0.0.1-10.0.0.9 return
	}
}
table ip6 docker-bridges {
	chain p {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local tcp dport 80 dnat to [fd00::2]:80
		icmpv6 type echo-request return
		ip6 daddr { fd00::1, fd00:1::/48 } accept
		ip6 saddr != fd00::/61 udp dport != { 1, 2 } redirect to :5
	}
}
`

func TestTextIsThatOfNft(t *testing.T) {
	needs(t, "nsenter", "ip", "nft")
	for _, rules := range []string{nativeRules, docker29Rules} {
		h := newNamespace(t)
		script(t, h, rules, "nft", "-f", "-")
		want := nftRules(run(t, h, "nft -s -a list ruleset"))
		if len(want) < 4 {
			t.Fatalf("nft listed %q", want)
		}
		got := map[string][]string{}
		for _, ref := range readRules(t, h).Rules() {
			if ref.Backend != NFTables {
				t.Errorf("%+v, want a rule of nftables", ref)
			}
			chain := ref.Family + " " + ref.Table + " " + ref.Chain
			got[chain] = append(got[chain], ref.Text+" # handle "+itoa(ref.Handle))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("rules (-nft +natlens):\n%s", diff)
		}
	}
}

// nftRules finds the rules in what nft list ruleset prints, by family, table
// and chain.
func nftRules(listing string) map[string][]string {
	rules := map[string][]string{}
	var table, chain string
	for line := range strings.Lines(listing) {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(line, "type "):
		case words[0] == "table":
			table = words[1] + " " + words[2]
		case words[0] == "chain":
			chain = table + " " + words[1]
		case words[0] == "set" || words[0] == "map" || line == "}":
			chain = ""
		case chain != "":
			rules[chain] = append(rules[chain], line)
		}
	}
	return rules
}

func itoa(n uint64) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

// question asks NAT about one packet; answer is the kind and the rule's chain
// and position, "none" or "unsure".
type question struct {
	name   string
	hook   Hook
	packet Packet
	answer string
}

func (q question) check(t *testing.T, r *Ruleset) {
	t.Helper()
	q.packet.LocalAddress = func(a netip.Addr) bool {
		return a == netip.MustParseAddr("192.0.2.10") || a == netip.MustParseAddr("fd02::10") || a.IsLoopback()
	}
	m := r.NAT(q.hook, q.packet)
	got := map[Certainty]string{NoRule: "none", Unsure: "unsure"}[m.Certainty]
	if m.Certainty == Covered {
		got = m.Kind + " " + m.Rule.Chain + " " + itoa(uint64(m.Rule.Position))
	}
	if got != q.answer {
		t.Errorf("%s: %s (%s), want %s", q.name, got, m.Rule.Text, q.answer)
	}
}

func TestEvaluatingRulesOfIptables(t *testing.T) {
	needs(t, "nsenter", "ip", "iptables-nft", "ip6tables-nft")
	h := newNamespace(t)
	script(t, h, dockerRules, "iptables-nft-restore")
	script(t, h, dockerRules6, "ip6tables-nft-restore")
	r := readRules(t, h)
	out := tuple(packet.TCP, "172.17.0.2", "198.51.100.7", 4000, 80)
	in := tuple(packet.TCP, "198.51.100.7", "192.0.2.10", 4000, 8000)
	for _, q := range []question{
		{"out of docker0", Postrouting, Packet{Tuple: out, OutLink: "eth0"}, "masquerade POSTROUTING 1"},
		{"on docker0", Postrouting, Packet{Tuple: out, OutLink: "docker0", MarkKnown: true}, "none"},
		{"link not known", Postrouting, Packet{Tuple: out}, "unsure"},
		{"ping out of docker0", Postrouting, Packet{Tuple: tuple(packet.ICMP, "172.17.0.2", "198.51.100.7", 1, 8<<8), OutLink: "eth0"}, "masquerade POSTROUTING 1"},
		{"18 bits", Postrouting, Packet{Tuple: tuple(packet.UDP, "172.18.63.1", "198.51.100.7", 4000, 53), OutLink: "eth0"}, "masquerade POSTROUTING 2"},
		{"itself", Postrouting, Packet{Tuple: tuple(packet.TCP, "172.17.0.2", "172.17.0.2", 4000, 8000), OutLink: "docker0"}, "masquerade POSTROUTING 3"},
		{"published", Prerouting, Packet{Tuple: in, InLink: "eth0"}, "dnat DOCKER 2"},
		{"published, from docker0", Prerouting, Packet{Tuple: in, InLink: "docker0"}, "dnat DESTINATIONS 3"},
		{"published, from here", Output, Packet{Tuple: tuple(packet.TCP, "192.0.2.10", "192.0.2.10", 4000, 8000), OutLink: "lo"}, "dnat DOCKER 2"},
		{"published, from localhost", Output, Packet{Tuple: tuple(packet.TCP, "127.0.0.1", "127.0.0.1", 4000, 8000), OutLink: "lo"}, "none"},
		{"not for here", Prerouting, Packet{Tuple: tuple(packet.TCP, "198.51.100.7", "192.0.2.11", 4000, 8081), InLink: "eth0"}, "redirect DESTINATIONS 1"},
		{"udp redirect", Prerouting, Packet{Tuple: tuple(packet.UDP, "198.51.100.7", "192.0.2.11", 4000, 8081), InLink: "eth0"}, "redirect DESTINATIONS 2"},
		{"netavark", Prerouting, Packet{Tuple: tuple(packet.TCP, "10.88.0.3", "192.0.2.10", 4000, 9000), InLink: "podman0", MarkKnown: true}, "dnat NETAVARK-DN-1 2"},
		{"marked", Postrouting, Packet{Tuple: tuple(packet.TCP, "10.88.0.3", "10.88.0.2", 4000, 80), OutLink: "podman0", Mark: 0x2000, MarkKnown: true}, "masquerade NETAVARK-HOSTPORT-MASQ 1"},
		{"mark not known", Postrouting, Packet{Tuple: tuple(packet.TCP, "10.88.0.3", "10.88.0.2", 4000, 80), OutLink: "podman0"}, "unsure"},
		{"port range", Postrouting, Packet{Tuple: tuple(packet.TCP, "192.0.2.10", "198.51.100.7", 4000, 8500), OutLink: "eth0", MarkKnown: true}, "snat CORNERS 1"},
		{"port range, wrong source", Postrouting, Packet{Tuple: tuple(packet.TCP, "192.0.2.10", "198.51.100.7", 80, 8500), OutLink: "eth0", MarkKnown: true}, "none"},
		{"multiport", Postrouting, Packet{Tuple: tuple(packet.UDP, "192.0.2.10", "10.1.2.3", 4000, 85), OutLink: "docker7", MarkKnown: true}, "masquerade CORNERS 2"},
		{"multiport, other mark", Postrouting, Packet{Tuple: tuple(packet.UDP, "192.0.2.10", "10.1.2.3", 4000, 85), OutLink: "docker7", Mark: 1, MarkKnown: true}, "snat CORNERS 3"},
		{"netmap", Postrouting, Packet{Tuple: tuple(packet.ICMP, "192.0.2.10", "10.1.2.3", 4000, 8<<8), OutLink: "eth0", MarkKnown: true}, "netmap CORNERS 4"},
		{"odd mask", Postrouting, Packet{Tuple: tuple(packet.ICMP, "10.77.0.5", "10.1.2.3", 4000, 0), OutLink: "eth0", MarkKnown: true}, "none"},
		{"input has no rule", Input, Packet{Tuple: in, InLink: "eth0"}, "none"},
		{"six, out", Postrouting, Packet{Tuple: tuple(packet.TCP, "fd00:1::2", "fd02::1", 4000, 443), OutLink: "eth0"}, "masquerade POSTROUTING 1"},
		{"six, 61 bits", Postrouting, Packet{Tuple: tuple(packet.TCP, "fd00:1:0:7::2", "fd02::1", 4000, 80), OutLink: "eth0"}, "snat POSTROUTING 2"},
		{"six, ping", Postrouting, Packet{Tuple: tuple(packet.ICMPv6, "fd00:2::2", "fd02::1", 4000, 128<<8), OutLink: "eth0"}, "snat POSTROUTING 4"},
		{"six, published", Prerouting, Packet{Tuple: tuple(packet.TCP, "fd02::1", "fd02::10", 4000, 8000), InLink: "eth0"}, "dnat DOCKER 1"},
	} {
		q.check(t, r)
	}
	m := r.NAT(Prerouting, Packet{Tuple: tuple(packet.TCP, "10.88.0.3", "192.0.2.10", 4000, 9000), InLink: "podman0", MarkKnown: true,
		LocalAddress: func(netip.Addr) bool { return true }})
	if !m.MarkKnown || m.Mark != 0x2000 {
		t.Errorf("mark %#x, known %v behind netavark's rules, want 0x2000", m.Mark, m.MarkKnown)
	}
	if r.SetsMarks() {
		t.Error("SetsMarks without a rule outside of nat")
	}
	run(t, h, "iptables-nft -t mangle -A PREROUTING -j MARK --set-mark 1")
	if !readRules(t, h).SetsMarks() {
		t.Error("SetsMarks misses a rule of mangle")
	}
}

func TestEvaluatingNativeRules(t *testing.T) {
	needs(t, "nsenter", "ip", "nft")
	h := newNamespace(t)
	script(t, h, nativeRules, "nft", "-f", "-")
	r := readRules(t, h)
	tcp := func(from, to string, port uint16) packet.Tuple { return tuple(packet.TCP, from, to, 4000, port) }
	const far, here = "198.51.100.7", "192.0.2.10"
	for _, q := range []question{
		{"vmap jump", Prerouting, Packet{Tuple: tcp(far, here, 80), InLink: "eth0"}, "dnat ports 1"},
		{"vmap accept", Prerouting, Packet{Tuple: tcp(far, here, 444), InLink: "eth0"}, "none"},
		{"set of ports", Prerouting, Packet{Tuple: tcp(far, here, 8081), InLink: "eth0"}, "redirect pre 2"},
		{"concatenation", Prerouting, Packet{Tuple: tcp(far, here, 22), InLink: "eth0"}, "dnat pre 3"},
		{"range", Prerouting, Packet{Tuple: tuple(packet.UDP, far, here, 4000, 5353), InLink: "eth0"}, "dnat pre 4"},
		{"named set", Prerouting, Packet{Tuple: tuple(packet.UDP, "10.10.0.6", far, 4000, 7), InLink: "docker0"}, "none"},
		{"not in the named set", Prerouting, Packet{Tuple: tuple(packet.UDP, "10.10.0.10", far, 4000, 7), InLink: "docker0"}, "redirect pre 8"},
		{"mark set on the way", Prerouting, Packet{Tuple: tuple(packet.ICMP, far, here, 4000, 8<<8), InLink: "eth0"}, "dnat pre 7"},
		{"verdict map of links", Postrouting, Packet{Tuple: tcp("172.17.0.2", far, 80), OutLink: "br-1"}, "none"},
		{"masquerade in an interval set", Postrouting, Packet{Tuple: tcp("10.2.3.4", far, 80), OutLink: "eth0"}, "masquerade post 3"},
		{"snat by a named set", Postrouting, Packet{Tuple: tcp("10.9.0.2", far, 80), OutLink: "eth0"}, "snat post 2"},
		{"the next table", Postrouting, Packet{Tuple: tcp("10.200.0.2", far, 80), OutLink: "eth0", MarkKnown: true}, "snat post 2"},
		{"accepted, then the next table", Postrouting, Packet{Tuple: tcp("10.200.0.2", far, 80), OutLink: "eth0", Mark: 9, MarkKnown: true}, "snat post 2"},
		{"six", Postrouting, Packet{Tuple: tcp("fd09::2", "fd02::1", 80), OutLink: "eth0"}, "masquerade post 1"},
		{"six, by port", Postrouting, Packet{Tuple: tcp("fd08::2", "fd02::1", 80), OutLink: "eth0"}, "snat post 3"},
	} {
		q.check(t, r)
	}
}

func TestEvaluatingRulesOfDocker29(t *testing.T) {
	needs(t, "nsenter", "ip", "nft")
	h := newNamespace(t)
	script(t, h, docker29Rules, "nft", "-f", "-")
	r := readRules(t, h)
	out := tuple(packet.TCP, "172.17.0.2", "198.51.100.7", 4000, 80)
	in := tuple(packet.TCP, "198.51.100.7", "192.0.2.10", 4000, 8000)
	for _, q := range []question{
		{"out", Postrouting, Packet{Tuple: out, InLink: "docker0", OutLink: "eth0"}, "masquerade nat-postrouting-in__docker0 1"},
		{"out, where from is not known", Postrouting, Packet{Tuple: out, OutLink: "eth0"}, "unsure"},
		{"from another link", Postrouting, Packet{Tuple: out, InLink: "eth1", OutLink: "eth0"}, "none"},
		{"published", Prerouting, Packet{Tuple: in, InLink: "eth0"}, "dnat nat-prerouting-and-output 1"},
		{"published, from here", Output, Packet{Tuple: in, OutLink: "lo"}, "dnat nat-prerouting-and-output 1"},
		{"ranges in a concatenation", Postrouting, Packet{Tuple: tuple(packet.TCP, "10.0.0.77", "172.17.0.2", 1, 85), InLink: "eth0", OutLink: "docker0"}, "snat nat-postrouting-out__docker0 2"},
		{"outside of the concatenation", Postrouting, Packet{Tuple: tuple(packet.TCP, "10.0.0.77", "172.17.0.2", 1, 91), InLink: "eth0", OutLink: "docker0"}, "none"},
	} {
		q.check(t, r)
	}
}

func TestWhatCannotBeEvaluatedIsUnsure(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "iptables-nft")
	h := newNamespace(t)
	script(t, h, `*nat
-A POSTROUTING -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -j MASQUERADE
-A POSTROUTING -p udp -m string --string x --algo bm -j RETURN
-A POSTROUTING -j MASQUERADE
COMMIT
`, "iptables-nft-restore")
	script(t, h, `
table ip other {
	set seen { type ipv4_addr; flags timeout; }
	chain pre {
		type nat hook prerouting priority -100;
		iifname "a" ip saddr @seen redirect
		iifname "b" ct state new dnat to 10.0.0.1
		iifname "c" limit rate 1/second dnat to 10.0.0.1
		iifname "d" tcp flags syn dnat to 10.0.0.1
		iifname "e" numgen random mod 2 0 dnat to 10.0.0.1
		iifname "f" dnat to tcp dport map { 80 : 10.0.0.2 }
		iifname "g" ip ttl 3 counter
	}
	chain same { type nat hook prerouting priority -100; iifname { "h", "i" } redirect; };
}
table ip third { chain same { type nat hook prerouting priority -100; iifname "i" redirect; }; }
`, "nft", "-f", "-")
	r := readRules(t, h)
	tcp := func(port uint16) packet.Tuple { return tuple(packet.TCP, "198.51.100.7", "192.0.2.10", 4000, port) }
	pre := func(name, answer string, port uint16) question {
		return question{"link " + name, Prerouting, Packet{Tuple: tcp(port), InLink: name}, answer}
	}
	for _, q := range []question{
		{"ctstate", Postrouting, Packet{Tuple: tcp(22), OutLink: "eth0"}, "masquerade POSTROUTING 1"},
		{"string", Postrouting, Packet{Tuple: tuple(packet.UDP, "198.51.100.7", "192.0.2.10", 4000, 22), OutLink: "eth0"}, "unsure"},
		{"neither", Postrouting, Packet{Tuple: tcp(23), OutLink: "eth0"}, "masquerade POSTROUTING 3"},
		pre("a", "unsure", 80), pre("b", "dnat pre 2", 80), pre("c", "unsure", 80), pre("d", "unsure", 80), pre("e", "unsure", 80),
		pre("f", "dnat pre 6", 80), pre("f", "none", 81), pre("g", "none", 80), pre("h", "redirect same 1", 80), pre("i", "unsure", 80),
	} {
		q.check(t, r)
	}
	var nothing *Ruleset
	question{"no ruleset", Postrouting, Packet{Tuple: tcp(80)}, "unsure"}.check(t, nothing)
	legacy := &Ruleset{legacy: []LegacyTable{{Family: "ip", Name: "nat", Unreadable: "no"}}}
	question{"legacy", Postrouting, Packet{Tuple: tcp(80)}, "unsure"}.check(t, legacy)
	question{"legacy of the other family", Postrouting, Packet{Tuple: tuple(packet.TCP, "fd09::2", "fd02::1", 1, 2)}, "none"}.check(t, legacy)
	for _, ref := range r.Rules() {
		if ref.Chain == "POSTROUTING" && ref.Position == 2 && !strings.Contains(ref.Text, "[not decoded: xt match") {
			t.Errorf("text %q tells what was not decoded", ref.Text)
		}
	}
}
