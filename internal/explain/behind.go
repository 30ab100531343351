package explain

import (
	"net/netip"

	"natlens/netinfo"
	"natlens/netinfo/docker"
)

// Reach says whether a connection to a container's port finds somebody.
type Reach uint8

const (
	// Unknown: the namespace's sockets could not be read.
	Unknown Reach = iota
	// Answers: a socket there takes what comes for the container's address.
	Answers
	// LoopbackOnly: sockets wait on that port, but only on loopback addresses,
	// which nobody outside the container can reach.
	LoopbackOnly
	// OtherAddress: sockets wait on that port, but on none of the addresses
	// that connections come for.
	OtherAddress
	// Silent: nothing waits on that port.
	Silent
)

// Behind is what really waits behind a port.
type Behind struct {
	Reach  Reach
	On     []netinfo.Listener // on that port
	Others []netinfo.Listener // of that protocol on other ports, reachable or not
	Err    error              // why Reach is Unknown
}

// Behind looks at the sockets of the container's namespace.
func (f *Facts) Behind(c *netinfo.Container, p docker.Port) Behind {
	sockets, asked := f.Sockets[c.Namespace]
	if !asked || sockets.Err != nil || p.Protocol != "tcp" && p.Protocol != "udp" {
		return Behind{Err: sockets.Err}
	}
	b := Behind{Reach: Silent}
	loopback := true
	for _, l := range sockets.Listeners {
		switch {
		case l.Protocol != p.Protocol || EngineDNS(l):
		case l.Address.Port() != p.ContainerPort:
			b.Others = append(b.Others, l)
		default:
			b.On = append(b.On, l)
			loopback = loopback && l.Loopback()
		}
	}
	switch {
	case len(b.On) == 0:
	case f.accepts(b.On, c):
		b.Reach = Answers
	case loopback:
		b.Reach = LoopbackOnly
	default:
		b.Reach = OtherAddress
	}
	return b
}

func (f *Facts) accepts(on []netinfo.Listener, c *netinfo.Container) bool {
	for _, a := range f.addressesOf(c) {
		for _, l := range on {
			if l.Accepts(a) {
				return true
			}
		}
	}
	return false
}

// addressesOf returns the addresses by which others reach the container: those
// on its links, which may be other than the engine remembers.
func (f *Facts) addressesOf(c *netinfo.Container) []netip.Addr {
	var all []netip.Addr
	if n := f.Topology.Namespace(c.Namespace); n != nil {
		for _, l := range n.Links {
			if l.Role == netinfo.RoleLoopback {
				continue
			}
			for _, p := range l.Addresses {
				all = append(all, p.Addr())
			}
		}
	}
	return all
}

// EngineDNS reports whether a socket is the resolver that Docker puts into the
// namespace of each container on a network of its own (127.0.0.11).
func EngineDNS(l netinfo.Listener) bool {
	return l.Address.Addr() == netip.AddrFrom4([4]byte{127, 0, 0, 11})
}
