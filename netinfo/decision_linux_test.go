package netinfo

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// TestDecisionsAreTheKernels makes rules, routes and settings at random, and compares what is
// said of packets with what the kernel answers when it is asked for their route
// (RTM_GETROUTE with an incoming link, as ip route get ... from ... iif asks).
func TestDecisionsAreTheKernels(t *testing.T) {
	needRoot(t)
	host := newNetns(t)
	links := []string{"left", "right", "third"}
	for i, name := range links {
		far := newNetns(t)
		connect(t, host, name, far, "eth0")
		ip(t, "-n", host, "addr", "add", fmt.Sprintf("10.%d.0.1/24", i+1), "dev", name)
		ip(t, "-n", host, "addr", "add", fmt.Sprintf("fd0%d::1/64", i+1), "dev", name, "nodad")
	}
	h, err := netns.Open("/run/netns/" + host)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	seen := map[string]int{}
	for seed := range int64(10) {
		r := rand.New(rand.NewSource(seed))
		laid := layRouting(t, h, host, links, r)
		top := scanFrom(t, host)
		n := top.Namespace(top.Self)
		for range 60 {
			q, is6 := randomQuery(n, links, r)
			got := n.Decide(q)
			if got.Fate == FateUnknown {
				t.Fatalf("%v to %v by %d: %s is not known\n%s", q.Source, q.Destination, q.In, got.Why, laid)
			}
			out, err := askKernel(n, host, q)
			seen[fmt.Sprint(is6, got.Fate, got.Refusal)]++
			if !agrees(n, got, out, err) {
				t.Errorf("seed %d, %v to %v by link %d, mark %d: %+v, route %v, rule %v; the kernel: link %q, %v\n%s", seed, q.Source, q.Destination, q.In, q.Mark, got, got.Route, got.Rule, out, err, laid)
				return
			}
		}
	}
	t.Log(seen)
	for _, want := range []string{
		"false 1 0", "false 2 0", "false 3 1", "false 3 2", "false 3 3", "false 3 4", "false 3 5", "false 3 6", "false 3 7",
		"true 1 0", "true 2 0", "true 3 1", "true 3 2", "true 3 3", "true 3 4",
	} {
		if seen[want] == 0 {
			t.Errorf("nothing of %q came", want)
		}
	}
}

// layRouting lays down routes, rules and settings, and returns what they are.
func layRouting(t *testing.T, h *netns.Handle, host string, links []string, r *rand.Rand) string {
	t.Helper()
	pick := func(words ...string) string { return words[r.Intn(len(words))] }
	var laid strings.Builder
	set := func(name, value string) {
		fmt.Fprintf(&laid, "%s = %s\n", name, value)
		if err := h.Do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) }); err != nil {
			t.Fatal(err)
		}
	}
	lay := func(words string) {
		fmt.Fprintf(&laid, "ip %s\n", words)
		ip(t, append([]string{"-n", host}, strings.Fields(words)...)...)
	}
	forwarding := pick("0", "1", "1", "1")
	set("ipv4/ip_forward", forwarding)
	set("ipv6/conf/all/forwarding", "1") // the kernel tells a route without
	set("ipv4/conf/all/rp_filter", pick("0", "0", "1", "2"))
	set("ipv4/conf/all/route_localnet", pick("0", "0", "1"))
	for _, l := range links {
		if forwarding == "1" {
			set("ipv4/conf/"+l+"/forwarding", pick("0", "1", "1", "1"))
		}
		set("ipv4/conf/"+l+"/rp_filter", pick("0", "0", "1", "2"))
		set("ipv4/conf/"+l+"/src_valid_mark", pick("0", "1"))
	}
	for _, family := range []string{"", "-6 "} {
		gateway, net := "10.%d.0.2", "10.%d.0.0/16"
		if family != "" {
			gateway, net = "fd0%d::2", "fd0%d:77::/32"
		}
		ip(t, slices.Concat([]string{"-n", host}, strings.Fields(family), []string{"rule", "flush"})...)
		if family == "" {
			lay("rule add from all lookup main priority 32766")
		} else {
			lay("-6 rule add from all lookup main priority 32766")
		}
		for _, table := range []string{"main", "100", "101"} {
			words := [][]string{{"-n", host}, strings.Fields(family), {"route", "flush", "table", table}}
			if table == "main" {
				words[2] = []string{"route", "flush", "table", "main", "proto", "static"}
			}
			_ = exec.Command("ip", slices.Concat(words...)...).Run() // there may be none
			for range 2 + r.Intn(4) {
				to := pick("default", fmt.Sprintf(net, 4+r.Intn(3)), fmt.Sprintf(net, 4+r.Intn(3)))
				where := fmt.Sprintf("via "+gateway, 1+r.Intn(3))
				route := pick("", "", "", "blackhole ", "unreachable ", "prohibit ", "throw ")
				line := fmt.Sprintf("%sroute append %s%s %s proto static table %s metric %d", family, route, to, where, table, 1+r.Intn(1000))
				if route != "" {
					line = strings.Replace(line, where, "", 1)
				}
				lay(line)
			}
		}
		for range r.Intn(5) {
			from, to := "10.5.0.0/16", "10.6.0.0/16"
			if family != "" {
				from, to = "fd05:77::/32", "fd06:77::/32"
			}
			lay(fmt.Sprintf("%srule add priority %d %s%s %s", family, 100+r.Intn(100), pick("", "", "not "),
				pick("from "+from, "to "+to, "fwmark 1", "fwmark 2/0x3", "iif left", "iif right", "ipproto udp dport 53", "ipproto tcp sport 1000-2000"),
				pick("lookup 100", "lookup 101", "lookup 100", "lookup main suppress_prefixlength 0", "blackhole", "unreachable", "prohibit", "goto 32766", "nop")))
		}
	}
	return laid.String()
}

