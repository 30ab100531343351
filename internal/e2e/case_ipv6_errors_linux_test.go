package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab/engine"
	"natlens/netinfo/netns"
)

// far6 is a network behind the internet's router, over a link with IPv6's least
// MTU.
const far6 = "2001:db8:9::5"

// case6 is a case of IPv6 under way: a watch, and what tshark says of the packets
// on the host and in "web".
type case6 struct {
	t     *testing.T
	watch *watch
	rows  map[string]func() [][]string // by namespace
}

func startCase6(t *testing.T, e *engine.Engine, filter string) *case6 {
	t.Helper()
	c := &case6{t: t, rows: map[string]func() [][]string{}}
	fields := []string{"sll.ifindex", "sll.pkttype", "ipv6.src", "ipv6.dst"}
	c.rows["host"] = oracletest.Rows(t, e.Command, filter, fields...)
	c.rows["web"] = oracletest.Rows(t, func(name string, args ...string) *exec.Cmd { return e.CommandIn("web", name, args...) }, filter, fields...)
	c.watch = startWatch(t, e, "--json", "ip6")
	return c
}

// end returns the journeys that pick takes, whose hops are exactly the packets
// that tcpdump saw through its filter: where they were, and their addresses,
// those of the packet that an error quotes included.
func (c *case6) end(pick func(*journey) bool) (picked []*journey) {
	c.t.Helper()
	all, _ := c.watch.journeys()
	picked = with(all, func(j *journey) bool { return len(j.Hops) > 0 && pick(j) })
	got, want := map[string][]string{}, map[string][]string{}
	for _, j := range picked {
		for _, h := range j.Hops {
			source, destination := h.Source.IP, h.Destination.IP
			if q := h.Quoted; q != nil {
				source, destination = source+","+q.Source.IP, destination+","+q.Destination.IP
			}
			got[h.Namespace] = append(got[h.Namespace], fmt.Sprintf("if%d %s %s > %s", h.Ifindex, h.Direction, source, destination))
		}
	}
	for ns, stop := range c.rows {
		for _, row := range stop() {
			way := map[bool]string{true: "out", false: "in"}[row[1] == "4"]
			want[ns] = append(want[ns], fmt.Sprintf("if%s %s %s > %s", row[0], way, row[2], row[3]))
		}
		slices.Sort(got[ns])
		slices.Sort(want[ns])
		if !slices.Equal(got[ns], want[ns]) || len(want[ns]) == 0 {
			c.t.Errorf("%s: hops\n%s\ntshark\n%s", ns, strings.Join(got[ns], "\n"), strings.Join(want[ns], "\n"))
		}
	}
	return picked
}

// aboutTheOther checks that the error is said to be about the other journey.
func aboutTheOther(t *testing.T, refusal, about *journey) {
	t.Helper()
	if r := refusal.Related; len(r) != 1 || r[0].ID != about.ID || r[0].Why != "error_about" {
		t.Errorf("%s is related to %v, want error_about #%d", refusal.Info, r, about.ID)
	}
}

