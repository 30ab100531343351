package text

import (
	"net/netip"
	"testing"

	"natlens/netinfo/docker"
)

func TestNetworksSayWhatIsUnusual(t *testing.T) {
	host := courseHost()
	n := host.Networks[0]
	n.Masquerade, n.ICC, n.IPv6 = false, false, true
	n.Subnets = append(n.Subnets, docker.Subnet{Prefix: netip.MustParsePrefix("fd00:beef::/64")})
	golden(t, "list-networks-unusual", narrow, narrow.Networks(host))
}

func TestContainersOfManyNetworksAndPorts(t *testing.T) {
	host := courseHost()
	c := host.Containers[0]
	c.Name = "myproject-backend-for-frontends-1"
	c.Image = "registry.example.com/team/backend:2026-11-23"
	c.Endpoints = append(c.Endpoints, docker.Endpoint{Network: "bridge", Addresses: addresses("172.17.0.9/16", "fd00::9/64")})
	c.Ports = append(c.Ports, docker.Port{Protocol: "udp", ContainerPort: 53, HostAddress: netip.MustParseAddrPort("127.0.0.1:5353")},
		docker.Port{Protocol: "tcp", ContainerPort: 9999})
	golden(t, "list-containers-many", narrow, narrow.Containers(host))
	golden(t, "list-containers-many-wide", wide, wide.Containers(host))
}
