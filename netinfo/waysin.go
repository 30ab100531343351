package netinfo

import (
	"net/netip"
	"slices"

	"natlens/capture/packet"
	"natlens/netinfo/docker"
	"natlens/netinfo/netfilter"
)

// waysIn is what tells which ports are published when no engine does. Podman's
// monitors hold the host's port with a socket, so that no other program takes it,
// and a rule sends what comes for it to the container.
type waysIn struct {
	// nat asks the rules of natlens's own namespace, as netfilter.Ruleset.NAT.
	nat       func(netfilter.Hook, netfilter.Packet) netfilter.Match
	listeners []Listener // of that namespace
}

// outside4 and outside6 stand for any address elsewhere: they are from the blocks
// kept for documentation (RFC 5737, RFC 3849).
var (
	outside4 = netip.MustParseAddr("198.51.100.7")
	outside6 = netip.MustParseAddr("2001:db8::7")
)

// ports returns the published ports by the address that they lead to: the host's
// ports where somebody listens, and what a rule makes of them.
func (w *waysIn) ports(t *Topology) map[netip.Addr][]docker.Port {
	found := map[netip.Addr][]docker.Port{}
	for _, l := range w.listeners {
		m := w.ask(t.Namespace(t.Self), l)
		if m.Certainty != netfilter.Covered || !m.ToKnown || !m.To.Addr().IsValid() {
			continue
		}
		p := docker.Port{Protocol: l.Protocol, ContainerPort: m.To.Port(), HostAddress: l.Address}
		if p.ContainerPort == 0 {
			p.ContainerPort = l.Address.Port() // the rule leaves the port as it is
		}
		if to := m.To.Addr(); !slices.Contains(found[to], p) {
			found[to] = append(found[to], p)
		}
	}
	return found
}

// ask asks the rules about what begins a connection to a listener's address: from
// outside, or from the host itself where only that can.
func (w *waysIn) ask(self *Namespace, l Listener) netfilter.Match {
	protocol := packet.TCP
	if l.Protocol == "udp" {
		protocol = packet.UDP
	}
	at := l.Address.Addr()
	if self == nil || at.Is4In6() {
		return netfilter.Match{Certainty: netfilter.Unsure}
	}
	if at.IsLoopback() {
		return w.nat(netfilter.Output, netfilter.Packet{
			Tuple: packet.NewTuple(protocol, at, at, 49152, l.Address.Port()), MarkKnown: true, OutLink: "lo", LocalAddress: self.HasAddress,
		})
	}
	own, link := facing(self, at.Is4())
	if !at.IsUnspecified() {
		own = at
	}
	if !own.IsValid() {
		return netfilter.Match{Certainty: netfilter.Unsure}
	}
	from := outside4
	if own.Is6() {
		from = outside6
	}
	return w.nat(netfilter.Prerouting, netfilter.Packet{
		Tuple: packet.NewTuple(protocol, from, own, 49152, l.Address.Port()), MarkKnown: true, InLink: link, LocalAddress: self.HasAddress,
	})
}

// facing returns an address that others know the namespace by, and its link: one
// of a link with a default route. It is invalid when there is none of the family.
func facing(n *Namespace, is4 bool) (netip.Addr, string) {
	for _, r := range n.Routes {
		if !r.Default() || r.Destination.Addr().Is4() != is4 {
			continue
		}
		for _, l := range n.Links {
			if l.Key.Index != r.Link {
				continue
			}
			for _, p := range l.Addresses {
				if p.Addr().Is4() == is4 && !p.Addr().IsLinkLocalUnicast() {
					return p.Addr(), l.Name
				}
			}
		}
	}
	return netip.Addr{}, ""
}
