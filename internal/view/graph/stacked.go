package graph

import (
	"slices"
	"strconv"

	"natlens/netinfo"
)

func portLabel(n uint16) string { return "to " + strconv.Itoa(int(n)) }

// stacked draws macvlans and their like on the links they stand on.
func (d *drawing) stacked() {
	for _, n := range d.Topology.Namespaces {
		if n.ID == d.Topology.Self {
			continue
		}
		for _, l := range n.Links {
			if l.Parent == nil || !d.onWanted(l) {
				continue
			}
			if parent := d.Topology.Link(*l.Parent); parent != nil {
				d.join(d.link(parent, link), d.link(l, link), wire, l.Kind)
			}
		}
	}
}

// onWanted reports whether a link is that of a member of a network that is drawn.
func (d *drawing) onWanted(l *netinfo.Link) bool {
	return d.only == nil || slices.ContainsFunc(d.only, func(n *netinfo.Network) bool {
		return slices.ContainsFunc(n.Members, func(m netinfo.Member) bool { return m.Link != nil && *m.Link == l.Key })
	})
}

// unconnected draws the containers that no link leads to: those on the host's own
// network, and those on none.
func (d *drawing) unconnected() {
	for _, c := range d.Topology.Containers {
		if d.only != nil && !slices.ContainsFunc(d.only, func(n *netinfo.Network) bool {
			return n.Driver == "host" && c.Mode == "host" || n.Driver == "null" && c.Mode == "none"
		}) {
			continue
		}
		n := d.Topology.Namespace(c.Namespace)
		switch {
		case n == nil:
		case n.ID == d.Topology.Self:
			d.add(d.group(n), note, c.Name, "uses the host's network")
		case !hasCable(n) && n.Unreadable == nil:
			if _, drawn := d.groupOf[n.ID]; !drawn {
				d.add(d.group(n), note, "lo only", "no network")
			}
		}
	}
}

func hasCable(n *netinfo.Namespace) bool {
	return slices.ContainsFunc(n.Links, func(l *netinfo.Link) bool { return l.Role != netinfo.RoleLoopback })
}
