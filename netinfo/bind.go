package netinfo

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
)

// linkIndex finds links by what an engine knows of them.
type linkIndex struct {
	byMAC     map[string][]*Link
	byAddress map[netip.Addr][]*Link
}

func indexLinks(t *Topology) linkIndex {
	x := linkIndex{byMAC: map[string][]*Link{}, byAddress: map[netip.Addr][]*Link{}}
	for _, n := range t.Namespaces {
		for _, l := range n.Links {
			if l.Kind == "loopback" {
				continue
			}
			if l.MAC != "" {
				x.byMAC[l.MAC] = append(x.byMAC[l.MAC], l)
			}
			for _, p := range l.Addresses {
				x.byAddress[p.Addr()] = append(x.byAddress[p.Addr()], l)
			}
		}
	}
	return x
}

// bindContainers puts each container of the inventory into the namespace it
// was proven to be in. What the engine says of process ids and paths is a hint
// only: it may speak of another host, or of another process namespace.
func bindContainers(t *Topology, f *hostFacts) {
	x := indexLinks(t)
	foreign := foreignNamespaces(f)
	for i := range f.inventory.Containers {
		c := &Container{Container: f.inventory.Containers[i]}
		c.Namespace, c.Proof = prove(t, f, x, foreign, &c.Container)
		n := t.Namespace(c.Namespace)
		if n == nil {
			c.Namespace, c.Proof = 0, ""
			if f.stale {
				continue
			}
		}
		t.Containers = append(t.Containers, c)
		if n == nil {
			continue
		}
		n.Containers = append(n.Containers, c)
		if c.Mode == "host" {
			continue
		}
		for _, l := range n.Links {
			if l.Kind != "loopback" {
				c.Links = append(c.Links, l.Key)
			}
		}
	}
	slices.SortFunc(t.Containers, func(a, b *Container) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	for _, n := range t.Namespaces {
		// The container that made the namespace comes first: in a pod the
		// others only joined it.
		slices.SortFunc(n.Containers, func(a, b *Container) int {
			return cmp.Or(cmp.Compare(joined(a), joined(b)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
		})
	}
}

func joined(c *Container) int {
	if c.Mode == "host" || strings.HasPrefix(c.Mode, "container:") {
		return 1
	}
	return 0
}

// foreignNamespaces returns those whose processes belong to containers that
// this engine does not know: equal MACs and addresses there are a coincidence,
// and a common one, because engines count addresses from the same start.
func foreignNamespaces(f *hostFacts) map[netns.ID]bool {
	known := map[string]bool{}
	for i := range f.inventory.Containers {
		known[f.inventory.Containers[i].ID] = true
	}
	foreign := map[netns.ID]bool{}
	for _, nf := range f.namespaces {
		if id := cgroupContainer(nf.cgroup); id != "" && !known[id] && nf.id != f.self {
			foreign[nf.id] = true
		}
	}
	return foreign
}

// prove finds the namespace of a container and says on what that rests.
func prove(t *Topology, f *hostFacts, x linkIndex, foreign map[netns.ID]bool, c *docker.Container) (netns.ID, string) {
	process, hasProcess := f.cgroups[c.ID]
	candidates := map[netns.ID]string{}
	for _, e := range c.Endpoints {
		for _, l := range endpointLinks(x, e) {
			if id := l.Key.Namespace; !foreign[id] && candidates[id] == "" {
				if l.MAC == e.MAC {
					candidates[id] = fmt.Sprintf("mac %s on %s", e.MAC, l.Name)
				} else {
					candidates[id] = fmt.Sprintf("address %s on %s", firstAddress(e), l.Name)
				}
			}
		}
	}
	if hasProcess {
		if proof := candidates[process.namespace]; proof != "" {
			return process.namespace, proof
		}
		return process.namespace, fmt.Sprintf("cgroup of pid %d", process.pid)
	}
	if len(candidates) > 1 {
		// Several namespaces show the same MAC: take the one that the engine
		// itself mounted for this container, if it is among them.
		for id := range candidates {
			n := t.Namespace(id)
			if n == nil || !slices.ContainsFunc(n.Paths, func(p string) bool { return samePath(p, c.SandboxKey) }) {
				delete(candidates, id)
			}
		}
	}
	if len(candidates) == 1 {
		for id, proof := range candidates {
			return id, proof
		}
	}
	return 0, ""
}

// endpointLinks returns the links that carry an endpoint's MAC, and only if
// there are none, those that carry its address.
func endpointLinks(x linkIndex, e docker.Endpoint) []*Link {
	if e.MAC != "" {
		if links := x.byMAC[e.MAC]; len(links) > 0 {
			return links
		}
	}
	for _, p := range e.Addresses {
		if links := x.byAddress[p.Addr()]; len(links) > 0 {
			return links
		}
	}
	return nil
}

func firstAddress(e docker.Endpoint) netip.Addr {
	if len(e.Addresses) == 0 {
		return netip.Addr{}
	}
	return e.Addresses[0].Addr()
}

// samePath compares two paths under /run, which /var/run is a link to.
func samePath(a, b string) bool {
	return a != "" && strings.TrimPrefix(a, "/var") == strings.TrimPrefix(b, "/var")
}

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
	var found *Link
	for _, ns := range t.Namespaces {
		l := ns.LinkByName(n.Bridge)
		if n.Bridge == "" {
			l = bridgeByGateway(ns, n.Subnets)
		}
		if l == nil || l.Kind != "bridge" || !servesSubnet(l, n.Subnets) {
			continue
		}
		if ns.ID == t.Self {
			return l
		}
		if found != nil {
			return nil
		}
		found = l
	}
	return found
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