// quoted6 checks which source and destination an error's quoted packet has at each
// hop.
func quoted6(t *testing.T, j *journey, want ...string) {
	t.Helper()
	var got []string
	for _, h := range j.Hops {
		if h.Quoted != nil {
			got = append(got, h.Quoted.Source.IP+" > "+h.Quoted.Destination.IP)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s quotes\n%s\nwant\n%s", j.Info, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCaseIPv6ErrorsThroughNAT(t *testing.T) {
	const silent = 18093
	e := engine.Start(t, "--experimental", "--ipv6", "--fixed-cidr-v6", "fd00:1::/64", "--ip6tables", "--userland-proxy=false")
	connect6(t, e)
	e.Run("--name", "web", "-p", fmt.Sprintf("%d:9/udp", silent), "box")
	for _, args := range [][]string{
		{"sysctl", "-q", "-w", "net.ipv6.conf.all.forwarding=1"},
		{"sysctl", "-q", "-w", "net.ipv6.icmp.ratelimit=0"},
		{"ip", "link", "add", "far", "type", "veth", "peer", "name", "farther"},
		{"ip", "link", "set", "farther", "up"},
		{"ip", "link", "set", "far", "mtu", "1280", "up"},
		{"ip", "-6", "route", "add", "2001:db8:9::/64", "dev", "far"},
	} {
		must(t, e.CommandOutside(args[0], args[1:]...))
	}
	must(t, e.Command("sysctl", "-q", "-w", "net.ipv6.icmp.ratelimit=0"))
	ready6(t, e)
	web := ip6Of(t, e, "web")
	out := []string{"web:eth0 out " + web, "host:VETH in " + web, "host:docker0 in " + web, "host:eth0 out " + hostAddress6}
	asked := func(to string) string { return strings.Join(out, " > "+to+"\n") + " > " + to + "\n" }
	back := func(from string) string {
		return "host:eth0 in " + from + " > " + hostAddress6 + "\nhost:docker0 out " + from + " > " + web + "\nhost:VETH out " + from + " > " + web +
			"\nweb:eth0 in " + from + " > " + web + "\n"
	}
	const nat66, unNAT66 = "masquerade at postrouting by POSTROUTING [conntrack]", "undo masquerade at prerouting by POSTROUTING [conntrack]"

	for name, c := range map[string]struct {
		kind, size, hops int
		port             uint16
		info             string
	}{
		"packet too big": {kind: 2, size: 1400, hops: 64, port: 39001, info: "packet too big, mtu 1280"},
		"time exceeded":  {kind: 3, size: 30, hops: 2, port: 39002, info: "exceeded"},
		"no route":       {kind: 1, size: 30, hops: 64, port: 39003, info: "no route to destination"},
	} {
		t.Run(name, func(t *testing.T) {
			to := far6
			if name == "no route" {
				to = "2001:db8:a::1"
			}
			w := startCase6(t, e, fmt.Sprintf("udp src port %d or (icmp6 and ip6[40] == %d)", c.port, c.kind))
			u := dial6(t, e.Namespace("web"), c.port, to, 9)
			raw, err := u.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var failed error
			if err := raw.Control(func(fd uintptr) {
				failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, c.hops)
			}); err != nil || failed != nil {
				t.Fatal(err, failed)
			}
			if _, err := u.Write((&load{}).words(c.size)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			found := w.end(func(j *journey) bool {
				h := &j.Hops[0]
				return j.Protocol == "udp" && h.Source.Port == c.port || h.ICMP != nil && h.ICMP.Type == c.kind && h.Quoted != nil
			})
			if len(found) != 2 {
				t.Fatalf("%d journeys, want 2", len(found))
			}
			question, refusal := found[0], found[1]
			holds(t, "the question", question, asked(to)+"left at host:eth0 out [tap]\n"+nat66)
			holds(t, "the error", refusal, back(internet6)+"delivered at web:eth0 in [tap]\n"+unNAT66)
			quoted6(t, refusal, hostAddress6+" > "+to, web+" > "+to, web+" > "+to, web+" > "+to)
			aboutTheOther(t, refusal, question)
			says(t, "info", refusal.Info, c.info)
		})
	}
	t.Run("port unreachable through DNAT", func(t *testing.T) {
		w := startCase6(t, e, "udp port 39004 or (icmp6 and ip6[40] == 1)")
		u := dial6(t, e.Internet(), 39004, hostAddress6, silent)
		if _, err := u.Write([]byte("is anybody there?")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		found := w.end(func(j *journey) bool {
			h := &j.Hops[0]
			return j.Protocol == "udp" && h.Source.Port == 39004 || h.ICMP != nil && h.ICMP.Type == 1 && h.Quoted != nil
		})
		if len(found) != 2 {
			t.Fatalf("%d journeys, want 2", len(found))
		}
		question, refusal := found[0], found[1]
		holds(t, "the question", question, back(internet6)+"delivered at web:eth0 in [tap]\ndnat at prerouting by DOCKER [conntrack]")
		holds(t, "the error", refusal, asked(internet6)+"left at host:eth0 out [tap]\nundo dnat at postrouting by DOCKER [conntrack]")
		quoted6(t, refusal, internet6+" > "+web, internet6+" > "+web, internet6+" > "+web, internet6+" > "+hostAddress6)
		aboutTheOther(t, refusal, question)
	})
}

// Headers between IPv6 and UDP go through NAT66 untouched, both ways.
func TestCaseIPv6ExtensionHeaders(t *testing.T) {
	e := engine.Start(t, "--experimental", "--ipv6", "--fixed-cidr-v6", "fd00:1::/64", "--ip6tables", "--userland-proxy=false")
	connect6(t, e)
	e.Run("--name", "web", "box")
	ready6(t, e)
	web := ip6Of(t, e, "web")
	for i, c := range []struct {
		name   string
		option int
		filter string
	}{
		{"hop-by-hop", unix.IPV6_HOPOPTS, "ip6[6] == 0"},
		{"destination options", unix.IPV6_DSTOPTS, "ip6[6] == 60"},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := uint16(39100 + i)
			w := startCase6(t, e, "not ip6 multicast and ("+c.filter+" or (icmp6 and ip6[40] == 1))")
			u := dial6(t, e.Namespace("web"), port, internet6, 5000)
			raw, err := u.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var failed error
			if err := raw.Control(func(fd uintptr) {
				failed = unix.SetsockoptString(int(fd), unix.IPPROTO_IPV6, c.option, string([]byte{0, 0, 1, 4, 0, 0, 0, 0})) // PadN
			}); err != nil || failed != nil {
				t.Fatal(err, failed)
			}
			if _, err := u.Write([]byte("with " + c.name)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(300 * time.Millisecond)
			found := w.end(func(j *journey) bool {
				h := &j.Hops[0]
				return j.Protocol == "udp" && h.Source.Port == port || h.ICMP != nil && h.ICMP.Type == 1
			})
			if len(found) != 2 {
				t.Fatalf("%d journeys, want 2", len(found))
			}
			aboutTheOther(t, found[1], found[0])
			// Nobody listens there, so that an error comes back and quotes the headers.
			holds(t, c.name, found[0], strings.Join([]string{"web:eth0 out " + web + " > " + internet6, "host:VETH in " + web + " > " + internet6,
				"host:docker0 in " + web + " > " + internet6, "host:eth0 out " + hostAddress6 + " > " + internet6,
				"left at host:eth0 out [tap]", "masquerade at postrouting by POSTROUTING [conntrack]"}, "\n"))
		})
	}
}

// A network without masquerade is routed: no address changes, and that is no
// leak.
func TestCaseIPv6Routed(t *testing.T) {
	e := engine.Start(t, "--experimental", "--ipv6", "--fixed-cidr-v6", "fd00:1::/64", "--ip6tables", "--userland-proxy=false")
	connect6(t, e)
	e.Network("--ipv6", "--subnet", "2001:db8:5::/64", "-o", "com.docker.network.bridge.enable_ip_masquerade=false",
		"-o", "com.docker.network.bridge.name=routed0", "routed")
	must(t, e.CommandOutside("ip", "-6", "route", "add", "2001:db8:5::/64", "via", hostAddress6))
	e.Run("--name", "web", "--network", "routed", "box")
	ready6(t, e)
	web := ip6Of(t, e, "web")
	w := startCase6(t, e, "icmp6 and (ip6[40] == 128 or ip6[40] == 129)")
	must(t, e.CommandIn("web", "ping", "-6", "-n", "-c", "1", "-W", "3", internet6))
	found := w.end(func(j *journey) bool { return j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type/2 == 64 })
	if len(found) != 2 {
		t.Fatalf("%d journeys, want 2", len(found))
	}
	out, in := web+" > "+internet6, internet6+" > "+web
	holds(t, "request", found[0], "web:eth0 out "+out+"\nhost:VETH in "+out+"\nhost:routed0 in "+out+"\nhost:eth0 out "+out+"\nleft at host:eth0 out [tap]")
	holds(t, "answer", found[1], "host:eth0 in "+in+"\nhost:routed0 out "+in+"\nhost:VETH out "+in+"\nweb:eth0 in "+in+"\ndelivered at web:eth0 in [tap]")
	for _, j := range found {
		if j.Verdict.Leak || len(j.Notes) > 0 {
			t.Errorf("%s: leak %v, notes %q", j.Info, j.Verdict.Leak, j.Notes)
		}
	}
}

// dial6 opens a UDP socket in a namespace until the test ends.
func dial6(t *testing.T, in *netns.Handle, from uint16, to string, port uint16) (u *net.UDPConn) {
	t.Helper()
	err := in.Do(func() (err error) {
		u, err = net.DialUDP("udp6", &net.UDPAddr{Port: int(from)}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(to), port)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

// connect6 gives the uplink IPv6.
func connect6(t *testing.T, e *engine.Engine) {
	t.Helper()
	must(t, e.Command("ip", "-6", "address", "add", hostAddress6+"/64", "dev", "eth0", "nodad"))
	must(t, e.CommandOutside("ip", "-6", "address", "add", internet6+"/64", "dev", "eth0", "nodad"))
	must(t, e.Command("ip", "-6", "route", "add", "default", "via", internet6))
}

// ready6 waits until web's addresses are no longer tentative (RFC 4862): what
// waits for them is sent again.
func ready6(t *testing.T, e *engine.Engine) {
	t.Helper()
	await(t, 20*time.Second, "a ping from web", func() bool {
		return e.CommandIn("web", "ping", "-6", "-n", "-c", "1", "-W", "1", internet6).Run() == nil
	})
}

// settled6 waits until no address of these containers is tentative any more: until then
// what they send waits, or has none for its source.
func settled6(t *testing.T, e *engine.Engine, containers ...string) {
	t.Helper()
	for _, name := range containers {
		await(t, 20*time.Second, name+" to have addresses of IPv6", func() bool {
			out, err := e.CommandIn(name, "ip", "-6", "-o", "address", "show", "dev", "eth0").Output()
			return err == nil && len(out) > 0 && !strings.Contains(string(out), "tentative")
		})
	}
}

// ip6Of returns the container's IPv6 address on its only network.
func ip6Of(t *testing.T, e *engine.Engine, container string) string {
	t.Helper()
	return e.Docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}", container)
}
