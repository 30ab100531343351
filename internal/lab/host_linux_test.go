package lab_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"natlens/internal/lab"
	"natlens/internal/lab/labtest"
	"natlens/netinfo/netns"
)

// dockerHost is a host with docker0 and a container called back.
func dockerHost(t *testing.T) (*lab.Host, *lab.Bridge, *lab.Container) {
	t.Helper()
	h := labtest.NewHost(t)
	docker0, err := h.Bridge("docker0", lab.BridgePrefix)
	if err != nil {
		t.Fatal(err)
	}
	back, err := h.Container("back", docker0)
	if err != nil {
		t.Fatal(err)
	}
	return h, docker0, back
}

func TestMasqueradeHidesTheContainer(t *testing.T) {
	h, docker0, back := dockerHost(t)
	if err := h.Masquerade(docker0); err != nil {
		t.Fatal(err)
	}
	far := listenICMP(t, h.Internet())
	if _, err := lab.Ping(t.Context(), back.Namespace(), lab.ServerAddress, lab.Echo{ID: 1, Seq: 2, Payload: []byte("odd")}); err != nil {
		t.Fatal(err)
	}
	far.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 128)
	n, from, err := far.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	if from.String() != lab.HostAddress.String() || !strings.HasSuffix(string(buf[:n]), "odd") {
		t.Errorf("the server saw % x from %v, want the payload from %v", buf[:n], from, lab.HostAddress)
	}
}

func TestNoMasqueradeNoAnswer(t *testing.T) {
	_, _, back := dockerHost(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := lab.Ping(ctx, back.Namespace(), lab.ServerAddress, lab.Echo{ID: 1, Seq: 1})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ping: %v, want no answer", err)
	}
}

func TestContainersReachEachOther(t *testing.T) {
	h, docker0, back := dockerHost(t)
	database, err := h.Container("database", docker0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lab.Ping(t.Context(), back.Namespace(), database.Address, lab.Echo{ID: 1, Seq: 1}); err != nil {
		t.Error(err)
	}
	want := netip.MustParseAddr("172.17.0.3")
	if database.Address != want || database.MAC.String() != "02:42:ac:11:00:03" {
		t.Errorf("database is %v, %v; want %v and the MAC Docker gives it", database.Address, database.MAC, want)
	}
}

func TestPublishedPortFromOutsideAndFromTheHost(t *testing.T) {
	h, _, back := dockerHost(t)
	if err := h.Publish(8000, back, 80); err != nil {
		t.Fatal(err)
	}
	if err := back.ServeHTTP(80, "hello"); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]*netns.Handle{"internet": h.Internet(), "host": h.Namespace()} {
		if page, err := lab.Get(t.Context(), from, netip.AddrPortFrom(lab.HostAddress, 8000)); err != nil || page != "hello" {
			t.Errorf("from %s: %q, %v; want hello", name, page, err)
		}
	}
}

