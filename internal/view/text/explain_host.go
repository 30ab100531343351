package text

import (
	"slices"
	"strings"

	"natlens/internal/explain"
	"natlens/netinfo"
)

// host draws this host: its bridges, what is plugged into them, the uplink.
func (e *explanation) host(n *netinfo.Namespace) {
	if n == nil {
		e.title("this host", "could not be read")
		return
	}
	e.title(e.Escape(n.Name), "this machine's own network namespace, "+n.ID.String())
	e.draw(e.hostDrawing(n))
	e.part("How to read it")
	bridges := bridgesOf(n)
	if len(bridges) == 0 {
		e.say("There is no bridge here, so no container is connected as Docker does it. natlens demo builds a host that has all of it.")
	} else {
		e.say("Each container has a network namespace of its own. A veth, a cable with two ends, leads from its eth0 to a port of a bridge.")
		e.say("A bridge connects its ports with each other. Its address is the host's own and the containers' gateway.")
		e.say("What goes on to the outside leaves by the uplink, and NAT puts the host's address in the place of the container's.")
	}
	e.check("ip -d link show")
	e.check("bridge link show")
	e.check("ip route")
	if e.Forwarding == "0" && len(bridges) > 0 {
		e.warn("The host passes nothing on between its links: net.ipv4.ip_forward is 0. Containers can't get out.")
		e.check("sysctl net.ipv4.ip_forward")
	}
	e.onlyHere(n)
	e.more()
}

// onlyHere names the containers that use the host's own namespace.
func (e *explanation) onlyHere(n *netinfo.Namespace) {
	var names []string
	for _, c := range n.Containers {
		names = append(names, e.Escape(c.Name))
	}
	if len(names) > 0 {
		e.say("On the host's own network, without any of this: %s.", enumerate(names))
	}
}

// more says what to ask next, with names from this host.
func (e *explanation) more() {
	e.part("More")
	var ask []string
	for _, c := range e.Topology.Containers {
		if c.Namespace != 0 && c.Namespace != e.Topology.Self {
			ask = append(ask, "natlens explain "+quote(e.Escape(c.Name)))
			break
		}
	}
	ask = append(ask, "natlens explain veth", "natlens explain nat")
	for _, a := range ask {
		e.check("%s", a)
	}
}

func bridgesOf(n *netinfo.Namespace) []*netinfo.Link {
	var all []*netinfo.Link
	for _, l := range n.Links {
		if l.Role == netinfo.RoleBridge {
			all = append(all, l)
		}
	}
	return all
}

// hostDrawing draws the outside at the top, the uplinks, and below them the
// bridges with what is plugged into them.
func (e *explanation) hostDrawing(n *netinfo.Namespace) []string {
	bridges := bridgesOf(n)
	var up, lines []string
	for _, l := range n.Links {
		if l.Role == netinfo.RoleUplink {
			up = append(up, e.uplinkLine(n, l))
		}
	}
	arrow := "▲"
	if e.ASCII {
		arrow = "^"
	}
	put := func(s string) {
		lines = append(lines, strings.TrimRight(e.Cut(drawingIndent+s, e.Columns()), " "))
	}
	if len(up) == 0 {
		put("no uplink: this host has no default route")
	} else {
		put(e.Paint(Dim, "the outside"))
		put(arrow)
		for _, u := range up {
			put(u)
		}
	}
	if len(bridges) == 0 {
		return append(lines, e.rest(n)...)
	}
	if nat := e.natLine(bridges); nat != "" && len(up) > 0 {
		put(arrow + " " + nat)
	} else {
		put(e.symbols().bar)
	}
	var branches []branch
	for _, b := range bridges {
		branches = append(branches, e.bridgeBranch(b))
	}
	lines = append(lines, e.tree(drawingIndent, branches)...)
	return append(lines, e.rest(n)...)
}

func (e *explanation) uplinkLine(n *netinfo.Namespace, l *netinfo.Link) string {
	s := e.Paint(Name, e.Escape(l.Name))
	if a := first(l); a != "" {
		s += "  " + a
	}
	s += "  uplink"
	for _, r := range n.Routes {
		if r.Default() && r.Link == l.Key.Index && r.Gateway.IsValid() {
			return s + ", router " + r.Gateway.String()
		}
	}
	return s
}

// natLine says whose addresses are translated, and into which.
func (e *explanation) natLine(bridges []*netinfo.Link) string {
	var from []string
	into := ""
	for _, b := range bridges {
		s := e.natOf(b)
		if s == nil {
			s = e.expected(b)
		}
		if s == nil || !e.masquerades(s) {
			continue
		}
		for _, a := range usefulAddresses(b.Addresses) {
			if a.Addr().Is4() == s.Source.Is4() {
				from = append(from, a.Masked().String())
				break
			}
		}
		into = s.Source.String()
	}
	if len(from) == 0 {
		return ""
	}
	const most = 3
	if n := len(from); n > most {
		from = append(from[:most-1], count(n-most+1, "other network"))
	}
	return "NAT: " + enumerate(from) + " " + e.symbols().becomes + " " + into
}

// expected returns the step that packets of a bridge without containers would
// take, as far as its network's options tell.
func (e *explanation) expected(bridge *netinfo.Link) *explain.Step {
	if e.networkOf(bridge) == nil {
		return nil
	}
	way := e.WayOut(e.Topology.Self)
	if len(way) == 0 {
		return nil
	}
	s := way[0]
	s.In = bridge
	return &s
}

// rest lists links that stand in no bridge and lead to no uplink.
func (e *explanation) rest(n *netinfo.Namespace) []string {
	var branches []branch
	for _, l := range n.Links {
		free := l.Master == nil && !slices.Contains([]netinfo.Role{netinfo.RoleUplink, netinfo.RoleBridge, netinfo.RoleLoopback}, l.Role)
		if !free {
			continue
		}
		text := e.Paint(Name, e.Escape(l.Name)) + "  " + e.role(l)
		if a := first(l); a != "" {
			text += "  " + a
		}
		if p := e.peer(e.Topology, l); p != "" {
			text += "  to " + p
		}
		branches = append(branches, branch{text: text})
	}
	if len(branches) == 0 {
		return nil
	}
	return append([]string{drawingIndent + "beside them"}, e.tree(drawingIndent, branches)...)
}

// namespace tells of a namespace that is no container's.
func (e *explanation) namespace(n *netinfo.Namespace) {
	e.title(e.Escape(n.Name), "a network namespace, "+n.ID.String()+", named by its "+e.Escape(n.NameFrom))
	if n.Unreadable != nil {
		e.part("Not readable")
		e.say("It could not be entered: %s.", e.Escape(n.Unreadable.Error()))
		return
	}
	links := cabled(n)
	if len(links) == 0 {
		e.part("No cable")
		e.say("It has no link but its loopback.")
		e.inside(n, "ip addr")
		return
	}
	e.draw(e.path(e.stations(links[0])))
	for _, l := range links {
		e.connection(l)
	}
	e.wayOut(n)
}
