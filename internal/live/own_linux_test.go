package live

import (
	"net/netip"
	"os"
	"testing"

	"natlens/capture/packet"
	"natlens/trace"
)

func TestParseSSH(t *testing.T) {
	client, server, ok := parseSSH("192.0.2.1 54321 192.0.2.10 22")
	if !ok || client != netip.MustParseAddrPort("192.0.2.1:54321") || server != netip.MustParseAddrPort("192.0.2.10:22") {
		t.Errorf("got %v, %v, %v", client, server, ok)
	}
	if client, _, ok := parseSSH("fe80::1%eth0 1 fe80::2%eth0 22"); !ok || client.Addr().Zone() != "" {
		t.Errorf("zone kept: %v, %v", client, ok)
	}
	for _, bad := range []string{"", "192.0.2.1 54321", "x 1 y 2", "192.0.2.1 70000 192.0.2.10 22"} {
		if _, _, ok := parseSSH(bad); ok {
			t.Errorf("parseSSH(%q) is ok", bad)
		}
	}
}

func TestParentOf(t *testing.T) {
	if got := parentOf(os.Getpid()); got != os.Getppid() {
		t.Errorf("parent %d, want %d", got, os.Getppid())
	}
	if got := parentOf(1 << 30); got != 0 {
		t.Errorf("parent of nobody: %d", got)
	}
}

func TestOwnHidesBothDirections(t *testing.T) {
	client, server := netip.MustParseAddrPort("192.0.2.1:54321"), netip.MustParseAddrPort("192.0.2.10:22")
	own := Own{pairs: [][2]netip.AddrPort{{client, server}}}
	journey := func(s, d netip.AddrPort) *trace.Journey {
		j := &trace.Journey{Protocol: packet.TCP, Hops: make([]trace.Hop, 1)}
		j.Hops[0].Headers.Tuple = packet.NewTuple(packet.TCP, s.Addr(), d.Addr(), s.Port(), d.Port())
		return j
	}
	other := netip.MustParseAddrPort("192.0.2.1:54322")
	for _, c := range []struct {
		s, d netip.AddrPort
		want bool
	}{{client, server, true}, {server, client, true}, {other, server, false}, {server, other, false}} {
		if got := own.Hides(journey(c.s, c.d)); got != c.want {
			t.Errorf("%v to %v hidden: %v, want %v", c.s, c.d, got, c.want)
		}
	}
	engine := Own{pairs: [][2]netip.AddrPort{{{}, netip.MustParseAddrPort("192.0.2.9:2375")}}}
	if !engine.Hides(journey(other, netip.MustParseAddrPort("192.0.2.9:2375"))) {
		t.Error("engine's connection is shown")
	}
}
