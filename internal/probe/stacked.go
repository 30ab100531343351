package probe

import (
	"net/netip"
	"slices"

	"natlens/netinfo"
)

// A macvlan shares the wire of the link that it stands on, its parent. What it sends
// goes to the other macvlans of that parent, where both are in mode bridge, and to
// the wire; never up to the parent's own host, nor does what that host sends by the
// parent reach a macvlan on it (macvlan_queue_xmit, drivers/net/macvlan.c).

// macvlansOn returns the macvlans that stand on a link and have the address.
func (p *prediction) macvlansOn(parent *netinfo.Link, a netip.Addr) (found []*netinfo.Link) {
	for _, n := range p.topology.Namespaces {
		for _, l := range n.Links {
			if l.Kind == "macvlan" && l.Parent != nil && *l.Parent == parent.Key && p.answersFor(l, a) {
				found = append(found, l)
			}
		}
	}
	return found
}

// answersFor reports whether who asks by the link for the MAC address of a gets one:
// for IPv4 a namespace answers for all its addresses, by whatever link it is asked
// (arp_ignore, Documentation/networking/ip-sysctl.rst).
func (p *prediction) answersFor(l *netinfo.Link, a netip.Addr) bool {
	if a.Is4() {
		return p.topology.Namespace(l.Key.Namespace).HasAddress(a)
	}
	return slices.ContainsFunc(l.Addresses, func(x netip.Prefix) bool { return x.Addr() == a })
}

// overMacvlan takes the packet out by a macvlan.
func (p *prediction) overMacvlan(n *netinfo.Namespace, out *netinfo.Link, next netip.Addr) {
	var parent *netinfo.Link
	if out.Parent != nil {
		parent = p.topology.Link(*out.Parent)
	}
	if parent == nil {
		p.unsure("what %s stands on is not known", p.linkName(n, out))
		return
	}
	below := p.topology.Namespace(parent.Key.Namespace)
	for _, other := range p.macvlansOn(parent, next) {
		if other != out && other.Mode == "bridge" && out.Mode == "bridge" {
			p.arrive(p.topology.Namespace(other.Key.Namespace), other, nil)
			return
		}
	}
	if below.HasAddress(next) {
		p.unheard(p.linkName(n, out)+" is a macvlan on "+p.linkName(below, parent)+", and hands nothing to what it stands on", below, parent, out)
		return
	}
	p.onWire(below, parent, next)
}

// toOwnMacvlan ends a packet that its host sends by a link to a macvlan on it; false
// where it is for somebody else.
func (p *prediction) toOwnMacvlan(n *netinfo.Namespace, out *netinfo.Link, next netip.Addr) bool {
	found := p.macvlansOn(out, next)
	if len(found) == 0 {
		return false
	}
	there := found[0]
	p.unheard(p.linkName(p.topology.Namespace(there.Key.Namespace), there)+" is a macvlan on "+p.linkName(n, out)+", and gets nothing that is sent by what it stands on",
		n, out, there)
	return true
}

// unheard ends a packet between a macvlan and what it stands on. The wire may bring it
// back: by a switch that does so on purpose, for which mode vepa is made, or to
// another link of that host.
func (p *prediction) unheard(reason string, below *netinfo.Namespace, parent, stacked *netinfo.Link) {
	p.nobody("%s", reason)
	if stacked.Mode == "vepa" {
		p.unsure("a switch that sends back what %s sends (mode vepa) changes that", stacked.Name)
		return
	}
	for _, l := range below.Links {
		if l != parent && l.Up && p.mayShareWire(l, parent) {
			p.unsure("%s may be on the same network as %s, and answer", l.Name, parent.Name)
			return
		}
	}
}

// mayShareWire reports whether two links of a namespace can be on one network: what
// is behind them is not on this host, or is ports of one bridge.
func (p *prediction) mayShareWire(a, b *netinfo.Link) bool {
	x, known := p.segment(a)
	y, too := p.segment(b)
	switch {
	case a.Kind == "loopback" || a.Kind == "bridge":
		return false
	case known != too:
		return false
	}
	return !known || x != nil && y != nil && *x == *y
}

// segment is the bridge behind a link; known says whether its other end is on this
// host.
func (p *prediction) segment(l *netinfo.Link) (bridge *netinfo.LinkKey, known bool) {
	if l.Peer == nil {
		return nil, false
	}
	far := p.topology.Link(l.Peer.Key)
	if far == nil {
		return nil, false
	}
	return far.Master, true
}