func TestPublishedPortKeepsTheClientsAddress(t *testing.T) {
	h, _, back := dockerHost(t)
	if err := h.Publish(8000, back, 80); err != nil {
		t.Fatal(err)
	}
	l, err := lab.ListenTCP(back.Namespace(), netip.MustParseAddrPort("0.0.0.0:80"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := lab.DialTCP(t.Context(), h.Internet(), netip.MustParseAddrPort("192.0.2.1:40000"), netip.AddrPortFrom(lab.HostAddress, 8000))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l.SetDeadline(time.Now().Add(10 * time.Second))
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.RemoteAddr().String() != "192.0.2.1:40000" || s.LocalAddr().String() != "172.17.0.2:80" {
		t.Errorf("the container saw %v → %v, want 192.0.2.1:40000 → 172.17.0.2:80", s.RemoteAddr(), s.LocalAddr())
	}
}

func TestDatagramsThroughMasquerade(t *testing.T) {
	h, docker0, back := dockerHost(t)
	if err := h.Masquerade(docker0); err != nil {
		t.Fatal(err)
	}
	s, err := lab.EchoUDP(h.Internet(), netip.AddrPortFrom(lab.ServerAddress, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := lab.DialUDP(back.Namespace(), netip.AddrPort{}, s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := lab.Exchange(t.Context(), c, []byte("question")); err != nil || string(got) != "question" {
		t.Errorf("answer %q, %v", got, err)
	}
}

func TestRulesReadAsDockers(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("needs nft: package nftables")
	}
	h, docker0, back := dockerHost(t)
	if err := errors.Join(h.Masquerade(docker0), h.Publish(8000, back, 80)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), nft, "--stateless", "list", "table", "ip", "nat").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := `table ip nat {
	chain DOCKER {
		iifname "docker0" counter return
		iifname != "docker0" tcp dport 8000 counter dnat to 172.17.0.2:80
	}

	chain PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local counter jump DOCKER
	}

	chain OUTPUT {
		type nat hook output priority -100; policy accept;
		ip daddr != 127.0.0.0/8 fib daddr type local counter jump DOCKER
	}

	chain POSTROUTING {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 172.17.0.0/16 oifname != "docker0" counter masquerade
		ip saddr 172.17.0.2 ip daddr 172.17.0.2 tcp dport 80 counter masquerade
	}
}
`
	if d := cmp.Diff(want, string(out)); d != "" {
		t.Errorf("nft list table ip nat (-want +got):\n%s", d)
	}
}

func TestNamesAreThoseOfIPNetns(t *testing.T) {
	_, _, back := dockerHost(t)
	for _, name := range []string{"back", lab.InternetName} {
		ns, err := netns.Open("/run/netns/" + name)
		if err != nil {
			t.Error(err)
			continue
		}
		ns.Close()
		if name == "back" && ns.ID() != back.Namespace().ID() {
			t.Errorf("/run/netns/back is %v, want %v", ns.ID(), back.Namespace().ID())
		}
	}
}

func TestBridgeRunsOutOfAddresses(t *testing.T) {
	h := labtest.NewHost(t)
	small, err := h.Bridge("br-small", netip.MustParsePrefix("172.20.0.1/30"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Container("only", small); err != nil {
		t.Fatal(err)
	}
	if c, err := h.Container("late", small); err == nil {
		t.Errorf("a second container got %v, which is the subnet's broadcast address", c.Address)
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	labtest.Need(t)
	var before snapshot
	// The first host also opens what the process keeps, such as the network
	// poller.
	for range 2 {
		before = takeSnapshot(t)
		t.Run("host", func(t *testing.T) {
			h, docker0, back := dockerHost(t)
			err := errors.Join(h.Masquerade(docker0), h.Publish(8000, back, 80), back.ServeHTTP(80, "hello"), back.EchoUDP(7))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := lab.Get(t.Context(), h.Internet(), netip.AddrPortFrom(lab.HostAddress, 8000)); err != nil {
				t.Fatal(err)
			}
		})
	}
	after := takeSnapshot(t)
	after.compare(t, before)
	// Nor may earlier tests have left anything.
	if len(after.Links) != 1 || len(after.Names) != 0 || len(after.Tables) != 0 {
		t.Errorf("links %v, names %v, tables %v; want lo alone", after.Links, after.Names, after.Tables)
	}
}

func listenICMP(t *testing.T, ns *netns.Handle) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	err := ns.Do(func() (err error) {
		c, err = net.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestLabHidesTheEngine(t *testing.T) {
	labtest.Need(t)
	for _, socket := range []string{"/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock"} {
		if _, err := os.Stat(socket); err == nil {
			t.Errorf("%s is visible in a lab", socket)
		}
	}
	if v, ok := os.LookupEnv("DOCKER_HOST"); ok {
		t.Errorf("DOCKER_HOST=%s in a lab", v)
	}
}
