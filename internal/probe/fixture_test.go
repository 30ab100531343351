package probe

import (
	"net/netip"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// Namespaces of the fixture.
const (
	hostNS netns.ID = 1 + iota
	backNS
	databaseNS
	ubuntuNS
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// fixture is a host with docker0 (ubuntu) and back_net (back, database), an uplink
// whose other end is not on it, and a docker-proxy for port 8000.
func fixture() *netinfo.Topology {
	t := &netinfo.Topology{Self: hostNS}
	container := func(ns netns.ID, name string, endpoints ...docker.Endpoint) *netinfo.Namespace {
		c := &netinfo.Container{Namespace: ns}
		c.Name, c.Mode, c.Endpoints = name, "bridge", endpoints
		n := &netinfo.Namespace{ID: ns, Name: name, Containers: []*netinfo.Container{c}}
		t.Containers = append(t.Containers, c)
		return n
	}
	endpoint := func(network, address string) docker.Endpoint {
		return docker.Endpoint{Network: network, Addresses: []netip.Prefix{prefix(address)}}
	}
	host := &netinfo.Namespace{ID: hostNS, Name: "host"}
	back := container(backNS, "back", endpoint("back_net", "172.24.0.2/16"))
	database := container(databaseNS, "database", endpoint("back_net", "172.24.0.3/16"))
	ubuntu := container(ubuntuNS, "ubuntu", endpoint("bridge", "172.17.0.2/16"))
	link := func(n *netinfo.Namespace, index int32, name, kind string, addresses ...string) *netinfo.Link {
		l := &netinfo.Link{Key: netinfo.LinkKey{Namespace: n.ID, Index: index}, Name: name, Kind: kind, Role: netinfo.RoleOther, Up: true}
		for _, a := range addresses {
			l.Addresses = append(l.Addresses, prefix(a))
		}
		n.Links = append(n.Links, l)
		return l
	}
	link(host, 1, "lo", "loopback", "127.0.0.1/8").Role = netinfo.RoleLoopback
	link(host, 2, "eth0", "device", "192.0.2.10/24")
	docker0 := link(host, 3, "docker0", "bridge", "172.17.0.1/16")
	backBridge := link(host, 4, "br-back", "bridge", "172.24.0.1/16")
	for i, n := range []*netinfo.Namespace{back, database, ubuntu} {
		inner := link(n, 2, "eth0", "veth", n.Containers[0].Endpoints[0].Addresses[0].String())
		outer := link(host, int32(10+i), "veth-"+n.Name, "veth")
		inner.Peer = &netinfo.Peer{Key: outer.Key, Name: outer.Name, Mutual: true}
		outer.Peer = &netinfo.Peer{Key: inner.Key, Name: inner.Name, Mutual: true}
		outer.Master = &backBridge.Key
		if n == ubuntu {
			outer.Master = &docker0.Key
		}
	}
	t.Namespaces = []*netinfo.Namespace{host, back, database, ubuntu}
	t.Proxies = []netinfo.Proxy{{
		Namespace: hostNS, Protocol: "tcp", Listen: netip.MustParseAddrPort("0.0.0.0:8000"), Backend: netip.MustParseAddrPort("172.24.0.2:8000"),
	}}
	return t.Seal()
}

// journey is one that passed the places, with one tuple.
func journey(id uint64, result trace.Result, t packet.Tuple, places ...netns.ID) *trace.Journey {
	j := &trace.Journey{ID: id, Protocol: t.Protocol, Verdict: trace.Verdict{Result: result, Hop: len(places) - 1}}
	for _, ns := range places {
		j.Hops = append(j.Hops, trace.Hop{Point: capture.Point{Namespace: ns}, Headers: packet.Headers{Tuple: t}})
	}
	return j
}

func related(j *trace.Journey, id uint64, why string) *trace.Journey {
	j.Related = append(j.Related, trace.Relation{ID: id, Why: why})
	return j
}
