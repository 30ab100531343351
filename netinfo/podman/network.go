package podman

import (
	"encoding/json"
	"net/netip"

	"natlens/netinfo/docker"
)

// networkFile is a network as netavark's configuration has it (containers/common,
// libnetwork/types/network.go).
type networkFile struct {
	Name      string `json:"name"`
	ID        string `json:"id"`
	Driver    string `json:"driver"`
	Interface string `json:"network_interface"`
	Subnets   []struct {
		Subnet  string `json:"subnet"`
		Gateway string `json:"gateway"`
	} `json:"subnets"`
	IPv6     bool              `json:"ipv6_enabled"`
	Internal bool              `json:"internal"`
	Options  map[string]string `json:"options"`
}

// parseNetwork reads a file of /etc/containers/networks; ok is false when it is
// none.
func parseNetwork(text []byte) (n docker.Network, ok bool) {
	var f networkFile
	if json.Unmarshal(text, &f) != nil || f.Name == "" || f.ID == "" {
		return docker.Network{}, false
	}
	n = docker.Network{
		ID: f.ID, Name: f.Name, Driver: f.Driver, Internal: f.Internal, IPv6: f.IPv6, Options: f.Options, Unasked: true,
	}
	if f.Driver == "bridge" {
		n.Bridge = f.Interface
		n.Masquerade, n.ICC = !f.Internal, true
	} else {
		n.Parent = f.Interface
	}
	for _, s := range f.Subnets {
		if p, err := netip.ParsePrefix(s.Subnet); err == nil {
			gateway, _ := netip.ParseAddr(s.Gateway) // there may be none
			n.Subnets = append(n.Subnets, docker.Subnet{Prefix: p, Gateway: gateway})
		}
	}
	return n, true
}

// defaultNetwork is the network that Podman has without a file, as long as nobody
// changed it (containers/common, libnetwork/netavark/config.go).
func defaultNetwork() docker.Network {
	return docker.Network{
		ID: "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9", Name: "podman", Driver: "bridge", Bridge: "podman0",
		Masquerade: true, ICC: true, Unasked: true,
		Subnets: []docker.Subnet{{Prefix: netip.MustParsePrefix("10.88.0.0/16"), Gateway: netip.MustParseAddr("10.88.0.1")}},
	}
}