func randomQuery(n *Namespace, links []string, r *rand.Rand) (q RouteQuery, is6 bool) {
	one := func() netip.Addr {
		if is6 {
			return netip.MustParseAddr(fmt.Sprintf([]string{"fd0%d::1", "fd0%d::2", "fd0%d:77::9"}[r.Intn(3)], 1+r.Intn(7)))
		}
		if r.Intn(20) == 0 {
			return netip.MustParseAddr("127.0.0.1")
		}
		return netip.MustParseAddr(fmt.Sprintf([]string{"10.%d.0.1", "10.%d.0.2", "10.%d.0.9"}[r.Intn(3)], 1+r.Intn(7)))
	}
	is6 = r.Intn(3) == 0
	q = RouteQuery{Source: one(), Destination: one(), In: n.LinkByName(links[r.Intn(3)]).Key.Index, Mark: uint32(r.Intn(4)), MarkBits: 1<<32 - 1}
	if r.Intn(2) == 0 {
		q.Protocol, q.SourcePort, q.DestinationPort = 17, uint16(900+r.Intn(400)), 53
	} else {
		q.Protocol, q.SourcePort, q.DestinationPort = 6, uint16(900+r.Intn(400)), 80
	}
	return q, is6
}

// askKernel asks for the route of a packet that comes in; out is empty for one to the
// namespace itself.
func askKernel(n *Namespace, host string, q RouteQuery) (out string, err error) {
	protocol := map[uint8]string{6: "tcp", 17: "udp"}[q.Protocol]
	c := exec.Command("ip", "-n", host, "-j", "route", "get", q.Destination.String(), "from", q.Source.String(), "iif", linkNamed(n, q.In),
		"mark", fmt.Sprint(q.Mark), "ipproto", protocol, "sport", fmt.Sprint(q.SourcePort), "dport", fmt.Sprint(q.DestinationPort))
	b, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		for _, number := range []unix.Errno{unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EACCES, unix.EINVAL, unix.EXDEV} {
			if strings.Contains(strings.ToLower(string(exit.Stderr)), strings.ToLower(number.Error())) {
				return "", number
			}
		}
		return "", fmt.Errorf("ip route get: %s", exit.Stderr)
	}
	var routes []struct{ Type, Dev string }
	if err := json.Unmarshal(b, &routes); err != nil || len(routes) == 0 {
		return "", fmt.Errorf("ip route get: %w: %s", err, b)
	}
	if routes[0].Type != "" && routes[0].Type != "unicast" {
		return "", nil
	}
	return routes[0].Dev, nil
}

func linkNamed(n *Namespace, index int32) string {
	for _, l := range n.Links {
		if l.Key.Index == index {
			return l.Name
		}
	}
	return ""
}

// agrees compares a decision with the kernel's answer. EXDEV is the answer to what is not
// believed up to Linux 6.13, EINVAL since.
func agrees(n *Namespace, d Decision, out string, err error) bool {
	switch d.Fate {
	case FateLocal:
		return err == nil && out == ""
	case FateForwarded:
		return err == nil && (out == linkNamed(n, d.Link) || d.Link == 0)
	}
	unreachable := unix.EHOSTUNREACH
	if d.Rule != nil && d.Route == nil {
		unreachable = unix.ENETUNREACH // fib4_rule_action, fib6_rule_action
	}
	want := map[Refusal][]error{
		NoRoute: {unix.ENETUNREACH}, Blackhole: {unix.EINVAL}, Unreachable: {unreachable}, Prohibit: {unix.EACCES},
		NotForwarding: {unix.EHOSTUNREACH}, ReversePath: {unix.EXDEV, unix.EINVAL}, Martian: {unix.EINVAL},
	}[d.Refusal]
	return slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) })
}
