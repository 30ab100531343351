package netinfo

import (
	"net/netip"

	"natlens/netinfo/docker"
)

// Gateway returns the gateway of a network's subnet: the one the engine names,
// else the bridge's own address there, since Docker names none for its default
// network and for those made with a subnet only. It is invalid when neither is
// known, and for internal networks, whose containers have no gateway though the
// bridge may have an address.
func (t *Topology) Gateway(n *Network, s docker.Subnet) netip.Addr {
	if s.Gateway.IsValid() || n.BridgeLink == nil || n.Internal {
		return s.Gateway
	}
	if l := t.Link(*n.BridgeLink); l != nil {
		for _, p := range l.Addresses {
			if s.Prefix.Contains(p.Addr()) {
				return p.Addr()
			}
		}
	}
	return netip.Addr{}
}
