package text

import (
	"strings"

	"natlens/internal/explain"
	"natlens/netinfo"
)

// container tells everything about one container's network.
func (e *explanation) container(c *netinfo.Container) {
	name := e.Escape(c.Name)
	what := "a container of " + e.Escape(c.Image) + ", id " + e.Escape(shortID(c.ID)) + ", network mode " + e.mode(e.Topology, c)
	if project, service := c.Compose(); service != "" {
		what += ", service " + e.Escape(service) + " of the compose project " + e.Escape(project)
	}
	e.title(name, what)
	n := e.Topology.Namespace(c.Namespace)
	switch {
	case c.Namespace == 0 || n == nil:
		e.unproven(c)
		return
	case n.ID == e.Topology.Self:
		e.onHost(c)
		return
	}
	e.troubles(c)
	links := cabled(n)
	for _, l := range links {
		e.draw(e.path(e.stations(l)))
	}
	e.part("Its namespace")
	if len(n.Containers) > 1 {
		e.say("%s is in the network namespace %s, with links, addresses, routes and ports apart from the host's. natlens knows it by: %s.",
			name, n.ID, e.Escape(c.Proof))
	} else {
		e.say("%s has links, addresses, routes and ports of its own, in the network namespace %s. natlens knows it by: %s.",
			name, n.ID, e.Escape(c.Proof))
	}
	e.sharers(n, c)
	e.check(e.cli()+" inspect -f '{{.State.Pid}}' %s", quote(name))
	if c.PID > 0 {
		e.checkAsRoot("readlink /proc/%d/ns/net", c.PID)
	}
	if n.Unreadable != nil {
		e.warn("Its inside could not be read: %s.", e.Escape(n.Unreadable.Error()))
	}
	if len(links) == 0 && n.Unreadable == nil {
		e.part("No cable")
		e.say("It has no link but its loopback: it reaches nobody and nobody reaches it. To change that, start it with --network NAME.")
		e.inside(n, "ip addr")
		return
	}
	for _, l := range links {
		e.connection(l)
	}
	e.wayOut(n)
	e.ports(c)
}

// troubles says in a line each what will not work, before all else.
func (e *explanation) troubles(c *netinfo.Container) {
	for _, p := range e.portsOf(c) {
		if len(p.at) == 0 {
			continue
		}
		switch b := e.Behind(c, p.Port); b.Reach {
		case explain.LoopbackOnly, explain.OtherAddress:
			e.warn("Published port %d gets no answer: the program listens on %s only. See \"The way in\".", p.HostAddress.Port(), sockets(b.On))
		case explain.Silent:
			e.warn("Published port %d gets no answer: nothing listens behind it. See \"The way in\".", p.HostAddress.Port())
		}
	}
}

// cabled returns the links of a namespace that lead anywhere.
func cabled(n *netinfo.Namespace) []*netinfo.Link {
	var links []*netinfo.Link
	for _, l := range n.Links {
		if l.Role != netinfo.RoleLoopback {
			links = append(links, l)
		}
	}
	return links
}

// unproven tells of a container that was not found here.
func (e *explanation) unproven(c *netinfo.Container) {
	e.part("Not found here")
	if engine := e.Topology.Engine; engine != nil && engine.Elsewhere != "" {
		e.say("The engine runs it, but not in a namespace of this host: %s", e.Escape(engine.Elsewhere))
	} else {
		e.say("The engine runs it, but no namespace that could be read here has its address. Run as root: root sees every namespace.")
	}
	for _, p := range c.Endpoints {
		e.say("The engine says: on network %s it has %s.", e.Escape(p.Network), enumerate(strings.Fields(prefixes(p.Addresses))))
	}
	e.check(e.cli()+" inspect -f '{{json .NetworkSettings.Networks}}' %s", quote(e.Escape(c.Name)))
	if c.Mode != "host" && c.Mode != "none" {
		e.ports(c)
	}
}

// onHost tells of a container without a namespace of its own.
func (e *explanation) onHost(c *netinfo.Container) {
	e.part("On the host's own network")
	e.say("%s has no network namespace of its own: it uses the host's links, addresses and ports. There is no veth, no bridge and "+
		"no NAT between it and the outside; a port it listens on is a port of the host, and -p has no effect.", e.Escape(c.Name))
	e.say("natlens knows it by: %s.", e.Escape(c.Proof))
	e.check(e.cli()+" inspect -f '{{.HostConfig.NetworkMode}}' %s", quote(e.Escape(c.Name)))
	if c.PID > 0 {
		e.checkAsRoot("readlink /proc/self/ns/net /proc/%d/ns/net", c.PID)
	}
	e.checkAsRoot("ss -ltnp")
}

