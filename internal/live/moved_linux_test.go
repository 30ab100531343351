package live

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// A link goes to another namespace while packets use it, as "ip link set … netns"
// does. Packets before were of the one, packets behind are of the other.
func TestLinkThatMovesToAnotherNamespace(t *testing.T) {
	leak.Check(t)
	dockerHost(t)
	first := mustBox(t, "first", 40)
	t.Cleanup(func() { _ = first.remove() })
	second := &box{name: "second", path: filepath.Join("/run/netns", "second")}
	var err error
	if second.ns, err = netns.New(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = second.remove() })
	if err := errors.Join(os.WriteFile(second.path, nil, 0o444), unix.Mount(second.ns.Path(), second.path, "", unix.MS_BIND, "")); err != nil {
		t.Fatal(err)
	}
	w := startWatch(t, Config{AllNamespaces: true})
	through := func(name string) func(*trace.Journey) bool {
		path := name + "/eth0:out host/" + first.link + ":in host/docker0:in host/eth0:out internet/eth0:in"
		return func(j *trace.Journey) bool {
			return pathOf(j) == path && j.Verdict.Result == trace.Delivered && j.From.Name == name
		}
	}
	pinger(t, first.ns, 41)
	w.journey("a ping of the first", through("first"))

	if err := first.inside(func(nl *netlink.Handle) error {
		eth0, err := nl.LinkByName("eth0")
		if err != nil {
			return err
		}
		return nl.LinkSetNsFd(eth0, second.ns.Fd())
	}); err != nil {
		t.Fatal(err)
	}
	if err := second.inside(func(nl *netlink.Handle) error {
		eth0, err := nl.LinkByName("eth0")
		if err != nil {
			return err
		}
		// It has lost its addresses, and is down.
		address := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(172, 17, 1, 41), Mask: net.CIDRMask(lab.BridgePrefix.Bits(), 32)}}
		if err := errors.Join(nl.AddrAdd(eth0, address), nl.LinkSetUp(eth0)); err != nil {
			return err
		}
		return nl.RouteAdd(&netlink.Route{Gw: lab.BridgePrefix.Addr().AsSlice()})
	}); err != nil {
		t.Fatal(err)
	}
	pinger(t, second.ns, 42)
	w.journey("a ping of the second", through("second"))
	came, went := false, false
	w.until("word that the link moved", func() bool {
		for _, c := range w.changes {
			came = came || c.Kind == "link" && c.Action == "came" && c.Name == "eth0" && c.NamespaceName == "second"
			went = went || c.Kind == "link" && c.Action == "went" && c.Name == "eth0" && c.NamespaceName == "first"
		}
		return came && went
	})
	w.end()
	// The rings end one after the other, so that of the last packet only what is
	// outside may have been seen: its address is the host's.
	complete := func(j *trace.Journey) bool {
		return j.Protocol == packet.ICMP && slices.ContainsFunc(j.Hops, func(h trace.Hop) bool { return h.Namespace == "first" || h.Namespace == "second" })
	}
	for _, j := range w.all(complete) {
		h := &j.Hops[0].Headers
		name := j.From.Name
		if h.ICMPType == 0 {
			name = j.To.Name
		}
		if want := map[uint16]string{41: "first", 42: "second"}[h.ICMPID]; want != "" && name != want && name != "" {
			t.Errorf("a packet of %s is said to be of %s: %s", want, name, pathOf(j))
		}
		if j.Verdict.Result == trace.Dropped || j.Verdict.Leak {
			t.Errorf("%s: %+v", pathOf(j), j.Verdict)
		}
	}
}

// A container goes while a packet of it waits for the next hop's MAC address: its
// journey tells where it was, by the names of that time, and that the host gave up.
func TestVethThatVanishesUnderAJourney(t *testing.T) {
	leak.Check(t)
	dockerHost(t)
	b := mustBox(t, "box", 43)
	t.Cleanup(func() { _ = b.remove() })
	w := startWatch(t, Config{Patience: liveness})
	pinger(t, b.ns, 43)
	w.journey("a ping", whole("box", b.link))
	// Nobody has that address, so address resolution keeps the packet.
	const number = 5310
	c, err := lab.DialUDP(b.ns, netip.AddrPort{}, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.77"), number))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("under way")); err != nil {
		t.Fatal(err)
	}
	seen := w.session.Summary().Observations
	w.until("it is under way", func() bool { return w.session.Summary().Observations > seen })
	link, err := netlink.LinkByName(b.link)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	j := w.udpTo("the packet under way", number)
	if got, want := pathOf(j), "box/eth0:out host/"+b.link+":in host/docker0:in"; got != want || j.From.Name != "box" || j.Verdict.Leak ||
		j.Verdict.Evidence != trace.ByReply || !strings.HasPrefix(j.Verdict.Reason, "host unreachable, says 192.0.2.10") {
		t.Errorf("%s, want %s; from %s, %+v", got, want, j.From.Name, j.Verdict)
	}
}
