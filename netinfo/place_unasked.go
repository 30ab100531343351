package netinfo

import (
	"net/netip"
	"strings"

	"natlens/netinfo/docker"
)

// attachUnasked finds the networks of containers whose engine nobody asked, by
// where their cables end: a link belongs to the network of the bridge that its veth
// is a port of, or of the parent that it stands on.
func attachUnasked(t *Topology, networks []docker.Network, ways *waysIn) {
	for i := range networks {
		if !networks[i].Unasked {
			continue
		}
		n := &Network{Network: networks[i]}
		carrier := carrierOf(t, n)
		if carrier == nil {
			continue
		}
		for _, c := range t.Containers {
			if !c.Unasked || c.Mode != "private" {
				continue
			}
			for _, k := range c.Links {
				if l := t.Link(k); l != nil && carries(t, carrier, l) {
					c.Endpoints = append(c.Endpoints, unaskedEndpoint(t, n, l))
				}
			}
		}
	}
	var ports map[netip.Addr][]docker.Port
	if ways != nil {
		ports = ways.ports(t)
	}
	for _, c := range t.Containers {
		switch {
		case !c.Unasked:
		case c.Mode == "host" || c.Mode == "none" || strings.HasPrefix(c.Mode, "container:"):
			c.PortsUnknown = false // -p has no effect there; a shared namespace's are its owner's
		case ways != nil && len(c.Endpoints) > 0:
			c.PortsUnknown = false
			for _, e := range c.Endpoints {
				for _, a := range e.Addresses {
					c.Ports = append(c.Ports, ports[a.Addr()]...)
				}
			}
		}
	}
}

// carrierOf finds the bridge of a network, or the link that its containers' own
// stand on.
func carrierOf(t *Topology, n *Network) *Link {
	if n.Driver == "bridge" {
		return bridgeByName(t, n)
	}
	if self := t.Namespace(t.Self); self != nil && n.Parent != "" {
		return self.LinkByName(n.Parent)
	}
	return nil
}

func carries(t *Topology, carrier, l *Link) bool {
	if l.Parent != nil {
		return *l.Parent == carrier.Key
	}
	if l.Peer == nil {
		return false
	}
	far := t.Link(l.Peer.Key)
	return far != nil && far.Master != nil && *far.Master == carrier.Key
}

func unaskedEndpoint(t *Topology, n *Network, l *Link) docker.Endpoint {
	e := docker.Endpoint{Network: n.Name, NetworkID: n.ID, MAC: l.MAC}
	for _, p := range l.Addresses {
		if !p.Addr().IsLinkLocalUnicast() {
			e.Addresses = append(e.Addresses, p)
		}
	}
	if inner := t.Namespace(l.Key.Namespace); inner != nil {
		for _, r := range inner.Routes {
			if r.Default() && r.Link == l.Key.Index && r.Gateway.IsValid() {
				e.Gateways = append(e.Gateways, r.Gateway)
			}
		}
	}
	return e
}
