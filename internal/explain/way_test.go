package explain

import (
	"errors"
	"net/netip"
	"testing"

	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// street is a container behind a bridge behind an uplink, and what the rules
// were asked.
func street(asked *[]netfilter.Packet) *Facts {
	key := func(ns netns.ID, i int32) netinfo.LinkKey { return netinfo.LinkKey{Namespace: ns, Index: i} }
	to := func(ns netns.ID, i int32) *netinfo.Peer { return &netinfo.Peer{Key: key(ns, i), Mutual: true} }
	bridge := key(1, 3)
	everything4, everything6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	inner := &netinfo.Namespace{
		ID: 2, Name: "back",
		Links: []*netinfo.Link{{Key: key(2, 6), Name: "eth0", Peer: to(1, 7), Addresses: []netip.Prefix{
			netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("172.17.0.2/16"),
		}}},
		Routes: []netinfo.Route{
			{Destination: everything6, Gateway: netip.MustParseAddr("fd00::1"), Link: 6},
			{Destination: everything4, Gateway: netip.MustParseAddr("172.17.0.9"), Link: 6, Metric: 100},
			{Destination: everything4, Gateway: netip.MustParseAddr("172.17.0.1"), Link: 6},
		},
	}
	host := &netinfo.Namespace{
		ID: 1, Name: "host",
		Links: []*netinfo.Link{
			{Key: key(1, 2), Name: "eth0", Role: netinfo.RoleUplink, Peer: to(9, 1), Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}},
			{Key: bridge, Name: "docker0", Role: netinfo.RoleBridge, Addresses: []netip.Prefix{netip.MustParsePrefix("172.17.0.1/16")}},
			{Key: key(1, 7), Name: "veth7", Master: &bridge, Peer: to(2, 6)},
		},
		Routes: []netinfo.Route{{Destination: everything4, Gateway: netip.MustParseAddr("192.0.2.1"), Link: 2}},
	}
	router := &netinfo.Namespace{ID: 9, Name: "internet", Links: []*netinfo.Link{
		{Key: key(9, 1), Name: "eth0", Peer: to(1, 2), Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}},
	}, Routes: []netinfo.Route{{Destination: everything4, Link: 1}}}
	nat := func(h netfilter.Hook, p netfilter.Packet) netfilter.Match {
		*asked = append(*asked, p)
		return netfilter.Match{Certainty: netfilter.Covered, Kind: "masquerade"}
	}
	return &Facts{
		Topology: (&netinfo.Topology{Self: 1, Namespaces: []*netinfo.Namespace{host, inner, router}}).Seal(),
		Rules:    map[netns.ID]Rules{1: {NAT: nat}},
	}
}

func TestWayOut(t *testing.T) {
	var asked []netfilter.Packet
	f := street(&asked)
	way := f.WayOut(2)
	if len(way) != 2 {
		t.Fatalf("%d steps, want 2: the way ends where natlens's own namespace is left", len(way))
	}
	if got := way[0].Route.Gateway.String(); got != "172.17.0.1" {
		t.Errorf("first router %s, want the IPv4 route with the least metric", got)
	}
	if way[1].In == nil || way[1].In.Name != "docker0" || way[1].Out.Name != "eth0" {
		t.Errorf("through the host from %v to %v", way[1].In, way[1].Out)
	}
	if len(asked) != 1 || asked[0].Tuple.Source().String() != "172.17.0.2" || asked[0].InLink != "docker0" || asked[0].OutLink != "eth0" {
		t.Errorf("the rules were asked about %+v", asked)
	}
	if got := way[1].Source.String(); got != "192.0.2.10" || way[1].NAT.Certainty != netfilter.Covered {
		t.Errorf("translated to %s, %+v", got, way[1].NAT)
	}
}

