// Package viewtest holds journeys made by hand, for the tests of the views:
// one for each thing that Docker's networking does to a packet, and random
// ones that no host would ever produce.
package viewtest

import (
	"encoding/binary"
	"net/netip"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
)

// Namespaces of the host that the journeys cross.
const (
	hostNS netns.ID = 4026531840 + iota
	backNS
	databaseNS
	ubuntuNS
)

// Time of the first journey: 2026-11-23 14:03:07.104512 UTC.
const epoch int64 = 1795442587104512000

// place is an observation point with all that a Hop says of it.
type place struct {
	point      capture.Point
	namespace  string
	link       string
	packetType capture.PacketType
	containers []string
	peers      []string
}

func at(ns netns.ID, index int32, d capture.Direction, link string, t capture.PacketType) place {
	p := place{
		point: capture.Point{Namespace: ns, Ifindex: index, Direction: d},
		link:  link, packetType: t, namespace: "host",
	}
	if name := map[netns.ID]string{backNS: "back", databaseNS: "database", ubuntuNS: "ubuntu"}[ns]; name != "" {
		p.namespace, p.containers = name, []string{name}
	}
	if name := map[string]string{"vethab12cd0": "back", "veth77e0d19": "database", "veth9f3a1c2": "ubuntu"}[link]; name != "" {
		p.peers = []string{name}
	}
	return p
}

// The points, as in the drawings of the documentation.
var (
	backOut     = at(backNS, 9, capture.Out, "eth0", capture.Outgoing)
	backIn      = at(backNS, 9, capture.In, "eth0", capture.Host)
	databaseOut = at(databaseNS, 11, capture.Out, "eth0", capture.Outgoing)
	databaseIn  = at(databaseNS, 11, capture.In, "eth0", capture.Host)
	vethBackIn  = at(hostNS, 10, capture.In, "vethab12cd0", capture.OtherHost)
	vethBackOut = at(hostNS, 10, capture.Out, "vethab12cd0", capture.Outgoing)
	vethDataIn  = at(hostNS, 12, capture.In, "veth77e0d19", capture.OtherHost)
	vethDataOut = at(hostNS, 12, capture.Out, "veth77e0d19", capture.Outgoing)
	bridgeIn    = at(hostNS, 4, capture.In, "br-4c1f22aa", capture.Host)
	bridgeOut   = at(hostNS, 4, capture.Out, "br-4c1f22aa", capture.Outgoing)
	uplinkOut   = at(hostNS, 2, capture.Out, "eth0", capture.Outgoing)
	uplinkIn    = at(hostNS, 2, capture.In, "eth0", capture.Host)
	ubuntuOut   = at(ubuntuNS, 13, capture.Out, "eth0", capture.Outgoing)
	vethUbuIn   = at(hostNS, 14, capture.In, "veth9f3a1c2", capture.OtherHost)
	dockerIn    = at(hostNS, 3, capture.In, "docker0", capture.Host)
	backLoOut   = at(backNS, 1, capture.Out, "lo", capture.Outgoing)
	backLoIn    = at(backNS, 1, capture.In, "lo", capture.Host)
)

