package explain

import (
	"net/netip"

	"natlens/netinfo"
)

// place is an address on a network and the bridge's port that leads there.
type place struct {
	netip.Addr
	port string // empty: not known
}

func (f *Facts) memberPlace(m netinfo.Member) place {
	var p place
	if len(m.Addresses) > 0 {
		p.Addr = m.Addresses[0].Addr()
	}
	if m.HostLink != nil {
		if l := f.Topology.Link(*m.HostLink); l != nil {
			p.port = l.Name
		}
	}
	return p
}

// someMember returns the first member's place on a network, or one that a
// container could have there: rules tell bridges and subnets apart, not members.
func (f *Facts) someMember(n *netinfo.Network) place {
	for _, m := range n.Members {
		if p := f.memberPlace(m); p.IsValid() {
			return p
		}
	}
	for _, s := range n.Subnets {
		// Behind the network's own address comes the gateway, as a rule.
		for a := s.Prefix.Masked().Addr().Next(); s.Prefix.Contains(a); a = a.Next() {
			if a != f.Topology.Gateway(n, s) && a != f.bridgeAddress(n, a) {
				return place{Addr: a}
			}
		}
	}
	return place{}
}

// bridgeName returns the name of the network's bridge on this host, or "".
func (f *Facts) bridgeName(n *netinfo.Network) string {
	if n.BridgeLink == nil {
		return ""
	}
	if l := f.Topology.Link(*n.BridgeLink); l != nil {
		return l.Name
	}
	return ""
}

// bridgeAddress returns the host's own address on a network, of like's family.
func (f *Facts) bridgeAddress(n *netinfo.Network, like netip.Addr) netip.Addr {
	if n.BridgeLink == nil {
		return netip.Addr{}
	}
	if l := f.Topology.Link(*n.BridgeLink); l != nil {
		return firstAddress(l, like.Is4())
	}
	return netip.Addr{}
}
