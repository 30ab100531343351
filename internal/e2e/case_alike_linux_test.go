package e2e

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// Datagrams that nothing tells apart, of which a rule drops each third. Which of
// them it was, no journey claims to know.
func TestCaseIdenticalDatagramsOfWhichSomeAreDropped(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box")
	const sent, number = 9, 5999
	rule := []string{"DOCKER-USER", "-p", "udp", "--dport", "5999", "-m", "statistic", "--mode", "nth", "--every", "3", "--packet", "0", "-j", "DROP"}
	must(t, e.Command("iptables", append([]string{"-I"}, rule...)...))
	defer must(t, e.Command("iptables", append([]string{"-D"}, rule...)...))
	sink, err := lab.ListenUDP(e.Internet(), netip.AddrPortFrom(netip.IPv4Unspecified(), number))
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	u, err := lab.ListenUDP(e.Namespace("back"), netip.AddrPortFrom(netip.IPv4Unspecified(), 4000))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	raw, err := u.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// What is not to be fragmented, of a socket that is not connected, has no
	// identification (ip_select_ident).
	if err := errors.Join(raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_DO)
	}), err); err != nil {
		t.Fatal(err)
	}
	l := &load{t: t, e: e}
	l.pings(e.Namespace("back"), internet, 6100, 1) // who the next hop is, is known then
	c := startCase(t, e)
	for range sent {
		_, err := u.WriteToUDPAddrPort([]byte("identical"), netip.AddrPortFrom(internet, number))
		l.must(err)
	}
	time.Sleep(4 * time.Second) // a packet that does not go on is waited for
	journeys, sightings := c.end()

	eth0 := ipLinks(t, e.Command)["eth0"].Ifindex
	passed := 0
	for _, s := range sightings {
		if s.Ifindex == eth0 && s.Out && s.Dest.Port == number {
			passed++
		}
	}
	if passed != sent-sent/3 {
		t.Fatalf("tcpdump saw %d leave, want %d", passed, sent-sent/3)
	}
	left := 0
	found := with(journeys, func(j *journey) bool { return j.Hops[0].Destination.Port == number })
	for _, j := range found {
		if j.Verdict.Result == "left" {
			left++
		}
		if j.Verdict.Evidence != "ambiguous" || len(j.Notes) != 1 || !strings.HasPrefix(j.Notes[0], "ambiguous: #") {
			t.Errorf("%s: %+v %q", shape(j), j.Verdict, j.Notes)
		}
	}
	if len(found) != sent || left != passed {
		t.Errorf("%d journeys, want %d; %d left, want %d", len(found), sent, left, passed)
	}
}
