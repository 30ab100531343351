package text

import (
	"fmt"
	"strings"

	"natlens/internal/explain"
	"natlens/netinfo"
)

func indexWords(l *netinfo.Link) string { return fmt.Sprintf("index %d", l.Key.Index) }

// network tells of one of the engine's networks.
func (e *explanation) network(n *netinfo.Network) {
	name := e.Escape(n.Name)
	e.title(name, "a network of the driver "+e.Escape(n.Driver)+", id "+e.Escape(shortID(n.ID)))
	switch n.Driver {
	case "host":
		e.hostNetwork(n)
		return
	case "null":
		e.noNetwork(n)
		return
	}
	if n.BridgeLink != nil {
		if bridge := e.Topology.Link(*n.BridgeLink); bridge != nil {
			e.draw(e.bridgeDrawing(bridge))
		}
	} else if n.Driver == "bridge" {
		e.part("Not found here")
		e.say("Its bridge %s is not a link of this host.", e.Escape(n.Bridge))
	}
	e.networkFacts(n)
}

// hostNetwork tells of the network that is none of its own.
func (e *explanation) hostNetwork(n *netinfo.Network) {
	e.part("No network of its own")
	e.say("A container with --network host has no namespace: it uses the host's links, addresses and ports as they are. No veth, no NAT. " +
		"Another program of the host, or another such container, may have taken a port already; -p has no effect.")
	e.usedBy(n, "host")
	e.check(e.cli()+" network inspect %s", quote(e.Escape(n.Name)))
	if self := e.Topology.Namespace(e.Topology.Self); self != nil {
		e.inside(self, "ss -ltnu")
	}
}

// noNetwork tells of the network that is none at all.
func (e *explanation) noNetwork(n *netinfo.Network) {
	e.part("No network at all")
	e.say("A container with --network none has a namespace with a loopback and nothing else: no veth leads out of it, so nobody " +
		"reaches it and it reaches nobody. Ports published with -p lead nowhere.")
	c := e.usedBy(n, "none")
	e.check(e.cli()+" network inspect %s", quote(e.Escape(n.Name)))
	if c != nil {
		if inner := e.Topology.Namespace(c.Namespace); inner != nil {
			e.inside(inner, "ip addr")
		}
		e.checkAsRoot("natlens probe --dry-run %s host", quote(e.Escape(c.Name)))
	}
}

// usedBy names the containers in a network mode, and returns the first.
func (e *explanation) usedBy(n *netinfo.Network, mode string) (one *netinfo.Container) {
	var names []string
	for _, c := range e.Topology.Containers {
		if c.Mode != mode && c.Mode != n.Name {
			continue
		}
		if one == nil {
			one = c
		}
		names = append(names, e.Escape(c.Name))
	}
	if len(names) == 0 {
		e.say("No running container uses it.")
	} else {
		e.say("Used by: %s.", enumerate(names))
	}
	return one
}

// networkFacts tells what holds on a network.
func (e *explanation) networkFacts(n *netinfo.Network) {
	name := e.Escape(n.Name)
	e.part("The network " + name)
	var subnets []string
	for _, s := range n.Subnets {
		w := s.Prefix.String()
		if g := e.Topology.Gateway(n, s); g.IsValid() {
			w += " with gateway " + g.String()
		}
		subnets = append(subnets, w)
	}
	if len(subnets) > 0 {
		e.say("Addresses come from %s.", enumerate(subnets))
	}
	if len(n.Members) == 0 {
		e.say("No running container is on it.")
	} else {
		e.say("On it:")
		e.memberLines(n)
	}
	e.check(e.cli()+" network inspect %s", quote(name))
	switch {
	case n.Parent != "" || n.Driver == "macvlan" || n.Driver == "ipvlan":
		e.names(n)
		e.stacked(n)
	case n.Driver == "bridge":
		e.names(n)
		e.reach(n)
	default:
		e.say("natlens does not know what the driver %s does with packets.", e.Escape(n.Driver))
	}
}

// memberLines lists the containers on a network: address, and the veth's end here.
func (e *explanation) memberLines(n *netinfo.Network) {
	type line struct{ name, address, by string }
	var lines []line
	widest, widestAddress := 0, 0
	for _, m := range namedMembers(n) {
		l := line{name: e.Escape(m.Container.Name), address: "no address"}
		if len(m.Addresses) > 0 {
			l.address = addressWords(m.Addresses)
		}
		switch {
		case m.HostLink != nil:
			l.by = "by " + e.linkName(*m.HostLink)
		case m.Link != nil:
			l.by = "by its " + e.linkName(*m.Link)
		}
		widest, widestAddress = max(widest, Columns(l.name)), max(widestAddress, Columns(l.address))
		lines = append(lines, l)
	}
	for _, l := range lines {
		e.row(e.Paint(Name, Pad(l.name, widest)) + "  " + Pad(l.address, widestAddress) + "  " + l.by)
	}
}

// bridgeDrawing draws one bridge and its ports.
func (e *explanation) bridgeDrawing(l *netinfo.Link) []string {
	b := e.bridgeBranch(l)
	return append([]string{e.Cut(drawingIndent+b.text, e.Columns())}, e.tree(drawingIndent, b.sub)...)
}

// bridgeBranch draws a bridge and its ports.
func (e *explanation) bridgeBranch(l *netinfo.Link) branch {
	b := branch{text: e.Paint(Name, e.Escape(l.Name))}
	if a := first(l); a != "" {
		b.text += "  " + a
	}
	if l.Network != "" {
		b.text += "  network " + e.Escape(l.Network)
	}
	ports := e.Topology.Ports(l.Key)
	widest, widestPeer := 0, 0
	for _, p := range ports {
		widest = max(widest, Columns(e.Escape(p.Name)))
		widestPeer = max(widestPeer, Columns(e.peer(e.Topology, p)))
	}
	for _, p := range ports {
		text := e.Paint(Name, e.Escape(p.Name))
		if peer := e.peer(e.Topology, p); peer != "" {
			text = Pad(text, widest) + e.cableMark() + Pad(peer, widestPeer)
			if far := e.Topology.Link(p.Peer.Key); far != nil {
				if a := usefulAddresses(far.Addresses); len(a) > 0 {
					text += "  " + a[0].Addr().String()
				}
			}
			text += e.publishedAt(p)
		}
		b.sub = append(b.sub, branch{text: text})
	}
	return b
}

func (e *explanation) cableMark() string {
	if e.ASCII {
		return " == "
	}
	return " ══ "
}

// publishedAt lists the ports published for what is behind a bridge's port.
func (e *explanation) publishedAt(port *netinfo.Link) string {
	n := e.Topology.Namespace(port.Peer.Key.Namespace)
	if n == nil {
		return ""
	}
	var all []string
	for _, c := range n.Containers {
		all = append(all, e.published(c)...)
	}
	if len(all) == 0 {
		return ""
	}
	return "  " + strings.Join(all, " ")
}

// natOf finds the step at which packets from behind a bridge are translated.
func (e *explanation) natOf(bridge *netinfo.Link) *explain.Step {
	for _, p := range e.Topology.Ports(bridge.Key) {
		if p.Peer == nil {
			continue
		}
		for _, s := range e.WayOut(p.Peer.Key.Namespace) {
			if s.In == bridge {
				return &s
			}
		}
	}
	return nil
}
