package e2e

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// leaksOf are the journeys that are said to leak.
func leaksOf(all []journey) []*journey {
	return with(all, func(j *journey) bool { return j.Verdict.Leak })
}

// What connection tracking does not accept is not translated, and leaves with
// the container's address.
func TestCaseLeak(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box")
	l := &load{t: t, e: e}
	l.answerTCP(e.Internet(), 8000)
	back := e.Namespace("back")
	address := ipOf(t, e, "back", "bridge")
	c := startCase(t, e)
	conn, err := lab.DialTCP(t.Context(), back, netip.MustParseAddrPort("0.0.0.0:33000"), netip.AddrPortFrom(internet, 8000))
	if err != nil {
		t.Fatal(err)
	}
	_, err = lab.Exchange(t.Context(), conn, l.words(30))
	l.must(err)
	must(t, e.Command("conntrack", "-D", "-p", "tcp", "--orig-port-src", "33000"))
	time.Sleep(50 * time.Millisecond)
	l.must(conn.SetLinger(0))
	l.must(conn.Close()) // its RST belongs to no entry, and is not sent twice
	time.Sleep(300 * time.Millisecond)
	journeys, sightings := c.end()

	uplink := uint64(e.Host().ID())
	index := ipLinks(t, e.Command)["eth0"].Ifindex
	leaked := 0
	for _, s := range sightings {
		if s.Space == uplink && s.Ifindex == index && s.Out && s.Source.IP == address.String() {
			leaked++
		}
	}
	found := leaksOf(journeys)
	if leaked == 0 || len(found) != leaked {
		t.Fatalf("%d journeys leak, tcpdump saw %d packets of the container's address at the uplink", len(found), leaked)
	}
	for _, j := range found {
		if j.Verdict.Result != "left" || !strings.Contains(j.Verdict.Reason, "INVALID") || len(j.Notes) == 0 || !strings.Contains(j.Notes[0], "--ctstate INVALID -j DROP") {
			t.Errorf("%s: %+v %q", j.Info, j.Verdict, j.Notes)
		}
		if len(j.Translations) != 0 {
			t.Errorf("a leak was translated: %+v", j.Translations)
		}
	}
	t.Logf("%d leaks: %s: %+v", leaked, found[0].Info, found[0].Verdict)
}

// leaving counts what tcpdump saw of an address at the uplink, outbound.
func leaving(t *testing.T, e *engine.Engine, sightings []oracletest.Sighting, of netip.Addr) (n int) {
	t.Helper()
	index := ipLinks(t, e.Command)["eth0"].Ifindex
	for _, s := range sightings {
		if s.Space == uint64(e.Host().ID()) && s.Ifindex == index && s.Out && s.Source.IP == of.String() {
			n++
		}
	}
	return n
}

// A segment of a connection without an entry begins a new one, which is
// translated (nf_conntrack_tcp_loose); a FIN does not, and neither does a segment
// where the kernel is told not to be loose.
func TestCaseLeakOfALateFIN(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box")
	l := &load{t: t, e: e}
	l.answerTCP(e.Internet(), 8000)
	address := ipOf(t, e, "back", "bridge")
	forget := func(port string) {
		must(t, e.Command("conntrack", "-D", "-p", "tcp", "--orig-port-src", port))
	}
	dial := func(port uint16) *net.TCPConn {
		conn, err := lab.DialTCP(t.Context(), e.Namespace("back"), netip.AddrPortFrom(netip.IPv4Unspecified(), port), netip.AddrPortFrom(internet, 8000))
		if err != nil {
			t.Fatal(err)
		}
		// Nobody answers what leaks: it is sent again for a while.
		raw, err := conn.SyscallConn()
		l.must(err)
		l.must(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 500) }))
		l.must(err)
		return conn
	}
	for _, c := range []struct{ name, loose, port string }{{"loose", "1", "33001"}, {"strict", "0", "33002"}} {
		t.Run(c.name, func(t *testing.T) {
			tune(t, e, "net.netfilter.nf_conntrack_tcp_loose", c.loose)
			watched := startCase(t, e)
			port, err := strconv.ParseUint(c.port, 10, 16)
			l.must(err)
			conn := dial(uint16(port))
			_, err = lab.Exchange(t.Context(), conn, l.words(30))
			l.must(err)
			forget(c.port)
			if c.loose == "1" {
				_, err = lab.Exchange(t.Context(), conn, l.words(30)) // picked up, and translated
				l.must(err)
				time.Sleep(500 * time.Millisecond) // its last ACK may be delayed, and would be picked up, too
				forget(c.port)
			} else {
				_, err = conn.Write(l.words(30))
				l.must(err)
			}
			time.Sleep(100 * time.Millisecond)
			l.must(conn.Close())
			time.Sleep(time.Second)
			journeys, sightings := watched.end()
			found, want := leaksOf(journeys), leaving(t, e, sightings, address)
			if len(found) != want || want == 0 {
				t.Fatalf("%d journeys leak, tcpdump saw %d packets of the container's address at the uplink", len(found), want)
			}
			flags := map[string]int{}
			for _, j := range found {
				flags[j.Hops[0].TCP.Flags]++
				if j.Verdict.Result != "left" || !strings.Contains(j.Verdict.Reason, "INVALID") || len(j.Translations) != 0 {
					t.Errorf("%s: %+v", j.Info, j.Verdict)
				}
			}
			if c.loose == "1" && (len(flags) != 1 || flags["FIN ACK"] == 0) {
				t.Errorf("leaks by flags: %v, want FIN ACK alone", flags)
			}
			if c.loose == "0" && flags["PSH ACK"] == 0 {
				t.Errorf("leaks by flags: %v, want data, too", flags)
			}
		})
	}
}

