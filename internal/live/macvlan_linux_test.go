package live

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// macvlanBox makes a namespace with a macvlan on the uplink, which the test's end
// removes. Where it is not to be found, no scan can tell of it.
func macvlanBox(t *testing.T, name, address string, found bool) *netns.Handle {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	b := &box{name: name, ns: ns, path: filepath.Join("/run/netns", name)}
	t.Cleanup(func() {
		if err := b.remove(); err != nil {
			t.Error(err)
		}
	})
	if found {
		if err := os.WriteFile(b.path, nil, 0o444); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(ns.Path(), b.path, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
	}
	uplink, err := netlink.LinkByName(lab.Uplink)
	if err != nil {
		t.Fatal(err)
	}
	link := &netlink.Macvlan{Mode: netlink.MACVLAN_MODE_BRIDGE, LinkAttrs: netlink.LinkAttrs{
		Name: "mac0", ParentIndex: uplink.Attrs().Index, Namespace: netlink.NsFd(ns.Fd())}}
	if err := netlink.LinkAdd(link); err != nil {
		t.Skipf("needs macvlan: %v", err)
	}
	err = b.inside(func(nl *netlink.Handle) error {
		l, err := nl.LinkByName("mac0")
		if err != nil {
			return err
		}
		ip := net.ParseIP(address)
		if err := nl.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(24, 32)}}); err != nil {
			return err
		}
		if err := nl.LinkSetUp(l); err != nil {
			return err
		}
		return nl.RouteAdd(&netlink.Route{Gw: lab.GatewayAddress.AsSlice()})
	})
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

// A macvlan's packets pass its parent without meeting NAT: that is how it is
// meant, and no leak. What goes from one macvlan to another shows at the parent,
// and did not come from outside.
func TestMacvlanOnTheUplink(t *testing.T) {
	leak.Check(t)
	dockerHost(t)
	one := macvlanBox(t, "one", "192.0.2.21", true)
	macvlanBox(t, "other", "192.0.2.22", true)
	hidden := macvlanBox(t, "hidden", "192.0.2.23", false)
	w := startWatch(t, Config{AllNamespaces: true})
	ping := func(from *netns.Handle, to string, id uint16) {
		t.Helper()
		if _, err := lab.Ping(t.Context(), from, netip.MustParseAddr(to), lab.Echo{ID: id, Seq: 1, Payload: []byte("macvlan")}); err != nil {
			t.Fatal(err)
		}
	}
	ping(one, lab.ServerAddress.String(), 80)
	ping(one, "192.0.2.22", 81)
	ping(hidden, lab.ServerAddress.String(), 82)
	for _, c := range []struct {
		id           uint16
		kind         uint8
		path, reason string
		result       trace.Result
	}{
		{80, 8, "one/mac0:out host/eth0:out internet/eth0:in", "", trace.Delivered},
		{80, 0, "internet/eth0:out host/eth0:in one/mac0:in", "", trace.Delivered},
		{81, 8, "one/mac0:out host/eth0:in other/mac0:in", "", trace.Delivered},
		{81, 0, "other/mac0:out host/eth0:in one/mac0:in", "", trace.Delivered},
		{82, 8, "host/eth0:out internet/eth0:in", "", trace.Delivered},
		{82, 0, "internet/eth0:out host/eth0:in", "its MAC address is another's: not accepted here, unless by a macvlan that is not watched", trace.Vanished},
	} {
		j := w.journey("an echo", func(j *trace.Journey) bool {
			h := &j.Hops[0].Headers
			return j.Protocol == packet.ICMP && h.ICMPID == c.id && h.ICMPType == c.kind
		})
		expect(t, j, c.path, "", c.result)
		if j.Verdict.Leak || j.Verdict.Reason != c.reason {
			t.Errorf("echo %d, type %d: %+v", c.id, c.kind, j.Verdict)
		}
	}
}
