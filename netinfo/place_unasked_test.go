package netinfo

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/netinfo/docker"
	"natlens/netinfo/netfilter"
)

// podmanHost is dockerHost with Podman instead, whose service does not run.
func podmanHost() *hostFacts {
	f := dockerHost()
	f.namespaces[0].routes = []Route{{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1"), Link: 2}}
	f.namespaces[1].routes = []Route{{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("172.17.0.1"), Link: 2}}
	f.stale = true
	f.cgroups = map[string]processFact{id64("a"): {4711, webNS}, id64("b"): {4712, dbNS}, id64("c"): {4713, webNS}, id64("d"): {4714, hostNS}}
	f.inventory = &docker.Inventory{
		Engine: docker.Engine{Name: "Podman", Unasked: true},
		Containers: []docker.Container{
			{ID: id64("a"), Name: "web", PID: 4711, Mode: "private", Unasked: true, PortsUnknown: true},
			{ID: id64("b"), Name: "db", PID: 4712, Mode: "private", Unasked: true, PortsUnknown: true},
			{ID: id64("c"), Name: "sidecar", PID: 4713, Mode: "container:" + id64("a"), Unasked: true, PortsUnknown: true},
			{ID: id64("d"), Name: "hosted", PID: 4714, Mode: "host", Unasked: true, PortsUnknown: true},
			{ID: id64("e"), Name: "ending", PID: 4715, Mode: "private", Unasked: true, PortsUnknown: true},
		},
		Networks: []docker.Network{
			{ID: "p1", Name: "back_net", Driver: "bridge", Bridge: "docker0", Unasked: true, Subnets: []docker.Subnet{{Prefix: netip.MustParsePrefix("172.17.0.0/16")}}},
			{ID: "p2", Name: "podman", Driver: "bridge", Bridge: "podman0", Unasked: true},
		},
	}
	return f
}

// publishing answers as rules do that send port 8000 of the host to web's port 80,
// 8001 to db, and 53 of the host's loopback to it.
func publishing(h netfilter.Hook, p netfilter.Packet) netfilter.Match {
	to := map[string]string{
		"prerouting tcp 198.51.100.7:49152 > 192.0.2.10:8000": "172.17.0.2:80",
		"prerouting tcp 198.51.100.7:49152 > 192.0.2.10:8001": "172.17.0.3:0",
		"output udp 127.0.0.1:49152 > 127.0.0.1:53":           "172.17.0.3:5353",
	}[string(h)+" "+p.Tuple.String()]
	if to == "" {
		return netfilter.Match{}
	}
	return netfilter.Match{Certainty: netfilter.Covered, Kind: "dnat", To: netip.MustParseAddrPort(to), ToKnown: true}
}

func TestUnaskedContainersAreFoundByTheirCables(t *testing.T) {
	f := podmanHost()
	for _, l := range []string{"tcp 0.0.0.0:8000", "tcp 0.0.0.0:8001", "udp 127.0.0.1:53", "tcp [::]:22", "tcp 192.0.2.10:22"} {
		protocol, at, _ := strings.Cut(l, " ")
		if f.ways == nil {
			f.ways = &waysIn{nat: publishing}
		}
		f.ways.listeners = append(f.ways.listeners, Listener{Protocol: protocol, Address: netip.MustParseAddrPort(at)})
	}
	top := assemble(f, time.Time{})
	var got []string
	for _, c := range top.Containers {
		got = append(got, strings.TrimSpace(c.Name+" "+c.Proof+" on "+endpoints(c)+" "+ports(c)))
		if c.PortsUnknown {
			t.Errorf("%s: ports unknown %v", c.Name, c.PortsUnknown)
		}
	}
	want := `db cgroup of pid 4712 on back_net 172.17.0.3/16 0.0.0.0:8001→8001/tcp 127.0.0.1:53→5353/udp
hosted cgroup of pid 4714 on
sidecar cgroup of pid 4713 on
web cgroup of pid 4711 on back_net 172.17.0.2/16 0.0.0.0:8000→80/tcp`
	if strings.Join(got, "\n") != want {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	if got := namespaceNames(top); got != "host/self db/container inet/mount web/container" {
		t.Errorf("namespaces %s", got)
	}
	network := top.Networks[0]
	if members(network) != "db web" || network.BridgeLink == nil || top.Networks[1].BridgeLink != nil {
		t.Errorf("networks: members %q of %+v, %+v", members(network), network, top.Networks[1])
	}
	if e := top.FindContainer("web")[0].Endpoints[0]; len(e.Gateways) != 1 || e.Gateways[0] != netip.MustParseAddr("172.17.0.1") || e.MAC != "02:42:ac:11:00:02" {
		t.Errorf("endpoint %+v", e)
	}
	f = podmanHost() // whose rules could not be read
	for _, c := range assemble(f, time.Time{}).Containers {
		if c.PortsUnknown != (c.Mode == "private") || len(c.Ports) > 0 {
			t.Errorf("%s: ports %v, unknown %v", c.Name, c.Ports, c.PortsUnknown)
		}
	}
}

// A container on a macvlan has no cable to the host: its link stands on another.
func TestUnaskedContainerOnAParent(t *testing.T) {
	f := podmanHost()
	f.inventory.Networks = append(f.inventory.Networks, docker.Network{ID: "p3", Name: "lan", Driver: "macvlan", Parent: "eth0", Unasked: true})
	lan := vethFacts(3, "eth1", 2, 0, "02:00:00:00:00:99", "192.0.2.77/24", "fe80::1/64")
	lan.Kind, lan.stacked = "macvlan", true
	f.namespaces[1].links = append(f.namespaces[1].links, lan)
	top := assemble(f, time.Time{})
	if got := endpoints(top.FindContainer("web")[0]); got != "back_net 172.17.0.2/16 lan 192.0.2.77/24" {
		t.Errorf("web is on %s", got)
	}
}

func TestWaysInAskWhatCanCome(t *testing.T) {
	top := assemble(podmanHost(), time.Time{})
	var asked []string
	w := &waysIn{nat: func(h netfilter.Hook, p netfilter.Packet) netfilter.Match {
		asked = append(asked, string(h)+" "+p.InLink+" "+p.Tuple.String())
		return netfilter.Match{}
	}}
	for _, at := range []string{"0.0.0.0:1", "192.0.2.10:2", "127.0.0.1:3", "[::1]:4", "[::]:5"} {
		w.ask(top.Namespace(hostNS), Listener{Protocol: "tcp", Address: netip.MustParseAddrPort(at)})
	}
	one := packet.NewTuple(packet.TCP, netip.MustParseAddr("::1"), netip.MustParseAddr("::1"), 49152, 4).String()
	want := "prerouting eth0 tcp 198.51.100.7:49152 > 192.0.2.10:1, prerouting eth0 tcp 198.51.100.7:49152 > 192.0.2.10:2, " +
		"output  tcp 127.0.0.1:49152 > 127.0.0.1:3, output  " + one // and no IPv6 here
	if got := strings.Join(asked, ", "); got != want {
		t.Errorf("asked %s\nwant  %s", got, want)
	}
}
