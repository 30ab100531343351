package netinfo

import (
	"net/netip"

	"natlens/netinfo/netns"
)

// Seal builds the indexes of a Topology that was put together by hand or by a
// scan. It must be called once, before the Topology is shared.
func (t *Topology) Seal() *Topology {
	t.byNamespace = make(map[netns.ID]*Namespace, len(t.Namespaces))
	t.byLink = map[LinkKey]*Link{}
	for _, n := range t.Namespaces {
		t.byNamespace[n.ID] = n
		for _, l := range n.Links {
			t.byLink[l.Key] = l
		}
	}
	return t
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

// NamespaceName returns the name people know the namespace by, or its inode.
func (t *Topology) NamespaceName(id netns.ID) string {
	if n := t.Namespace(id); n != nil {
		return n.Name
	}
	return id.String()
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