// Topology is the host of the journeys.
func Topology() *netinfo.Topology {
	veth := func(ns netns.ID, index int32, name string, peerNS netns.ID, peer int32, peerName string, master int32) *netinfo.Link {
		l := &netinfo.Link{
			Key: netinfo.LinkKey{Namespace: ns, Index: index}, Name: name, Kind: "veth", Role: netinfo.RoleVeth,
			MAC: mac(byte(index)).String(), MTU: 1500, State: "up", Up: true, PeerIndex: peer,
			Peer: &netinfo.Peer{Key: netinfo.LinkKey{Namespace: peerNS, Index: peer}, Name: peerName, Mutual: true},
		}
		if master != 0 {
			l.Master = &netinfo.LinkKey{Namespace: ns, Index: master}
			l.Network = map[int32]string{3: "bridge", 4: "back_net"}[master]
		}
		return l
	}
	loopback := func(ns netns.ID) *netinfo.Link {
		return &netinfo.Link{
			Key: netinfo.LinkKey{Namespace: ns, Index: 1}, Name: "lo", Kind: "loopback", Role: netinfo.RoleLoopback,
			Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}, MTU: 65536, State: "unknown", Up: true,
		}
	}
	host := &netinfo.Namespace{ID: hostNS, Name: "host", NameFrom: "self", Links: []*netinfo.Link{
		loopback(hostNS),
		{Key: netinfo.LinkKey{Namespace: hostNS, Index: 2}, Name: "eth0", Kind: "device", Role: netinfo.RoleUplink,
			MAC: mac(2).String(), Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}, MTU: 1500, State: "up", Up: true},
		{Key: netinfo.LinkKey{Namespace: hostNS, Index: 3}, Name: "docker0", Kind: "bridge", Role: netinfo.RoleBridge,
			MAC: mac(3).String(), Addresses: []netip.Prefix{netip.MustParsePrefix("172.17.0.1/16")}, MTU: 1500, State: "up", Up: true, Network: "bridge"},
		{Key: netinfo.LinkKey{Namespace: hostNS, Index: 4}, Name: "br-4c1f22aa", Kind: "bridge", Role: netinfo.RoleBridge,
			MAC: mac(4).String(), Addresses: []netip.Prefix{netip.MustParsePrefix("172.24.0.1/16")}, MTU: 1500, State: "up", Up: true, Network: "back_net"},
		veth(hostNS, 10, "vethab12cd0", backNS, 9, "eth0", 4),
		veth(hostNS, 12, "veth77e0d19", databaseNS, 11, "eth0", 4),
		veth(hostNS, 14, "veth9f3a1c2", ubuntuNS, 13, "eth0", 3),
	}}
	t := &netinfo.Topology{
		Number: 7, Self: hostNS, Namespaces: []*netinfo.Namespace{host},
		Engine: &netinfo.Engine{Engine: docker.Engine{Name: "Docker Engine", Version: "20.10.24"}},
	}
	network := &netinfo.Network{
		Network: docker.Network{
			ID: "4c1f22aa9be0", Name: "back_net", Driver: "bridge", Bridge: "br-4c1f22aa", Masquerade: true, ICC: true,
			Subnets: []docker.Subnet{{Prefix: netip.MustParsePrefix("172.24.0.0/16"), Gateway: netip.MustParseAddr("172.24.0.1")}},
		},
		BridgeLink: &netinfo.LinkKey{Namespace: hostNS, Index: 4},
	}
	for _, c := range []struct {
		ns        netns.ID
		name      string
		link      int32
		peer      int32
		peerName  string
		address   string
		onBackNet bool
	}{
		{backNS, "back", 9, 10, "vethab12cd0", "172.24.0.2/16", true},
		{databaseNS, "database", 11, 12, "veth77e0d19", "172.24.0.3/16", true},
		{ubuntuNS, "ubuntu", 13, 14, "veth9f3a1c2", "172.17.0.2/16", false},
	} {
		eth0 := veth(c.ns, c.link, "eth0", hostNS, c.peer, c.peerName, 0)
		eth0.Addresses = []netip.Prefix{netip.MustParsePrefix(c.address)}
		container := &netinfo.Container{
			Container: docker.Container{
				ID: "1f0e" + c.name, Name: c.name, Image: "box", PID: 4000 + int(c.link), Mode: "bridge",
				Endpoints: []docker.Endpoint{{Network: "bridge", MAC: eth0.MAC, Addresses: eth0.Addresses}},
			},
			Namespace: c.ns, Proof: "mac " + eth0.MAC + " on eth0", Links: []netinfo.LinkKey{eth0.Key},
		}
		if c.onBackNet {
			container.Mode = "back_net"
			container.Endpoints[0].Network = "back_net"
			network.Members = append(network.Members, netinfo.Member{
				Container: container, Addresses: eth0.Addresses, Link: &eth0.Key, HostLink: &eth0.Peer.Key,
			})
		}
		if c.name == "back" {
			container.Ports = []docker.Port{
				{Protocol: "tcp", ContainerPort: 8000, HostAddress: netip.MustParseAddrPort("0.0.0.0:8080")},
				{Protocol: "tcp", ContainerPort: 9000},
			}
		}
		t.Containers = append(t.Containers, container)
		t.Namespaces = append(t.Namespaces, &netinfo.Namespace{
			ID: c.ns, Name: c.name, NameFrom: "container", Containers: []*netinfo.Container{container},
			Links: []*netinfo.Link{loopback(c.ns), eth0},
		})
	}
	t.Networks = []*netinfo.Network{network}
	return t.Seal()
}

type hardware [6]byte

func mac(last byte) hardware { return hardware{0x02, 0x42, 0xac, 0x18, 0, last} }

func (m hardware) String() string {
	const digits = "0123456789abcdef"
	var b []byte
	for i, x := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, digits[x>>4], digits[x&15])
	}
	return string(b)
}

// echo is the frame of an ICMP echo packet, long enough for its headers to be
// read. Its checksums are zero: nothing here looks at them.
func echo(source, destination netip.Addr, typ byte, id, seq uint16) []byte {
	b := ipv4(source, destination, packet.ICMP, 84)
	b = append(b, typ, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, id)
	return binary.BigEndian.AppendUint16(b, seq)
}

func tcp(source, destination netip.AddrPort, flags byte, seq, ack uint32) []byte {
	b := ipv4(source.Addr(), destination.Addr(), packet.TCP, 40)
	b = binary.BigEndian.AppendUint16(b, source.Port())
	b = binary.BigEndian.AppendUint16(b, destination.Port())
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, ack)
	b = append(b, 5<<4, flags)
	return append(b, 0xfa, 0xf0, 0, 0, 0, 0)
}

func udp(source, destination netip.AddrPort, payload string) []byte {
	var b []byte
	length := uint16(8 + len(payload))
	if source.Addr().Is4() {
		b = ipv4(source.Addr(), destination.Addr(), packet.UDP, 20+length)
	} else {
		b = ethernet(0x86dd)
		b = append(b, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, length)
		b = append(b, byte(packet.UDP), 64)
		b = append(b, source.Addr().AsSlice()...)
		b = append(b, destination.Addr().AsSlice()...)
	}
	b = binary.BigEndian.AppendUint16(b, source.Port())
	b = binary.BigEndian.AppendUint16(b, destination.Port())
	b = binary.BigEndian.AppendUint16(b, length)
	return append(append(b, 0, 0), payload...)
}

func ethernet(etherType uint16) []byte {
	from, to := mac(9), mac(4)
	return binary.BigEndian.AppendUint16(append(to[:], from[:]...), etherType)
}

func ipv4(source, destination netip.Addr, p packet.Protocol, length uint16) []byte {
	b := append(ethernet(0x0800), 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, length)
	b = append(b, 0x12, 0x34, 0x40, 0, 64, byte(p), 0, 0)
	b = append(b, source.AsSlice()...)
	return append(b, destination.AsSlice()...)
}
