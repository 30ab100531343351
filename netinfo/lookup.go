package netinfo

import (
	"net/netip"
	"slices"
	"strings"

	"natlens/netinfo/netns"
)

// owner is a namespace, or a container that no namespace was proven for, with
// an address.
type owner struct {
	namespace *Namespace
	container *Container
	// component numbers the parts of the host that no link connects: equal
	// addresses in different parts do not disturb each other.
	component int
}

// Seal builds the indexes of a Topology that was put together by hand or by a
// scan. It must be called once, before the Topology is shared.
func (t *Topology) Seal() *Topology {
	t.byNamespace = make(map[netns.ID]*Namespace, len(t.Namespaces))
	t.byLink = map[LinkKey]*Link{}
	for _, n := range t.Namespaces {
		t.byNamespace[n.ID] = n
		n.containerNames = nil
		for _, c := range n.Containers {
			n.containerNames = append(n.containerNames, c.Name)
		}
		for _, l := range n.Links {
			t.byLink[l.Key] = l
		}
	}
	t.sealOwners()
	return t
}

// sealOwners indexes who has which address.
func (t *Topology) sealOwners() {
	t.component = t.components()
	t.owners = map[netip.Addr][]owner{}
	add := func(a netip.Addr, o owner) {
		if !a.IsValid() || a.IsLoopback() || slices.Contains(t.owners[a], o) {
			return
		}
		t.owners[a] = append(t.owners[a], o)
	}
	for _, n := range t.Namespaces {
		for _, l := range n.Links {
			for _, p := range l.Addresses {
				add(p.Addr(), owner{namespace: n, component: t.component[n.ID]})
			}
		}
	}
	for _, c := range t.Containers {
		n := t.byNamespace[c.Namespace]
		if n == nil && t.Engine != nil && t.Engine.Elsewhere != "" {
			continue
		}
		for _, e := range c.Endpoints {
			for _, p := range e.Addresses {
				if n != nil {
					add(p.Addr(), owner{namespace: n, component: t.component[n.ID]})
				} else {
					add(p.Addr(), owner{container: c, component: t.component[t.Self]})
				}
			}
		}
	}
}

// components numbers the sets of namespaces that veths, macvlans and their
// like connect.
func (t *Topology) components() map[netns.ID]int {
	leader := map[netns.ID]netns.ID{}
	find := func(id netns.ID) netns.ID {
		for leader[id] != id {
			leader[id] = leader[leader[id]]
			id = leader[id]
		}
		return id
	}
	for _, n := range t.Namespaces {
		leader[n.ID] = n.ID
	}
	join := func(a, b netns.ID) {
		if _, known := leader[b]; known {
			leader[find(b)] = find(a)
		}
	}
	for _, n := range t.Namespaces {
		for _, l := range n.Links {
			if l.Peer != nil {
				join(n.ID, l.Peer.Key.Namespace)
			}
			if l.Parent != nil {
				join(n.ID, l.Parent.Namespace)
			}
		}
	}
	number := map[netns.ID]int{}
	component := make(map[netns.ID]int, len(t.Namespaces))
	for _, n := range t.Namespaces {
		top := find(n.ID)
		if number[top] == 0 {
			number[top] = len(number) + 1
		}
		component[n.ID] = number[top]
	}
	return component
}

// OwnerOf returns who has the address as reachable from the namespace
// seenFrom: that namespace itself if it has it (loopback addresses always),
// else the one namespace with that address among those that links connect with
// seenFrom. The name is the namespace's; it is empty when nobody has the
// address or several have. The namespace is nil when the address is that of a
// container that no namespace was proven for. It does not allocate.
func (t *Topology) OwnerOf(addr netip.Addr, seenFrom netns.ID) (name string, n *Namespace) {
	if t == nil {
		return "", nil
	}
	if addr.IsLoopback() {
		if n = t.byNamespace[seenFrom]; n != nil {
			return n.Name, n
		}
		return "", nil
	}
	owners := t.owners[addr]
	if len(owners) == 0 {
		return "", nil
	}
	var found *owner
	component := t.component[seenFrom]
	for i := range owners {
		o := &owners[i]
		if o.namespace != nil && o.namespace.ID == seenFrom {
			return o.namespace.Name, o.namespace
		}
		if o.component != component {
			continue
		}
		if found != nil {
			// The loop goes on: seenFrom may have it itself.
			found = &owner{}
			continue
		}
		found = o
	}
	switch {
	case found == nil:
		return "", nil
	case found.namespace != nil:
		return found.namespace.Name, found.namespace
	case found.container != nil:
		return found.container.Name, nil
	}
	return "", nil
}

// Namespace returns the namespace, or nil.
func (t *Topology) Namespace(id netns.ID) *Namespace {
	if t == nil {
		return nil
	}
	return t.byNamespace[id]
}

// Link returns the link, or nil.
func (t *Topology) Link(k LinkKey) *Link {
	if t == nil {
		return nil
	}
	return t.byLink[k]
}

// PeerNamespace returns the namespace at the other end of the veth k; nil when
// k is no veth or its peer's namespace is not known.
func (t *Topology) PeerNamespace(k LinkKey) *Namespace {
	l := t.Link(k)
	if l == nil || l.Peer == nil {
		return nil
	}
	return t.byNamespace[l.Peer.Key.Namespace]
}

// NamespaceName returns the name people know the namespace by, or its inode.
func (t *Topology) NamespaceName(id netns.ID) string {
	if n := t.Namespace(id); n != nil {
		return n.Name
	}
	return id.String()
}

// FindContainer returns the containers with that name; if there is none, those of that
// service of Docker Compose, and else those whose id begins so.
func (t *Topology) FindContainer(word string) []*Container {
	if t == nil || word == "" {
		return nil
	}
	var byName, byService, byID []*Container
	for _, c := range t.Containers {
		if c.Name == word {
			byName = append(byName, c)
		}
		if c.IsService(word) {
			byService = append(byService, c)
		}
		if strings.HasPrefix(c.ID, word) {
			byID = append(byID, c)
		}
	}
	for _, found := range [][]*Container{byName, byService} {
		if len(found) > 0 {
			return found
		}
	}
	return byID
}

// Ports returns the links whose master is the link k, in order of their index.
func (t *Topology) Ports(k LinkKey) []*Link {
	n := t.Namespace(k.Namespace)
	if n == nil {
		return nil
	}
	var ports []*Link
	for _, l := range n.Links {
		if l.Master != nil && *l.Master == k {
			ports = append(ports, l)
		}
	}
	return ports
}

// HasAddress reports whether a is an address of a link in the namespace, a
// loopback address included.
func (n *Namespace) HasAddress(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	for _, l := range n.Links {
		for _, p := range l.Addresses {
			if p.Addr() == a {
				return true
			}
		}
	}
	return false
}

// LinkByName returns the link with that name, or nil.
func (n *Namespace) LinkByName(name string) *Link {
	for _, l := range n.Links {
		if l.Name == name {
			return l
		}
	}
	return nil
}

// ContainerNames returns the names of the containers that share the namespace,
// the one that made it first. The slice belongs to the Topology.
func (n *Namespace) ContainerNames() []string { return n.containerNames }
