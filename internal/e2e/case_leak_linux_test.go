package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"

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
