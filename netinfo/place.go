package netinfo

import (
	"net/netip"
	"slices"

	"natlens/netinfo/docker"
)

// placeNetworks finds the networks' bridges and members on this host.
func placeNetworks(t *Topology, f *hostFacts) {
	for i := range f.inventory.Networks {
		n := &Network{Network: f.inventory.Networks[i]}
		for _, c := range t.Containers {
			for _, e := range c.Endpoints {
				// Podman's endpoints have a name where the id should be.
				if e.NetworkID == n.ID || e.NetworkID == n.Name || (e.NetworkID == "" && e.Network == n.Name) {
					n.Members = append(n.Members, newMember(t, c, e))
				}
			}
		}
		placeBridge(t, n)
		t.Networks = append(t.Networks, n)
	}
}

func newMember(t *Topology, c *Container, e docker.Endpoint) Member {
	m := Member{Container: c, Addresses: e.Addresses}
	l := endpointLink(t, c, e)
	if l == nil {
		return m
	}
	key := l.Key
	m.Link = &key
	l.Network = e.Network
	if l.Peer == nil {
		return m
	}
	if host := t.Link(l.Peer.Key); host != nil {
		key := host.Key
		m.HostLink = &key
		host.Network = e.Network
	}
	return m
}

// endpointLink finds an endpoint's link among those of its container.
func endpointLink(t *Topology, c *Container, e docker.Endpoint) *Link {
	var byAddress *Link
	for _, k := range c.Links {
		l := t.Link(k)
		if e.MAC != "" && l.MAC == e.MAC {
			return l
		}
		for _, p := range e.Addresses {
			if slices.ContainsFunc(l.Addresses, func(a netip.Prefix) bool { return a.Addr() == p.Addr() }) {
				byAddress = l
			}
		}
	}
	return byAddress
}

// placeBridge finds the bridge of a network: the one its members' veths are
// ports of, else one with its name and an address of its subnets.
func placeBridge(t *Topology, n *Network) {
	if n.Driver != "bridge" {
		return
	}
	bridge := bridgeOfMembers(t, n)
	if bridge == nil {
		bridge = bridgeByName(t, n)
	}
	if bridge == nil {
		return
	}
	n.Bridge = bridge.Name
	key := bridge.Key
	n.BridgeLink = &key
	bridge.Network = n.Name
	for _, port := range t.Ports(key) {
		if port.Network == "" {
			port.Network = n.Name
		}
	}
}

func bridgeOfMembers(t *Topology, n *Network) *Link {
	for _, m := range n.Members {
		if m.HostLink == nil {
			continue
		}
		if host := t.Link(*m.HostLink); host != nil && host.Master != nil {
			if b := t.Link(*host.Master); b != nil && b.Kind == "bridge" {
				return b
			}
		}
	}
	return nil
}

// bridgeByName prefers natlens's own namespace. Elsewhere the bridge must be
// the only one: two hosts in namespaces both have a docker0.
func bridgeByName(t *Topology, n *Network) *Link {
	if self := t.Namespace(t.Self); self != nil {
		if l := bridgeIn(self, n); l != nil {
			return l
		}
	}
	var found *Link
	for _, ns := range t.Namespaces {
		l := bridgeIn(ns, n)
		switch {
		case l == nil:
		case found != nil:
			return nil
		default:
			found = l
		}
	}
	return found
}

// bridgeIn finds the bridge in a namespace that the network's can be, or nil.
func bridgeIn(ns *Namespace, n *Network) *Link {
	l := ns.LinkByName(n.Bridge)
	if n.Bridge == "" {
		l = bridgeByGateway(ns, n.Subnets)
	}
	if l == nil || l.Kind != "bridge" || !servesSubnet(l, n.Subnets) {
		return nil
	}
	return l
}

// bridgeByGateway finds the bridge that has the gateway's address, for engines
// that do not tell its name.
func bridgeByGateway(ns *Namespace, subnets []docker.Subnet) *Link {
	for _, l := range ns.Links {
		for _, s := range subnets {
			if l.Kind == "bridge" && slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr() == s.Gateway }) {
				return l
			}
		}
	}
	return nil
}

// servesSubnet reports whether the bridge has an address of the network's. An
// internal network's bridge may have none at all.
func servesSubnet(l *Link, subnets []docker.Subnet) bool {
	if len(subnets) == 0 || len(l.Addresses) == 0 {
		return true
	}
	for _, s := range subnets {
		if slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return s.Prefix.Contains(p.Addr()) }) {
			return true
		}
	}
	return false
}
