package lab_test

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"natlens/internal/lab"
	"natlens/internal/lab/labtest"
)

// twoNetworks is a host with docker0 and a second network, a container on each.
func twoNetworks(t *testing.T) (h *lab.Host, ubuntu, back *lab.Container) {
	t.Helper()
	h = labtest.NewHost(t)
	docker0, err := h.Network("docker0", lab.BridgePrefix)
	if err != nil {
		t.Fatal(err)
	}
	other, err := h.Network("br-back", netip.MustParsePrefix("172.24.0.1/16"))
	if err != nil {
		t.Fatal(err)
	}
	if ubuntu, err = h.Container("ubuntu", docker0); err != nil {
		t.Fatal(err)
	}
	if back, err = h.Container("back", other); err != nil {
		t.Fatal(err)
	}
	return h, ubuntu, back
}

func TestForwardingReadsAsDockers(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("needs nft: package nftables")
	}
	h, ubuntu, _ := twoNetworks(t)
	if err := h.Publish(8000, ubuntu, 80); err != nil {
		t.Fatal(err)
	}
	if _, err := h.InternalNetwork("br-inner", netip.MustParsePrefix("172.25.0.1/16")); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), nft, "--stateless", "list", "table", "ip", "filter").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := `table ip filter {
	chain DOCKER {
		ip daddr 172.17.0.2 iifname != "docker0" oifname "docker0" tcp dport 80 counter accept
	}

	chain DOCKER-ISOLATION-STAGE-1 {
		ip saddr != 172.25.0.0/16 oifname "br-inner" counter drop
		ip daddr != 172.25.0.0/16 iifname "br-inner" counter drop
		iifname "br-back" oifname != "br-back" counter jump DOCKER-ISOLATION-STAGE-2
		iifname "docker0" oifname != "docker0" counter jump DOCKER-ISOLATION-STAGE-2
		counter return
	}

	chain DOCKER-ISOLATION-STAGE-2 {
		oifname "br-back" counter drop
		oifname "docker0" counter drop
		counter return
	}

	chain DOCKER-USER {
		counter return
	}

	chain FORWARD {
		type filter hook forward priority filter; policy drop;
		counter jump DOCKER-USER
		counter jump DOCKER-ISOLATION-STAGE-1
		oifname "docker0" ct state established,related counter accept
		oifname "docker0" counter jump DOCKER
		iifname "docker0" oifname != "docker0" counter accept
		iifname "docker0" oifname "docker0" counter accept
		oifname "br-back" ct state established,related counter accept
		oifname "br-back" counter jump DOCKER
		iifname "br-back" oifname != "br-back" counter accept
		iifname "br-back" oifname "br-back" counter accept
		iifname "br-inner" oifname "br-inner" counter accept
	}
}
`
	if d := cmp.Diff(want, string(out)); d != "" {
		t.Errorf("nft list table ip filter (-want +got):\n%s", d)
	}
}

// unanswered fails the test when a ping is answered.
func unanswered(t *testing.T, from *lab.Container, to netip.Addr) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := lab.Ping(ctx, from.Namespace(), to, lab.Echo{ID: 1, Seq: 1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ping %v from %s: %v, want no answer", to, from.Name, err)
	}
}

func TestNetworksAreApartUntilConnected(t *testing.T) {
	h, ubuntu, back := twoNetworks(t)
	unanswered(t, ubuntu, back.Address)
	address, err := h.Connect(ubuntu, back.Bridge)
	if err != nil {
		t.Fatal(err)
	}
	if want := netip.MustParseAddr("172.24.0.3"); address != want {
		t.Errorf("its second address is %v, want %v", address, want)
	}
	if err := ubuntu.RouteBy(back.Bridge); err != nil {
		t.Fatal(err)
	}
	for _, to := range []netip.Addr{back.Address, lab.ServerAddress} {
		if _, err := lab.Ping(t.Context(), ubuntu.Namespace(), to, lab.Echo{ID: 1, Seq: 2}); err != nil {
			t.Error(err)
		}
	}
}

func TestInternalNetworkKeepsIn(t *testing.T) {
	h := labtest.NewHost(t)
	inner, err := h.InternalNetwork("br-inner", netip.MustParsePrefix("172.25.0.1/16"))
	if err != nil {
		t.Fatal(err)
	}
	var members []*lab.Container
	for _, name := range []string{"one", "two"} {
		c, err := h.Container(name, inner)
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, c)
	}
	if _, err := lab.Ping(t.Context(), members[0].Namespace(), members[1].Address, lab.Echo{ID: 1, Seq: 1}); err != nil {
		t.Error(err)
	}
	unanswered(t, members[0], lab.ServerAddress)
}

func TestRemovedContainersAddressIsFree(t *testing.T) {
	h, _, back := dockerHost(t)
	if err := h.Remove(back); err != nil {
		t.Fatal(err)
	}
	if h.Find("back") != nil {
		t.Error("it can still be found")
	}
	again, err := h.Container("other", back.Bridge)
	if err != nil {
		t.Fatal(err)
	}
	if again.Address != back.Address {
		t.Errorf("the next container has %v, want %v", again.Address, back.Address)
	}
}

func TestIsolatedHasALoopbackAlone(t *testing.T) {
	h := labtest.NewHost(t)
	c, err := h.Isolated("alone")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "ip", "-n", "alone", "-o", "link").CombinedOutput()
	if err != nil {
		t.Skipf("needs ip: package iproute2: %v", err)
	}
	if lines := strings.Count(string(out), "\n"); lines != 1 || !strings.Contains(string(out), " lo: ") {
		t.Errorf("%s has\n%s", c.Name, out)
	}
}
