package docker

import (
	"cmp"

	"github.com/moby/moby/api/types/network"
)

// The driver options that matter here. Docker's bridge driver defines them;
// Podman's compatible service passes the same names.
const (
	optionBridgeName    = "com.docker.network.bridge.name"
	optionDefaultBridge = "com.docker.network.bridge.default_bridge"
	optionICC           = "com.docker.network.bridge.enable_icc"
	optionMasquerade    = "com.docker.network.bridge.enable_ip_masquerade"
	optionInterface     = "network_interface" // Podman, in newer versions
	optionParent        = "parent"
)

func newNetwork(n network.Network) Network {
	r := Network{
		ID: n.ID, Name: n.Name, Driver: n.Driver, Internal: n.Internal, IPv6: n.EnableIPv6,
		Options: n.Options, Parent: n.Options[optionParent],
	}
	if n.Driver == "bridge" {
		r.Masquerade = n.Options[optionMasquerade] != "false" && !n.Internal
		r.ICC = n.Options[optionICC] != "false"
		r.Bridge = bridgeName(n)
	}
	for _, config := range n.IPAM.Config {
		if config.Subnet.IsValid() {
			r.Subnets = append(r.Subnets, Subnet{Prefix: config.Subnet, Gateway: config.Gateway})
		}
	}
	return r
}

// asPodman undoes what Podman's compatible service changes: it lists the
// network podman under the name bridge (but not in endpoints), and it names
// bridges otherwise than Docker, which only newer versions tell.
func asPodman(n *Network) {
	if n.Name == "bridge" {
		n.Name = "podman"
	}
	if n.Driver == "bridge" {
		n.Bridge = cmp.Or(n.Options[optionInterface], n.Options[optionBridgeName])
	}
	if n.Name == "podman" && n.Bridge == "" {
		n.Bridge = "podman0"
	}
}

// bridgeName follows what the bridge driver does: an explicit name, docker0
// for the default network, else br- and the first 12 digits of the id.
func bridgeName(n network.Network) string {
	if name := cmp.Or(n.Options[optionBridgeName], n.Options[optionInterface]); name != "" {
		return name
	}
	if n.Name == "bridge" || n.Options[optionDefaultBridge] == "true" {
		return "docker0"
	}
	return "br-" + n.ID[:min(12, len(n.ID))]
}
