package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// refusedCase is a datagram that routes or settings refuse.
type refusedCase struct {
	name     string
	send     func()
	from, to string // from is a container's name; "" where to is enough
	result   string // and evidence
	by       string
	says     []string
	counter  string // of /proc/net/snmp or netstat, that counts it; "" where none does
}

// What routes, rules of routing and settings refuse is said to be so where they prove it,
// and the kernel's own counters agree. What they refuse with a word to the sender is known
// from that word.
func TestCaseRefusedByRouting(t *testing.T) {
	e := dualHost(t, 8000)
	e.Network("other_net")
	e.Run("--name", "back", "box")
	e.Run("--name", "front", "--network", "other_net", "box")
	settled6(t, e, "back")
	other := bridgeOf(e, "other_net")
	back := ipOf(t, e, "back", "bridge")
	const foreign, own = "10.66.0.5", "172.17.0.1"
	for _, line := range []string{
		"ip route add blackhole 203.0.113.1", "ip route add unreachable 203.0.113.2", "ip route add prohibit 203.0.113.3",
		"ip rule add priority 1000 from 172.17.0.0/16 to 203.0.113.4 lookup 100", "ip route add blackhole default table 100",
		"ip rule add priority 1001 to 203.0.113.5 blackhole",
		"iptables -t mangle -A PREROUTING -d 203.0.113.6 -j MARK --set-mark 7", "ip rule add priority 1002 fwmark 7 lookup 101", "ip route add blackhole default table 101",
		"ip rule add priority 1003 to 203.0.113.7 lookup main suppress_prefixlength 0",
		"sysctl -q -w net.ipv4.conf." + other + ".forwarding=0",
		"ip route add 10.66.0.0/16 dev docker0", "sysctl -q -w net.ipv4.conf.eth0.rp_filter=1",
		"ip -6 route add blackhole 2001:db8:1::1", "ip -6 rule add priority 1000 to 2001:db8:1::2 blackhole",
		"iptables -P FORWARD ACCEPT",
	} {
		must(t, e.Command(strings.Fields(line)[0], strings.Fields(line)[1:]...))
	}
	for _, line := range []string{
		"ip addr add " + foreign + "/32 dev lo", "ip addr add " + own + "/32 dev lo", "ip route add 172.17.0.2/31 via " + hostAddress.String(),
		"ip route add " + back.String() + "/32 via " + hostAddress.String(),
	} {
		must(t, e.CommandOutside(strings.Fields(line)[0], strings.Fields(line)[1:]...))
	}
	from := func(container, to string) func() {
		return func() { must(t, e.CommandIn(container, "bash", "-c", "echo x > /dev/udp/"+to+"/7001")) }
	}
	spoofed := func(source, to string) func() {
		return func() {
			c, err := lab.DialUDP(e.Internet(), netip.AddrPortFrom(netip.MustParseAddr(source), 0), netip.MustParseAddrPort(to+":7001"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	cases := []refusedCase{
		{"blackhole", from("back", "203.0.113.1"), "", "203.0.113.1", "dropped [evaluated]", "the route blackhole 203.0.113.1", nil, ""},
		{"unreachable", from("back", "203.0.113.2"), "", "203.0.113.2", "dropped [reply]", "the route unreachable 203.0.113.2", []string{"host unreachable, says 172.17.0.1"}, ""},
		{"prohibit", from("back", "203.0.113.3"), "", "203.0.113.3", "dropped [reply]", "the route prohibit 203.0.113.3", []string{"says 172.17.0.1"}, ""},
		{"table", from("back", "203.0.113.4"), "back", "203.0.113.4", "dropped [evaluated]", "the route blackhole default table 100",
			[]string{"for the rule of routing 1000: from 172.17.0.0/16 to 203.0.113.4 lookup 100"}, ""},
		{"the other network is not asked there", from("front", "203.0.113.4"), "front", "203.0.113.4", "dropped [evaluated]", "", []string{"passes nothing on"}, "InAddrErrors"},
		{"rule", from("back", "203.0.113.5"), "", "203.0.113.5", "dropped [evaluated]", "ip rule 1001: from all to 203.0.113.5 blackhole", nil, ""},
		{"mark", from("back", "203.0.113.6"), "", "203.0.113.6", "dropped [evaluated]", "the route blackhole default table 101",
			[]string{"for the rule of routing 1002: from all fwmark 0x7 lookup 101"}, ""},
		{"suppressed", from("back", "203.0.113.7"), "", "203.0.113.7", "left [tap]", "", nil, ""},
		{"not forwarding", from("front", "203.0.113.8"), "", "203.0.113.8", "dropped [evaluated]", "",
			[]string{"host passes nothing on that comes in by " + other + " (net.ipv4.conf." + other + ".forwarding = 0)"}, "InAddrErrors"},
		{"reverse path, to the host", spoofed(foreign, hostAddress.String()), "", hostAddress.String(), "dropped [evaluated]", "",
			[]string{"its source " + foreign + " is not believed on eth0 (net.ipv4.conf.eth0.rp_filter = 1): the way back to it is 10.66.0.0/16, by docker0"}, "IPReversePathFilter"},
		{"reverse path, to a container", spoofed(foreign, back.String()), "", back.String(), "dropped [evaluated]", "",
			[]string{"its source " + foreign + " is not believed on eth0"}, "IPReversePathFilter"},
		{"blackhole of IPv6", from("back", "2001:db8:1::1"), "", "2001:db8:1::1", "dropped [evaluated]", "the route blackhole 2001:db8:1::1", nil, ""},
		{"rule of IPv6", from("back", "2001:db8:1::2"), "", "2001:db8:1::2", "dropped [evaluated]", "ip rule 1000: from all to 2001:db8:1::2 blackhole", nil, ""},
	}
	refused(t, e, cases)
	foretold := func(container, to, result, reason string) {
		t.Helper()
		line, _, _ := probe(t, e, container, to)
		if line.Result != result || line.Expected == nil || line.Expected.Result != result || line.Expected.Unsure != "" {
			t.Errorf("probe of %s: %s (%s), expected %+v; want %s", to, line.Result, line.Reason, line.Expected, result)
		} else {
			says(t, "what is expected of "+to, line.Expected.Reason, reason)
		}
		t.Logf("%s to %s: %s; expected %s", container, to, line.Reason, line.Expected.Reason)
	}
	foretold("back", "203.0.113.1", "dropped", "host: dropped by the route blackhole 203.0.113.1")
	foretold("back", "203.0.113.3", "dropped", "host: dropped by the route prohibit 203.0.113.3")
	foretold("back", "203.0.113.6", "dropped", "host: dropped by the route blackhole default table 101")
	foretold("front", "203.0.113.8", "dropped", "host passes nothing on that comes in by "+other)
	must(t, e.Command("sysctl", "-q", "-w", "net.ipv4.conf.docker0.rp_filter=1"))
	must(t, e.Command("ip", "route", "add", back.String()+"/32", "dev", other))
	foretold("back", "198.51.100.7", "dropped", "its source "+back.String()+" is not believed on docker0 (net.ipv4.conf.docker0.rp_filter = 1)")
	must(t, e.Command("ip", "route", "del", back.String()+"/32", "dev", other))
	// Of a source that is the host's own, and of IPv6 that is not forwarded.
	must(t, e.Command("sysctl", "-q", "-w", "net.ipv4.conf.eth0.rp_filter=0", "net.ipv6.conf.all.forwarding=0"))
	must(t, e.Command("sysctl", "-q", "-w", "net.ipv4.ip_forward=0"))
	refused(t, e, []refusedCase{
		{"a source of its own", spoofed(own, hostAddress.String()), "", hostAddress.String(), "dropped [evaluated]", "",
			[]string{"its source " + own + " is an address of host's own, not believed on eth0 (net.ipv4.conf.eth0.accept_local = 0)"}, ""},
		{"nothing is forwarded", from("back", "203.0.113.9"), "", "203.0.113.9", "dropped [evaluated]", "",
			[]string{"host passes nothing on that comes in by docker0 (net.ipv4.ip_forward = 0)"}, "InAddrErrors"},
		{"nothing of IPv6 is", from("back", "2001:db8:1::9"), "", "2001:db8:1::9", "dropped [evaluated]", "",
			[]string{"host passes nothing on that comes in by docker0 (net.ipv6.conf.all.forwarding = 0)"}, "Ip6InAddrErrors"},
	})
}

// refused sends each datagram while a watch runs, and compares what is said of it.
func refused(t *testing.T, e *engine.Engine, cases []refusedCase) {
	t.Helper()
	screen, w := startWatch(t, e, "udp or icmp or icmp6"), startWatch(t, e, "--json", "udp or icmp or icmp6")
	for _, c := range cases {
		before := snmpOf(t, e, c.counter)
		c.send()
		if c.counter != "" {
			await(t, 5*time.Second, c.name+": "+c.counter+" counts", func() bool { return snmpOf(t, e, c.counter) == before+1 })
		}
	}
	time.Sleep(4 * time.Second)
	screen.end()
	all, _ := w.journeys()
	for _, c := range cases {
		found := with(all, func(j *journey) bool {
			at := j.Hops[0].Destination
			return at.IP == c.to && at.Port == 7001 && (c.from == "" || j.From.Name == c.from)
		})
		if len(found) == 0 {
			t.Errorf("%s: not seen", c.name)
			continue
		}
		v := found[0].Verdict
		if got := fmt.Sprintf("%s [%s]", v.Result, v.Evidence); got != c.result || v.By != c.by {
			t.Errorf("%s: %s by %q: %s; want %s by %q", c.name, got, v.By, v.Reason, c.result, c.by)
		}
		says(t, c.name, v.Reason, c.says...)
	}
	t.Log(screen.stdout.String())
}

// snmpOf reads a counter of IP of the host's namespace.
func snmpOf(t *testing.T, e *engine.Engine, name string) int {
	t.Helper()
	if name == "" {
		return 0
	}
	out, err := e.Command("cat", "/proc/net/snmp", "/proc/net/netstat", "/proc/net/snmp6").Output()
	if err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`(?m)^` + name + `\s+(\d+)$`).FindSubmatch(out); m != nil {
		n, _ := strconv.Atoi(string(m[1]))
		return n
	}
	lines := strings.Split(string(out), "\n")
	for i := 0; i+1 < len(lines); i++ {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for k, one := range names {
			if one == name && k < len(values) && names[0] == values[0] {
				n, _ := strconv.Atoi(values[k])
				return n
			}
		}
	}
	t.Fatalf("no counter %s", name)
	return 0
}
