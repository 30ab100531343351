package live

import (
	"context"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/lab/labtest"
	"natlens/internal/leak"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// mobyHost has three bridges that stand for Docker's networks, without any rule:
// docker0 with front; bridge1 with web, whose port 80 is to be published as 8080,
// and other; inner with locked, for a network that is internal. All have IPv6, too,
// with the last part of the IPv4 address.
func mobyHost(t *testing.T) *lab.Host {
	t.Helper()
	needPrograms(t, "nft", "ip", "sysctl", "iptables-nft", "iptables-legacy")
	h := labtest.NewHost(t)
	run := func(in *netns.Handle, lines ...string) {
		t.Helper()
		for _, line := range lines {
			must(t, in, strings.Fields(line)...)
		}
	}
	const six = "sysctl -q -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0"
	run(h.Namespace(), six, "ip -6 address add fd00:2::10/64 dev eth0 nodad", "ip -6 route add default via fd00:2::1")
	run(h.Internet(), six, "ip -6 address add fd00:2::1/64 dev eth0 nodad", "ip -6 address add fd00:7::7/128 dev lo",
		"ip route add 192.168.8.0/24 via 192.0.2.10", "ip -6 route add fd00:8::/64 via fd00:2::10")
	for name, network := range map[string]struct {
		gateway, six string
		containers   []string
	}{
		"docker0": {"172.17.0.1/16", "fd00:17::", []string{"front"}},
		"bridge1": {"192.168.8.1/24", "fd00:8::", []string{"web", "other"}},
		"inner":   {"192.168.9.1/24", "fd00:9::", []string{"locked"}},
	} {
		b, err := h.Bridge(name, netip.MustParsePrefix(network.gateway))
		if err != nil {
			t.Fatal(err)
		}
		run(h.Namespace(), "ip -6 address add "+network.six+"1/64 dev "+name+" nodad")
		for i, container := range network.containers {
			c, err := h.Container(container, b)
			if err != nil {
				t.Fatal(err)
			}
			run(c.Namespace(), six, "ip -6 address add "+network.six+string(rune('2'+i))+"/64 dev eth0 nodad", "ip -6 route add default via "+network.six+"1")
		}
	}
	t.Cleanup(func() { must(t, h.Namespace(), "sysctl", "-q", "-w", "net.ipv6.conf.all.forwarding=0") })
	return h
}

// must runs a program in a namespace.
func must(t *testing.T, in *netns.Handle, words ...string) {
	t.Helper()
	if err := in.Do(func() error {
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if err != nil {
			t.Logf("%s", out)
		}
		return err
	}); err != nil {
		t.Fatalf("%v: %v", words, err)
	}
}

// mobyNFT are the tables of Docker 29 with its nftables backend, of one family; the
// facts are those of Moby's integration/network/bridge/nftablesdoc and of the golden
// files beside its nftabler. FAMILY, WEB, HOSTPORT, … stand for what differs.
const mobyNFT = `
table FAMILY docker-bridges {
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
		elements = { "docker0" : jump nat-postrouting-in__docker0, "bridge1" : jump nat-postrouting-in__bridge1, "inner" : jump nat-postrouting-in__inner }
	}
	map nat-postrouting-out-jumps {
		type ifname : verdict
		elements = { "docker0" : jump nat-postrouting-out__docker0, "bridge1" : jump nat-postrouting-out__bridge1, "inner" : jump nat-postrouting-out__inner }
	}
	chain filter-FORWARD {
		type filter hook forward priority filter; policy drop;
		oifname vmap @filter-forward-in-jumps
		iifname vmap @filter-forward-out-jumps
	}
	chain nat-OUTPUT {
		type nat hook output priority -100; policy accept;
		FAMILY daddr != LOOPBACK fib daddr type local counter jump nat-prerouting-and-output
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
		iifname != "bridge1" LINKLOCALtcp dport 8080 counter dnat to WEBPORT comment "DNAT"
	}
	chain raw-PREROUTING {
		type filter hook prerouting priority raw; policy accept;
		FAMILY daddr WEB iifname != "bridge1" counter drop comment "DROP DIRECT ACCESS"
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
	chain nat-postrouting-in__docker0 { }
	chain nat-postrouting-out__docker0 {
		oifname != "docker0" FAMILY saddr DOCKER0NET counter masquerade comment "MASQUERADE"
	}
	chain filter-forward-in__bridge1 {
		ct state established,related counter accept
		iifname "bridge1" counter accept comment "ICC"
		FAMILY daddr WEB tcp dport 80 counter accept
		counter drop comment "UNPUBLISHED PORT DROP"
	}
	chain filter-forward-out__bridge1 {
		ct state established,related counter accept
		counter accept comment "OUTGOING"
	}
	chain nat-postrouting-in__bridge1 { }
	chain nat-postrouting-out__bridge1 {
		oifname != "bridge1" FAMILY saddr BRIDGE1NET counter masquerade comment "MASQUERADE"
	}
	chain filter-forward-in__inner {
		ct state established,related counter accept
		iifname != "inner" counter drop comment "INTERNAL NETWORK INGRESS"
		counter accept comment "ICC"
	}
	chain filter-forward-out__inner {
		ct state established,related counter accept
		oifname != "inner" counter drop comment "INTERNAL NETWORK EGRESS"
	}
	chain nat-postrouting-in__inner { }
	chain nat-postrouting-out__inner { }
}
`

// mobyIPTables are the rules of Docker 28 and 29 with iptables; the facts are those
// of Moby's integration/network/bridge/iptablesdoc.
const mobyIPTables = `*raw
-A PREROUTING -d WEB ! -i bridge1 -j DROP
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-BRIDGE - [0:0]
:DOCKER-CT - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-INTERNAL - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER -d WEB ! -i bridge1 -o bridge1 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER ! -i bridge1 -o bridge1 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-BRIDGE -o bridge1 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-CT -o bridge1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-INTERNAL
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-FORWARD -i bridge1 -j ACCEPT
-A DOCKER-FORWARD -i inner -o inner -j ACCEPT
-A DOCKER-INTERNAL ! -s INNERNET -o inner -j DROP
-A DOCKER-INTERNAL ! -d INNERNET -i inner -j DROP
COMMIT
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d LOOPBACK -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s BRIDGE1NET ! -o bridge1 -j MASQUERADE
-A POSTROUTING -s DOCKER0NET ! -o docker0 -j MASQUERADE
-A DOCKER ! -i bridge1 -p tcp -m tcp --dport 8080 -j DNAT --to-destination WEBPORT
COMMIT
`

var (
	mobyFour = strings.NewReplacer("FAMILY", "ip", "LOOPBACK", "127.0.0.0/8", "LINKLOCAL", "", "WEBPORT", "192.168.8.2:80", "WEB", "192.168.8.2",
		"DOCKER0NET", "172.17.0.0/16", "BRIDGE1NET", "192.168.8.0/24", "INNERNET", "192.168.9.0/24")
	mobySix = strings.NewReplacer("FAMILY", "ip6", "LOOPBACK", "::1", "LINKLOCAL", "ip6 saddr != fe80::/10 ", "WEBPORT", "[fd00:8::2]:80", "WEB", "fd00:8::2",
		"DOCKER0NET", "fd00:17::/64", "BRIDGE1NET", "fd00:8::/64", "INNERNET", "fd00:9::/64")
)

// mobyLayout is a way of laying down rules, and the chains that decide in it.
type mobyLayout struct {
	name  string
	lay   func(*testing.T, *netns.Handle)
	list  [][]string // what prints the rules
	chain map[string]string
}

// TestRulesOfMoby sends packets through the rules that Docker 28 and 29 lay down and
// holds what natlens says of each against what the rules are meant to do, in the words
// of nft and iptables-save.
func TestRulesOfMoby(t *testing.T) {
	iptables := map[string]string{
		"masquerade": "POSTROUTING", "dnat": "DOCKER", "direct": "PREROUTING", "unpublished": "DOCKER", "egress": "DOCKER-INTERNAL", "ingress": "DOCKER-INTERNAL",
	}
	restore := func(backend string) func(*testing.T, *netns.Handle) {
		return func(t *testing.T, in *netns.Handle) {
			if err := in.Do(func() error { return exec.Command("iptables-"+backend, "-t", "raw", "-L", "-n").Run() }); err != nil {
				t.Skipf("needs a kernel with iptables-%s", backend)
			}
			laid(t, in, mobyFour.Replace(mobyIPTables), "iptables-"+backend+"-restore")
			laid(t, in, mobySix.Replace(mobyIPTables), "ip6tables-"+backend+"-restore")
		}
	}
	for _, layout := range []mobyLayout{
		{"nftables", func(t *testing.T, in *netns.Handle) {
			laid(t, in, mobyFour.Replace(mobyNFT)+mobySix.Replace(mobyNFT), "nft", "-f", "-")
		}, [][]string{{"nft", "-s", "list", "ruleset"}}, map[string]string{
			"masquerade": "nat-postrouting-out__docker0", "dnat": "nat-prerouting-and-output", "direct": "raw-PREROUTING",
			"unpublished": "filter-forward-in__bridge1", "egress": "filter-forward-out__inner", "ingress": "filter-forward-in__inner",
		}},
		{"iptables-nft", restore("nft"), [][]string{{"iptables-nft-save"}, {"ip6tables-nft-save"}}, iptables},
		{"iptables-legacy", restore("legacy"), [][]string{{"iptables-legacy-save"}, {"ip6tables-legacy-save"}}, iptables},
	} {
		t.Run(layout.name, func(t *testing.T) { layout.check(t) })
	}
}

func (l mobyLayout) check(t *testing.T) {
	leak.Check(t)
	h := mobyHost(t)
	t.Cleanup(func() { unlay(t, h.Namespace()) })
	l.lay(t, h.Namespace())
	listed := map[string]bool{}
	for _, words := range l.list {
		if err := h.Namespace().Do(func() error {
			out, err := exec.Command(words[0], words[1:]...).Output()
			for line := range strings.Lines(string(out)) {
				listed[strings.TrimSpace(line)] = true
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	// With bridge netfilter the hooks of prerouting see a packet at its bridge's port.
	bridgeNetfilter(t, h, "1")
	spaces := map[string]*netns.Handle{"internet": h.Internet()}
	for _, c := range h.Containers() {
		spaces[c.Name] = c.Namespace()
	}
	for _, at := range []struct{ in, address string }{
		{"internet", "198.51.100.7:9000"}, {"internet", "[fd00:7::7]:9000"}, {"web", "192.168.8.2:80"}, {"web", "[fd00:8::2]:80"},
	} {
		s, err := lab.ServeHTTP(spaces[at.in], netip.MustParseAddrPort(at.address), "hello")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
	}
	w := startWatch(t, Config{})
	type sent struct {
		what, from string
		to         [2]string // IPv4, IPv6
		path       string    // the last links, by name
		changes    string
		result     trace.Result
		by         string // the chain that drops
	}
	cases := []sent{
		{"out", "front", [2]string{"198.51.100.7:9000", "[fd00:7::7]:9000"}, "docker0:in host/eth0:out", "masquerade by " + l.chain["masquerade"], trace.Left, ""},
		{"published", "internet", [2]string{"192.0.2.10:8080", "[fd00:2::10]:8080"}, "web/eth0:in", "dnat by " + l.chain["dnat"], trace.Delivered, ""},
		{"published, from a neighbour network", "front", [2]string{"192.0.2.10:8080", "[fd00:2::10]:8080"}, "web/eth0:in",
			"dnat by " + l.chain["dnat"] + ", masquerade by " + l.chain["masquerade"], trace.Delivered, ""},
		{"on one bridge", "other", [2]string{"192.168.8.2:80", "[fd00:8::2]:80"}, "web/eth0:in", "", trace.Delivered, ""},
		{"direct access from a neighbour network", "front", [2]string{"192.168.8.2:80", "[fd00:8::2]:80"}, h.Find("front").HostLink + ":in", "", trace.Dropped, l.chain["direct"]},
		{"direct access from outside", "internet", [2]string{"192.168.8.2:80", "[fd00:8::2]:80"}, "eth0:in", "", trace.Dropped, l.chain["direct"]},
		{"isolated", "front", [2]string{"192.168.8.3:81", "[fd00:8::3]:81"}, "docker0:in", "", trace.Dropped, l.chain["unpublished"]},
		{"not published", "internet", [2]string{"192.168.8.3:81", "[fd00:8::3]:81"}, "eth0:in", "", trace.Dropped, l.chain["unpublished"]},
		{"out of an internal network", "locked", [2]string{"198.51.100.7:9000", "[fd00:7::7]:9000"}, "inner:in", "", trace.Dropped, l.chain["egress"]},
		{"into an internal network", "front", [2]string{"192.168.9.2:80", "[fd00:9::2]:80"}, "docker0:in", "", trace.Dropped, l.chain["ingress"]},
	}
	port := func(i, family int) uint16 { return uint16(40000 + 2*i + family) }
	for i, c := range cases {
		for family, to := range c.to {
			from := netip.AddrPortFrom(netip.IPv4Unspecified(), port(i, family))
			if family == 1 {
				from = netip.AddrPortFrom(netip.IPv6Unspecified(), port(i, family))
			}
			ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
			if c.result != trace.Dropped {
				stop()
				ctx, stop = context.WithTimeout(t.Context(), liveness)
			}
			conn, err := lab.DialTCP(ctx, spaces[c.from], from, netip.MustParseAddrPort(to))
			stop()
			if err == nil {
				_ = conn.Close()
			}
			if (err == nil) != (c.result != trace.Dropped) {
				t.Errorf("%s, %s: %v", c.what, to, err)
			}
		}
	}
	for i, c := range cases {
		for family, to := range c.to {
			j := w.journey(c.what+", "+to, func(j *trace.Journey) bool {
				first := &j.Hops[0].Headers
				return j.Protocol == packet.TCP && first.TCPFlags == packet.SYN && first.Tuple.SourcePort == port(i, family) &&
					(j.Verdict.Result == c.result || j.Supersedes == 0)
			})
			if got := kindsAndChains(j); got != c.changes || j.Verdict.Result != c.result || !strings.HasSuffix(pathOf(j), c.path) {
				t.Errorf("%s, %s: %s, %s, %+v; want %s, %s at %s", c.what, to, pathOf(j), got, j.Verdict, c.changes, c.result, c.path)
			}
			rules := []*trace.Rule{j.Verdict.Rule}
			for k := range j.Translations {
				rules = append(rules, j.Translations[k].Rule)
			}
			for _, r := range rules {
				if r != nil && !listed[r.Text] {
					t.Errorf("%s, %s: no program prints the rule %q", c.what, to, r.Text)
				}
			}
			if c.by == "" {
				continue
			}
			if r := j.Verdict.Rule; r == nil || r.Chain != c.by || r.Evidence != trace.ByRules && r.Evidence != trace.ByCounter {
				t.Errorf("%s, %s: dropped by %+v, want a rule of %s; %s", c.what, to, r, c.by, j.Verdict.Reason)
			}
		}
	}
}

// unlay takes all rules away: the namespace is that of later tests, too.
func unlay(t *testing.T, in *netns.Handle) {
	t.Helper()
	must(t, in, "nft", "flush", "ruleset")
	for _, program := range []string{"iptables-legacy", "ip6tables-legacy"} {
		for _, table := range []string{"raw", "filter", "nat"} {
			must(t, in, program, "-t", table, "-F")
			must(t, in, program, "-t", table, "-X")
		}
		must(t, in, program, "-P", "FORWARD", "ACCEPT")
	}
}

// laid gives a program in a namespace its standard input.
func laid(t *testing.T, in *netns.Handle, input string, words ...string) {
	t.Helper()
	if err := in.Do(func() error {
		c := exec.Command(words[0], words[1:]...)
		c.Stdin = strings.NewReader(input)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Logf("%s", out)
		}
		return err
	}); err != nil {
		t.Fatalf("%v: %v", words, err)
	}
}
