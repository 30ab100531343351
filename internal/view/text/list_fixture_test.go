package text

import (
	"net/netip"
	"strings"

	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
)

// Namespaces of the host that the tests describe.
const (
	hostNS netns.ID = 4026531840 + iota
	backNS
	databaseNS
	ubuntuNS
	noneNS
)

// courseHost is a Docker host as a learner has it: docker0 with one container,
// a custom network with two, one container on the host's network, one on none.
func courseHost() *netinfo.Topology {
	key := func(ns netns.ID, i int32) *netinfo.LinkKey { return &netinfo.LinkKey{Namespace: ns, Index: i} }
	loopback := func(ns netns.ID) *netinfo.Link {
		return &netinfo.Link{
			Key: *key(ns, 1), Name: "lo", Kind: "loopback", Role: netinfo.RoleLoopback, MTU: 65536, State: "unknown", Up: true,
			Addresses: addresses("127.0.0.1/8", "::1/128"),
		}
	}
	bridge := func(i int32, name, address, network string) *netinfo.Link {
		return &netinfo.Link{
			Key: *key(hostNS, i), Name: name, Kind: "bridge", Role: netinfo.RoleBridge, MAC: "02:42:80:c6:ba:ef",
			MTU: 1500, State: "up", Up: true, Addresses: addresses(address, "fe80::42:80ff:fec6:baef/64"), Network: network,
		}
	}
	port := func(i int32, name string, master int32, ns netns.ID, nsid, far int32, network string) *netinfo.Link {
		return &netinfo.Link{
			Key: *key(hostNS, i), Name: name, Kind: "veth", Role: netinfo.RoleVeth, MAC: "f6:b8:eb:a6:5f:64", MTU: 1500, State: "up", Up: true,
			Master: key(hostNS, master), Network: network, PeerIndex: far, PeerNSID: nsid,
			Peer: &netinfo.Peer{Key: *key(ns, far), Name: "eth0", Mutual: true},
		}
	}
	inside := func(ns netns.ID, i int32, address, network, far string, farIndex int32) *netinfo.Link {
		return &netinfo.Link{
			Key: *key(ns, i), Name: "eth0", Kind: "veth", Role: netinfo.RoleVeth, MAC: "02:42:ac:18:00:02", MTU: 1500, State: "up", Up: true,
			Addresses: addresses(address), Network: network, PeerIndex: farIndex, PeerNSID: 0,
			Peer: &netinfo.Peer{Key: *key(hostNS, farIndex), Name: far, Mutual: true},
		}
	}
	route := func(link int32, gateway, subnet string) []netinfo.Route {
		return []netinfo.Route{
			{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr(gateway), Link: link},
			{Destination: netip.MustParsePrefix(subnet), Link: link},
		}
	}
	endpoint := func(network, address, gateway string) []docker.Endpoint {
		return []docker.Endpoint{{
			Network: network, NetworkID: networkID(network), MAC: "02:42:ac:18:00:02", Addresses: addresses(address),
			Gateways: []netip.Addr{netip.MustParseAddr(gateway)},
		}}
	}
	container := func(id, name, image, mode string, pid int, ns netns.ID, links []netinfo.LinkKey, es []docker.Endpoint, ports ...docker.Port) *netinfo.Container {
		return &netinfo.Container{
			Container: docker.Container{
				ID: strings.Repeat(id, 8), Name: name, Image: image, PID: pid, Mode: mode, Endpoints: es, Ports: ports,
			},
			Namespace: ns, Proof: "mac 02:42:ac:18:00:02 on eth0", Links: links,
		}
	}
	back := container("b1c2d3e4", "back", "box:latest", "back_net", 4711, backNS, []netinfo.LinkKey{*key(backNS, 6)},
		endpoint("back_net", "172.24.0.2/16", "172.24.0.1"),
		docker.Port{Protocol: "tcp", ContainerPort: 8000, HostAddress: netip.MustParseAddrPort("0.0.0.0:8080")},
		docker.Port{Protocol: "tcp", ContainerPort: 8000, HostAddress: netip.MustParseAddrPort("[::]:8080")})
	database := container("d0d1d2d3", "database", "postgres:17", "back_net", 4802, databaseNS, []netinfo.LinkKey{*key(databaseNS, 8)},
		endpoint("back_net", "172.24.0.3/16", "172.24.0.1"),
		docker.Port{Protocol: "tcp", ContainerPort: 5432})
	ubuntu := container("a0a1a2a3", "ubuntu", "ubuntu:24.04", "bridge", 4900, ubuntuNS, []netinfo.LinkKey{*key(ubuntuNS, 10)},
		endpoint("bridge", "172.17.0.2/16", "172.17.0.1"))
	monitor := container("c0c1c2c3", "monitor", "box:latest", "host", 5001, hostNS, nil, nil)
	monitor.Proof = "cgroup of pid 5001"
	lonely := container("e0e1e2e3", "lonely", "box:latest", "none", 5002, noneNS, nil, nil)

	t := &netinfo.Topology{
		Number: 1, Self: hostNS,
		Namespaces: []*netinfo.Namespace{
			{
				ID: hostNS, Name: "host", NameFrom: "self", PIDs: []int{1}, Containers: []*netinfo.Container{monitor},
				Links: []*netinfo.Link{
					loopback(hostNS),
					{
						Key: *key(hostNS, 2), Name: "eth0", Kind: "device", Role: netinfo.RoleUplink, MAC: "56:be:68:c6:b7:b5",
						MTU: 1500, State: "up", Up: true, Addresses: addresses("192.0.2.10/24"),
					},
					bridge(3, "docker0", "172.17.0.1/16", "bridge"),
					bridge(4, "br-4c1f22aa90de", "172.24.0.1/16", "back_net"),
					port(7, "vethab12cd0", 4, backNS, 1, 6, "back_net"),
					port(9, "veth77e0d19", 4, databaseNS, 2, 8, "back_net"),
					port(11, "veth9f3a1c2", 3, ubuntuNS, 3, 10, "bridge"),
				},
				Routes: []netinfo.Route{
					{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1"), Link: 2},
					{Destination: netip.MustParsePrefix("192.0.2.0/24"), Link: 2, Source: netip.MustParseAddr("192.0.2.10")},
					{Destination: netip.MustParsePrefix("172.17.0.0/16"), Link: 3, Source: netip.MustParseAddr("172.17.0.1")},
					{Destination: netip.MustParsePrefix("172.24.0.0/16"), Link: 4, Source: netip.MustParseAddr("172.24.0.1")},
				},
			},
			{
				ID: backNS, Name: "back", NameFrom: "container", PIDs: []int{4711}, Containers: []*netinfo.Container{back},
				Links:  []*netinfo.Link{loopback(backNS), inside(backNS, 6, "172.24.0.2/16", "back_net", "vethab12cd0", 7)},
				Routes: route(6, "172.24.0.1", "172.24.0.0/16"),
			},
			{
				ID: databaseNS, Name: "database", NameFrom: "container", PIDs: []int{4802}, Containers: []*netinfo.Container{database},
				Links:  []*netinfo.Link{loopback(databaseNS), inside(databaseNS, 8, "172.24.0.3/16", "back_net", "veth77e0d19", 9)},
				Routes: route(8, "172.24.0.1", "172.24.0.0/16"),
			},
			{
				ID: noneNS, Name: "lonely", NameFrom: "container", PIDs: []int{5002}, Containers: []*netinfo.Container{lonely},
				Links: []*netinfo.Link{loopback(noneNS)},
			},
			{
				ID: ubuntuNS, Name: "ubuntu", NameFrom: "container", PIDs: []int{4900}, Containers: []*netinfo.Container{ubuntu},
				Links:  []*netinfo.Link{loopback(ubuntuNS), inside(ubuntuNS, 10, "172.17.0.2/16", "bridge", "veth9f3a1c2", 11)},
				Routes: route(10, "172.17.0.1", "172.17.0.0/16"),
			},
		},
		Containers: []*netinfo.Container{back, database, lonely, monitor, ubuntu},
		Networks: []*netinfo.Network{
			{
				Network: docker.Network{
					ID: networkID("back_net"), Name: "back_net", Driver: "bridge", Bridge: "br-4c1f22aa90de", Masquerade: true, ICC: true,
					Subnets: []docker.Subnet{{Prefix: netip.MustParsePrefix("172.24.0.0/16"), Gateway: netip.MustParseAddr("172.24.0.1")}},
				},
				BridgeLink: key(hostNS, 4),
				Members: []netinfo.Member{
					{Container: back, Addresses: addresses("172.24.0.2/16"), Link: key(backNS, 6), HostLink: key(hostNS, 7)},
					{Container: database, Addresses: addresses("172.24.0.3/16"), Link: key(databaseNS, 8), HostLink: key(hostNS, 9)},
				},
			},
			{
				Network: docker.Network{
					ID: networkID("bridge"), Name: "bridge", Driver: "bridge", Bridge: "docker0", Masquerade: true, ICC: true,
					Subnets: []docker.Subnet{{Prefix: netip.MustParsePrefix("172.17.0.0/16"), Gateway: netip.MustParseAddr("172.17.0.1")}},
				},
				BridgeLink: key(hostNS, 3),
				Members:    []netinfo.Member{{Container: ubuntu, Addresses: addresses("172.17.0.2/16"), Link: key(ubuntuNS, 10), HostLink: key(hostNS, 11)}},
			},
			{Network: docker.Network{ID: networkID("host"), Name: "host", Driver: "host"}},
			{Network: docker.Network{ID: networkID("none"), Name: "none", Driver: "null"}},
			{Network: docker.Network{
				ID: networkID("vault"), Name: "vault", Driver: "bridge", Bridge: "br-77aa01bc22dd", Internal: true, ICC: true,
				Subnets: []docker.Subnet{{Prefix: netip.MustParsePrefix("172.25.0.0/16")}},
			}},
		},
		Engine: &netinfo.Engine{Engine: docker.Engine{Name: "Docker Engine", Version: "20.10.24"}, UserlandProxy: "on"},
	}
	return t.Seal()
}

func networkID(name string) string { return (name + strings.Repeat("0", 64))[:64] }

func addresses(all ...string) []netip.Prefix {
	ps := make([]netip.Prefix, len(all))
	for i, a := range all {
		ps[i] = netip.MustParsePrefix(a)
	}
	return ps
}
