package graph

import (
	"net/netip"
	"slices"
	"strings"

	"natlens/internal/explain"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// Of draws some networks with what is on them, each with the uplink; without
// networks, everything that natlens's own namespace is connected with.
func Of(f *explain.Facts, networks ...*netinfo.Network) *Graph {
	d := &drawing{
		Facts: f, Graph: &Graph{}, only: networks,
		links: map[netinfo.LinkKey]int{}, groupOf: map[netns.ID]int{}, published: map[published]int{}, outside: -1,
	}
	var names []string
	for _, n := range networks {
		names = append(names, n.Name)
	}
	self := f.Topology.Namespace(f.Topology.Self)
	if self == nil {
		d.name = "this host"
		d.add(-1, note, "this host could not be read")
		return d.Graph
	}
	d.name = strings.Join(names, ", ")
	if d.name == "" {
		d.name = self.Name
	}
	d.groupOf[self.ID] = d.addGroup(self.Name)
	d.uplinks(self)
	d.bridges(self)
	d.stacked()
	d.unconnected()
	if len(networks) > 1 {
		d.barred(networks)
	}
	return d.Graph
}

// drawing is a graph under way.
type drawing struct {
	*explain.Facts
	*Graph
	only      []*netinfo.Network // nil: all there is
	links     map[netinfo.LinkKey]int
	groupOf   map[netns.ID]int
	published map[published]int
	outside   int // -1: not drawn
	first     int // the first uplink
}

// published is a port of the host that leads into a namespace.
type published struct {
	protocol string
	at       netip.AddrPort
	into     netns.ID
}

// wanted reports whether a network is drawn.
func (d *drawing) wanted(n *netinfo.Network) bool {
	return d.only == nil || slices.Contains(d.only, n)
}

// networkOf returns the network that a bridge carries, or nil.
func (d *drawing) networkOf(l *netinfo.Link) *netinfo.Network {
	for _, n := range d.Topology.Networks {
		if n.BridgeLink != nil && *n.BridgeLink == l.Key {
			return n
		}
	}
	return nil
}

// group returns the group of a namespace.
func (d *drawing) group(n *netinfo.Namespace) int {
	g, ok := d.groupOf[n.ID]
	if !ok {
		label := n.Name
		if len(n.Containers) > 1 {
			var names []string
			for _, c := range n.Containers {
				names = append(names, c.Name)
			}
			label = strings.Join(names, ", ")
		}
		g = d.addGroup(label)
		d.groupOf[n.ID] = g
	}
	return g
}

// link returns the node of a link.
func (d *drawing) link(l *netinfo.Link, s shape, more ...string) int {
	if n, ok := d.links[l.Key]; ok {
		return n
	}
	in := -1
	if n := d.Topology.Namespace(l.Key.Namespace); n != nil {
		in = d.group(n)
	}
	n := d.add(in, s, append([]string{l.Name, address(l)}, more...)...)
	d.links[l.Key] = n
	return n
}

// address returns the first address that says something.
func address(l *netinfo.Link) string {
	for _, p := range l.Addresses {
		if !p.Addr().IsLinkLocalUnicast() {
			return p.String()
		}
	}
	return ""
}

func (d *drawing) uplinks(self *netinfo.Namespace) {
	for _, l := range self.Links {
		if l.Role != netinfo.RoleUplink {
			continue
		}
		if d.outside < 0 {
			d.outside = d.add(-1, outside, "the outside")
			d.first = d.link(l, link, "uplink")
		}
		router := ""
		for _, r := range self.Routes {
			if r.Default() && r.Link == l.Key.Index && r.Gateway.IsValid() {
				router = "router " + r.Gateway.String()
				break
			}
		}
		d.join(d.outside, d.link(l, link, "uplink"), wire, router)
	}
}

// bridges draws each bridge, the cables plugged into it, and its way out.
func (d *drawing) bridges(self *netinfo.Namespace) {
	for _, l := range self.Links {
		if l.Role != netinfo.RoleBridge {
			continue
		}
		network := d.networkOf(l)
		if d.only != nil && (network == nil || !d.wanted(network)) {
			continue
		}
		name := ""
		if network != nil {
			name = "network " + network.Name
		}
		b := d.link(l, bridge, name)
		if label, ok := d.wayOut(l, network); ok && d.outside >= 0 {
			d.join(d.first, b, routed, label)
		}
		for _, p := range d.Topology.Ports(l.Key) {
			d.join(b, d.link(p, link), wire, "")
			d.cable(p)
		}
	}
}

// wayOut says what NAT makes of what leaves by a bridge; false when nothing may.
func (d *drawing) wayOut(l *netinfo.Link, n *netinfo.Network) (string, bool) {
	if n != nil && n.Internal {
		return "", false
	}
	if n != nil && n.BridgeLink != nil {
		if p, _, ok := d.Leaving(n); ok && p.Dropped() {
			return "", false
		}
	}
	for _, p := range d.Topology.Ports(l.Key) {
		if p.Peer == nil {
			continue
		}
		for _, s := range d.WayOut(p.Peer.Key.Namespace) {
			switch {
			case s.In == nil || s.In.Key != l.Key || !s.RulesOK:
			case s.NAT.Certainty == netfilter.Covered:
				return s.NAT.Kind + " to " + s.Source.String(), true
			case s.NAT.Certainty == netfilter.NoRule:
				return "no NAT", true
			}
		}
	}
	if n != nil && n.Masquerade {
		return "masquerade", true
	}
	return "", true
}

// cable draws the other end of a veth, and what is published for who has it.
func (d *drawing) cable(l *netinfo.Link) {
	if l.Peer == nil {
		return
	}
	far := d.Topology.Link(l.Peer.Key)
	if far == nil {
		return
	}
	end := d.link(far, link)
	d.join(d.links[l.Key], end, wire, "veth")
	if n := d.Topology.Namespace(far.Key.Namespace); n != nil {
		for _, c := range n.Containers {
			d.ports(c, end)
		}
	}
}

// ports draws the ports of the host that lead to a container.
func (d *drawing) ports(c *netinfo.Container, to int) {
	for _, p := range c.Ports {
		if !p.HostAddress.IsValid() {
			continue
		}
		at := p.HostAddress
		if at.Addr().IsUnspecified() { // on every address, IPv4 or IPv6, is one
			at = netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port())
		}
		key := published{p.Protocol, at, c.Namespace}
		if _, drawn := d.published[key]; drawn {
			continue
		}
		label := at.String()
		if at.Addr().IsUnspecified() {
			label = "port " + label[strings.LastIndexByte(label, ':')+1:]
		}
		n := d.add(d.groupOf[d.Topology.Self], port, label+"/"+p.Protocol, "published")
		d.published[key] = n
		if d.outside >= 0 && !at.Addr().IsLoopback() {
			d.join(d.outside, n, leads, "")
		}
		d.join(n, to, leads, portLabel(p.ContainerPort))
	}
}

// barred draws which of the networks a rule keeps apart, both ways.
func (d *drawing) barred(networks []*netinfo.Network) {
	for i, a := range networks {
		for _, b := range networks[i+1:] {
			if a.BridgeLink == nil || b.BridgeLink == nil {
				continue
			}
			from, ok := d.links[*a.BridgeLink]
			to, drawn := d.links[*b.BridgeLink]
			if ok && drawn && d.Between(a, b).Dropped() && d.Between(b, a).Dropped() {
				d.join(from, to, barred, "isolated")
			}
		}
	}
}