func TestWayOutStops(t *testing.T) {
	var asked []netfilter.Packet
	f := street(&asked)
	inner := f.Topology.Namespace(2)
	inner.Routes[2].Gateway = netip.MustParseAddr("172.17.0.77") // nobody's
	inner.Routes[1].Metric = 200
	if way := f.WayOut(2); len(way) != 1 {
		t.Errorf("%d steps to a router that is not here, want 1", len(way))
	}
	inner.Routes = nil
	if way := f.WayOut(2); len(way) != 0 {
		t.Errorf("%d steps without a default route", len(way))
	}
	if way := f.WayOut(77); len(way) != 0 {
		t.Errorf("%d steps from a namespace that is not here", len(way))
	}
	// Two namespaces that are each other's router.
	f = street(&asked)
	f.Topology.Self = 5
	f.Topology.Namespace(9).Routes[0].Gateway = netip.MustParseAddr("192.0.2.10")
	if way := f.WayOut(2); len(way) != 3 {
		t.Errorf("%d steps in a circle, want 3", len(way))
	}
}

func TestPublishedBy(t *testing.T) {
	var asked []netfilter.Packet
	f := street(&asked)
	for _, c := range []struct {
		protocol, at, want string
	}{
		{"tcp", "0.0.0.0:8080", "tcp 198.51.100.7:49152 > 192.0.2.10:8080"},
		{"udp", "192.0.2.10:53", "udp 198.51.100.7:49152 > 192.0.2.10:53"},
		{"tcp", "127.0.0.1:8080", ""},
		{"sctp", "0.0.0.0:8080", ""},
		{"tcp", "[::]:8080", ""}, // no IPv6 here
	} {
		asked = nil
		m := f.PublishedBy(docker.Port{Protocol: c.protocol, ContainerPort: 80, HostAddress: netip.MustParseAddrPort(c.at)})
		got := ""
		if len(asked) == 1 {
			got = asked[0].Tuple.String()
		}
		if got != c.want {
			t.Errorf("%s %s: asked about %q, want %q", c.protocol, c.at, got, c.want)
		}
		if c.want == "" && m.Certainty != netfilter.Unsure {
			t.Errorf("%s %s: %+v, want unsure", c.protocol, c.at, m)
		}
	}
}

func TestBehind(t *testing.T) {
	var asked []netfilter.Packet
	f := street(&asked)
	c := &netinfo.Container{Namespace: 2}
	port := docker.Port{Protocol: "tcp", ContainerPort: 80}
	listener := func(protocol, at string) netinfo.Listener {
		return netinfo.Listener{Protocol: protocol, Address: netip.MustParseAddrPort(at)}
	}
	for _, c2 := range []struct {
		name string
		s    Sockets
		want Reach
	}{
		{"every address", Sockets{Listeners: []netinfo.Listener{listener("tcp", "0.0.0.0:80")}}, Answers},
		{"its own address", Sockets{Listeners: []netinfo.Listener{listener("tcp", "172.17.0.2:80")}}, Answers},
		{"two, one of them loopback", Sockets{Listeners: []netinfo.Listener{listener("tcp", "127.0.0.1:80"), listener("tcp", "0.0.0.0:80")}}, Answers},
		{"loopback", Sockets{Listeners: []netinfo.Listener{listener("tcp", "127.0.0.5:80")}}, LoopbackOnly},
		{"somewhere else", Sockets{Listeners: []netinfo.Listener{listener("tcp", "10.9.9.9:80")}}, OtherAddress},
		{"other port", Sockets{Listeners: []netinfo.Listener{listener("tcp", "0.0.0.0:81")}}, Silent},
		{"other protocol", Sockets{Listeners: []netinfo.Listener{listener("udp", "0.0.0.0:80")}}, Silent},
		{"the engine's resolver", Sockets{Listeners: []netinfo.Listener{listener("tcp", "127.0.0.11:80")}}, Silent},
		{"not read", Sockets{Err: errors.New("no")}, Unknown},
	} {
		f.Sockets = map[netns.ID]Sockets{2: c2.s}
		if got := f.Behind(c, port); got.Reach != c2.want {
			t.Errorf("%s: %+v, want reach %d", c2.name, got, c2.want)
		}
	}
	f.Sockets = nil
	if got := f.Behind(c, port); got.Reach != Unknown {
		t.Errorf("nobody asked: %+v", got)
	}
}