// A container on a macvlan is on the uplink's own network: its address is where it
// should be.
func TestCaseNoLeakOfMacvlan(t *testing.T) {
	e := engine.Shared(t)
	e.Network("-d", "macvlan", "-o", "parent=eth0", "--subnet", "192.0.2.0/24", "--ip-range", "192.0.2.128/25", "--gateway", "192.0.2.1", "wire")
	e.Run("--name", "wired", "--network", "wire", "box")
	e.Run("--name", "back", "box")
	l := &load{t: t, e: e}
	c := startCase(t, e)
	l.pings(e.Namespace("back"), internet, 6200, 2) // so that connections are tracked
	l.pings(e.Namespace("wired"), internet, 6201, 3)
	time.Sleep(100 * time.Millisecond)
	journeys, sightings := c.end()
	for _, j := range leaksOf(journeys) {
		t.Errorf("%s %s: %+v", j.Info, shape(j), j.Verdict)
	}
	if n := leaving(t, e, sightings, ipOf(t, e, "wired", "wire")); n < 3 {
		t.Errorf("%d packets left with the container's address, want 3", n)
	}
	for _, j := range echoes(journeys, 8, 6201) {
		if j.Verdict.Result != "left" || j.From.Name != "wired" {
			t.Errorf("%s from %q: %+v", shape(j), j.From.Name, j.Verdict)
		}
	}
}

// A network without masquerade leaves with its own addresses because its owner
// said so.
func TestCaseNoLeakWithoutMasquerade(t *testing.T) {
	e := engine.Shared(t)
	e.Network("-o", "com.docker.network.bridge.enable_ip_masquerade=false", "--subnet", "172.30.5.0/24", "routed")
	e.Run("--name", "routed", "--network", "routed", "box")
	e.Run("--name", "back", "box")
	e.Run("--name", "front", "box")
	must(t, e.CommandOutside("ip", "route", "add", "172.30.5.0/24", "via", hostAddress.String()))
	must(t, e.CommandOutside("ip", "route", "add", "172.17.0.0/16", "via", hostAddress.String()))
	must(t, e.Command("iptables", "-I", "DOCKER-USER", "-i", "eth0", "-j", "ACCEPT"))
	l := &load{t: t, e: e}
	l.answerUDP(e.Namespace("back"), netip.AddrPortFrom(ipOf(t, e, "back", "bridge"), 5000))
	c := startCase(t, e)
	l.pings(e.Namespace("routed"), internet, 6000, 3)
	l.pings(e.Namespace("back"), internet, 6001, 3)
	l.pings(e.Namespace("back"), ipOf(t, e, "front", "bridge"), 6002, 3)
	l.pings(e.Internet(), ipOf(t, e, "back", "bridge"), 6003, 3) // routed to the container, not translated
	u, err := lab.DialUDP(e.Internet(), netip.AddrPort{}, netip.AddrPortFrom(ipOf(t, e, "back", "bridge"), 5000))
	if err != nil {
		t.Fatal(err)
	}
	_, err = lab.Exchange(t.Context(), u, l.words(20))
	l.must(err)
	l.must(u.Close())
	time.Sleep(100 * time.Millisecond)
	journeys, _ := c.end()
	for _, j := range leaksOf(journeys) {
		t.Errorf("%s %s: %+v", j.Info, shape(j), j.Verdict)
	}
	if n := len(echoes(journeys, 8, 6000)) + len(echoes(journeys, 0, 6003)); n != 6 {
		t.Errorf("%d packets left un-NATed, want 6", n)
	}
	must(t, e.Command("iptables", "-D", "DOCKER-USER", "-i", "eth0", "-j", "ACCEPT"))
	for _, route := range []string{"172.30.5.0/24", "172.17.0.0/16"} {
		must(t, e.CommandOutside("ip", "route", "del", route))
	}
}
