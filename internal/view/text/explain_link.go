package text

import (
	"strings"

	"natlens/netinfo"
)

// link tells what one link is for.
func (e *explanation) link(l *netinfo.Link) {
	n := e.Topology.Namespace(l.Key.Namespace)
	where := "in " + e.Escape(e.Topology.NamespaceName(l.Key.Namespace))
	if l.Key.Namespace == e.Topology.Self {
		where = "of the host"
	}
	what := map[netinfo.Role]string{
		netinfo.RoleUplink: "the uplink", netinfo.RoleBridge: "a bridge", netinfo.RoleVeth: "one end of a veth",
		netinfo.RoleLoopback: "the loopback",
	}[l.Role]
	if what == "" {
		what = "a link of the kind " + e.Escape(l.Kind)
	}
	name := e.Escape(l.Name)
	if l.Key.Namespace != e.Topology.Self {
		name = e.Escape(e.Topology.NamespaceName(l.Key.Namespace)) + ":" + name
	}
	e.title(name, strings.Join([]string{what, where + ",", "index", e.index(l) + ",", "state", e.Escape(l.State)}, " "))
	switch {
	case l.Role == netinfo.RoleLoopback:
		e.part("Itself")
		e.say("What %s sends to its own addresses passes here and nowhere else. Every namespace has a loopback of its own: 127.0.0.1 "+
			"in a container is that container, never the host.", e.place(l.Key.Namespace))
		e.inside(n, "ip addr show lo")
	case l.Role == netinfo.RoleBridge:
		e.bridgeLink(n, l)
	case l.Role == netinfo.RoleUplink && l.Key.Namespace == e.Topology.Self:
		e.uplink(n, l)
	case l.Peer != nil:
		e.vethLink(l)
	default:
		e.connection(l)
	}
	if l.Up && l.State == "down" {
		e.warn("It is switched on but has no carrier: nothing is plugged in at the other end, or that end is down.")
	}
}

func (e *explanation) index(l *netinfo.Link) string {
	return strings.TrimPrefix(indexWords(l), "index ")
}

// vethLink tells of a veth from either of its ends.
func (e *explanation) vethLink(l *netinfo.Link) {
	inner, outer := l, e.Topology.Link(l.Peer.Key)
	if l.Master != nil && outer != nil {
		inner, outer = outer, l
	}
	e.draw(e.path(e.stations(inner)))
	e.part("The cable")
	e.cable(l)
	if n := e.Topology.Namespace(inner.Key.Namespace); n != nil && inner != l && len(n.Containers) > 0 {
		e.say("So whatever passes %s is to or from %s.", e.Escape(l.Name), e.Escape(n.Name))
	}
	if outer != nil && outer.Master != nil {
		e.bridged(outer, inner)
	}
}

// bridgeLink tells of a bridge and what is plugged into it.
func (e *explanation) bridgeLink(n *netinfo.Namespace, l *netinfo.Link) {
	e.draw(e.bridgeDrawing(l))
	e.part("A switch inside the kernel")
	name := e.Escape(l.Name)
	e.say("Everything plugged into %s reaches everything else on it directly, by MAC address, without routing or NAT.", name)
	e.say("%s has %s: that makes the host itself a member of the network, and the gateway of the others.", name, e.own(l))
	e.check("bridge link show")
	e.inside(n, "ip addr show "+quote(name))
	if network := e.networkOf(l); network != nil {
		e.networkFacts(network)
	}
}

// uplink tells of the link to the outside.
func (e *explanation) uplink(n *netinfo.Namespace, l *netinfo.Link) {
	e.draw(e.hostDrawing(n))
	e.part("The way to the outside")
	name := e.Escape(l.Name)
	for _, r := range n.Routes {
		if r.Default() && r.Link == l.Key.Index && r.Gateway.IsValid() {
			e.say("%s has %s. What is for no network of this host goes out here, to the router %s.", name, e.own(l), r.Gateway)
		}
	}
	e.check("ip route")
	e.say("Packets of containers pass here with the address that NAT gave them; their own addresses mean nothing outside. " +
		"See natlens explain nat.")
}
