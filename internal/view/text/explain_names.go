package text

import (
	"strings"

	"natlens/internal/explain"
	"natlens/netinfo"
)

// names tells whether containers of a network find each other by name, and why.
func (e *explanation) names(n *netinfo.Network) {
	e.part("Names")
	switch {
	case e.cli() == "podman":
		e.podmanNames(n)
	case defaultBridge(n):
		e.say("It is the engine's default network: containers find each other by address here, not by name. The engine's DNS serves " +
			"only networks that you create.")
	default:
		e.dockerNames(n)
	}
}

// defaultBridge reports whether a network is the one that containers get when
// nobody says otherwise.
func defaultBridge(n *netinfo.Network) bool {
	return n.Driver == "bridge" && (n.Name == "bridge" || n.Options["com.docker.network.bridge.default_bridge"] == "true")
}

// dockerNames tells of the resolver in each container.
func (e *explanation) dockerNames(n *netinfo.Network) {
	e.say("Containers on it find each other by name: each asks 127.0.0.11, an address of its own loopback, where the engine answers.")
	for _, m := range n.Members {
		if m.Container == nil {
			continue
		}
		inner := e.Topology.Namespace(m.Container.Namespace)
		if inner == nil {
			continue
		}
		for _, l := range e.Sockets[inner.ID].Listeners {
			if l.Protocol == "udp" && explain.EngineDNS(l) {
				e.say("In %s it listens at %s; the rules of that namespace send port 53 of 127.0.0.11 there.", e.Escape(m.Container.Name), l.Address)
				e.inside(inner, "ss -lun")
				e.inside(inner, "iptables -t nat -S")
				return
			}
		}
	}
}

// podmanNames tells of the resolver on the bridge.
func (e *explanation) podmanNames(n *netinfo.Network) {
	var at []string
	for _, s := range n.Subnets {
		g := e.Topology.Gateway(n, s)
		for _, l := range e.Sockets[e.Topology.Self].Listeners {
			if g.IsValid() && l.Protocol == "udp" && l.Address.Port() == 53 && l.Accepts(g) {
				at = append(at, g.String())
				break
			}
		}
	}
	s, asked := e.Sockets[e.Topology.Self]
	switch {
	case len(at) > 0:
		e.say("Containers on it find each other by name: a DNS server of the host answers at the gateway, %s.", strings.Join(at, ", "))
	case asked && s.Err == nil:
		e.say("Containers find each other by address, not by name: no DNS server listens at the gateway, port 53.")
	default:
		e.say("Whether a DNS server listens at the gateway is not known.")
	}
	e.check("ss -lun sport = :53")
}

// stacked tells of a network whose containers are on the wire behind a link.
func (e *explanation) stacked(n *netinfo.Network) {
	e.part("What it reaches and what reaches it")
	parent, behind := "a link that the engine made for it", "that link"
	if n.Parent != "" {
		parent = e.Escape(n.Parent)
		behind = parent
	}
	mode := n.Options[n.Driver+"_mode"]
	switch {
	case n.Driver == "ipvlan" && strings.HasPrefix(mode, "l3"):
		e.say("Its containers share %s and its MAC address; the kernel routes between them and the network behind %s (ipvlan, mode %s). "+
			"Machines there reach them only if they have a route to %s by this host.", parent, behind, e.Escape(mode), e.firstSubnet(n))
	case n.Driver == "ipvlan":
		e.say("Its containers are on the network behind %s as machines of their own, with its MAC address (ipvlan).", behind)
	default:
		e.say("Its containers are on the network behind %s as machines of their own, each with its own MAC address (%s).", behind, e.Escape(n.Driver))
	}
	switch {
	case n.Internal:
		e.say("It is internal: it has no link to the outside, so only its own containers reach each other.")
	case mode == "l3s":
		e.say("No bridge and no veth. In this mode the host's rules see their packets, at its INPUT and POSTROUTING.")
	default:
		e.say("No bridge, no veth and no NAT of this host: none of its rules sees their packets, and -p has no effect. Whoever is " +
			"there reaches every port at the container's own address.")
	}
	if n.Parent != "" {
		e.say("The host itself and they do not reach each other by %s: the kernel hands nothing from the one to the other (%s).", parent, e.Escape(n.Driver))
		e.check("ip -d link show %s", quote(parent))
	}
	for _, m := range n.Members {
		if m.Container == nil || m.Link == nil {
			continue
		}
		if inner := e.Topology.Namespace(m.Link.Namespace); inner != nil {
			e.inside(inner, "ip -d link show "+quote(e.linkName(*m.Link)))
			e.checkAsRoot("natlens probe --dry-run host %s", quote(e.Escape(m.Container.Name)))
			return
		}
	}
}

func (e *explanation) firstSubnet(n *netinfo.Network) string {
	if len(n.Subnets) == 0 {
		return "them"
	}
	return n.Subnets[0].Prefix.String()
}