// sharers names the other containers in the same namespace.
func (e *explanation) sharers(n *netinfo.Namespace, c *netinfo.Container) {
	var others []string
	for _, o := range n.Containers {
		if o != c && o.ID != c.ID {
			others = append(others, e.Escape(o.Name))
		}
	}
	if len(others) > 0 {
		e.say("It shares it with %s: they have one eth0 and one set of ports, and reach each other at 127.0.0.1.", enumerate(others))
	}
}

// connection tells where one link of a container leads.
func (e *explanation) connection(l *netinfo.Link) {
	name := e.Escape(l.Name)
	switch {
	case l.Peer != nil:
		e.part("The cable of " + name)
		e.say("%s has %s.", name, e.own(l))
		e.inside(e.Topology.Namespace(l.Key.Namespace), "ip addr show "+quote(name))
		e.cable(l)
		if far := e.Topology.Link(l.Peer.Key); far != nil {
			e.bridged(far, l)
		}
	case l.Parent != nil:
		e.part("The link " + name)
		parent := e.linkName(*l.Parent)
		e.say("%s has %s. It is a %s on %s %s: no veth, no bridge and no NAT. It is on the network behind %s as a machine of its own.",
			name, e.own(l), e.Escape(l.Kind), e.of(l.Parent.Namespace), parent, parent)
		if l.Kind == "macvlan" || l.Kind == "ipvlan" {
			e.say("The host itself and it can't reach each other by that link.")
		}
		e.showLink(e.Topology.Namespace(l.Key.Namespace), l)
	default:
		e.part("The link " + name)
		e.say("%s has %s. It is of the kind %s.", name, e.own(l), e.Escape(l.Kind))
		e.showLink(e.Topology.Namespace(l.Key.Namespace), l)
	}
}

// bridged tells of the bridge that a host's veth end is a port of. inner is the
// other end of that veth; it may be nil.
func (e *explanation) bridged(far, inner *netinfo.Link) {
	if far.Master == nil {
		e.say("%s is a port of no bridge.", e.Escape(far.Name))
		return
	}
	bridge := e.Topology.Link(*far.Master)
	name := e.linkName(*far.Master)
	e.part("The bridge " + name)
	e.say("%s is a port of the bridge %s%s.", e.Escape(far.Name), name, e.ofNetwork(bridge))
	var mates []string
	for _, p := range e.Topology.Ports(*far.Master) {
		if p != far && p.Peer != nil && p.Peer.Key.Namespace != 0 {
			mates = append(mates, e.mate(p))
		}
	}
	switch network := e.bridgeNetwork(bridge); {
	case len(mates) == 0:
		e.say("Nothing else is plugged into it.")
	case network != nil && !network.ICC:
		e.say("On it too: %s. But the network forbids traffic between its containers (icc=false).", enumerate(mates))
	case inner != nil:
		e.say("A bridge is a switch. On it too, and reached from %s directly, without NAT: %s.", e.place(inner.Key.Namespace), enumerate(mates))
	default:
		e.say("A bridge is a switch. On it too: %s.", enumerate(mates))
	}
	if far.Key.Namespace == e.Topology.Self {
		e.check("bridge link show dev %s", quote(e.Escape(far.Name)))
	}
	if network := e.bridgeNetwork(bridge); network != nil {
		if network.Internal {
			e.say("The network is internal: nothing gets to the outside by it.")
		}
		e.check(e.cli()+" network inspect %s", quote(e.Escape(network.Name)))
	}
}

func (e *explanation) ofNetwork(bridge *netinfo.Link) string {
	n := e.bridgeNetwork(bridge)
	if n == nil {
		return ""
	}
	s := ", which carries the network " + e.Escape(n.Name)
	if len(n.Subnets) > 0 {
		s += " (" + n.Subnets[0].Prefix.String() + ")"
	}
	return s
}

func (e *explanation) bridgeNetwork(bridge *netinfo.Link) *netinfo.Network {
	if bridge == nil {
		return nil
	}
	return e.networkOf(bridge)
}

// mate names what is behind a bridge's port, with its address.
func (e *explanation) mate(port *netinfo.Link) string {
	s := e.Escape(e.Topology.NamespaceName(port.Peer.Key.Namespace))
	if inner := e.Topology.Link(port.Peer.Key); inner != nil {
		if a := usefulAddresses(inner.Addresses); len(a) > 0 {
			s += " (" + a[0].Addr().String() + ")"
		}
	}
	return s
}
