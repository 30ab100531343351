package text

import (
	"fmt"
	"strings"

	"natlens/internal/explain"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

func indexWords(l *netinfo.Link) string { return fmt.Sprintf("index %d", l.Key.Index) }

// network tells of one of the engine's networks.
func (e *explanation) network(n *netinfo.Network) {
	name := e.Escape(n.Name)
	e.title(name, "a network of the driver "+e.Escape(n.Driver)+", id "+e.Escape(shortID(n.ID)))
	switch n.Driver {
	case "host":
		e.part("No network of its own")
		e.say("A container with --network host has no namespace: it uses the host's links, addresses and ports as they are. No veth, no NAT.")
		e.check(e.cli()+" network inspect %s", quote(name))
		return
	case "null":
		e.part("No network at all")
		e.say("A container with --network none has a namespace with a loopback and nothing else.")
		e.check(e.cli()+" network inspect %s", quote(name))
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
	if members := e.memberNames(n); len(members) == 0 {
		e.say("No running container is on it.")
	} else {
		e.say("On it: %s.", enumerate(members))
	}
	if n.Parent != "" {
		e.say("Its containers are on the network behind %s as machines of their own; no bridge and no NAT.", e.Escape(n.Parent))
	}
	if n.Driver == "bridge" {
		if n.Name == "bridge" {
			e.say("It is the default network: containers find each other by address here, not by name. Networks you create resolve names.")
		} else {
			e.say("Containers on it find each other by name; Docker answers at 127.0.0.11 inside each of them.")
		}
		if !n.ICC {
			e.say("Traffic between its containers is forbidden (icc=false).")
		}
	}
	e.check(e.cli()+" network inspect %s", quote(name))
	if n.Driver == "bridge" {
		e.networkOut(n)
	}
}

// networkOut tells how packets leave a bridge network.
func (e *explanation) networkOut(n *netinfo.Network) {
	e.part("From it to the outside")
	for _, m := range n.Members {
		if m.Container == nil || m.Link == nil {
			continue
		}
		for _, s := range e.WayOut(m.Container.Namespace) {
			if s.In == nil || n.BridgeLink == nil || s.In.Key != *n.BridgeLink {
				continue
			}
			if s.RulesOK && s.NAT.Certainty == netfilter.Covered {
				e.say("Its packets leave by %s. This rule replaces their source with %s (%s):", e.Escape(s.Out.Name), s.Source, s.NAT.Kind)
				e.rule(s.NAT.Rule.Text)
				e.checkRule(s.NAT.Rule)
				e.isolation()
				return
			}
		}
	}
	switch {
	case n.Internal:
		e.say("Nothing gets out: the network is internal, and the engine's rules drop what would leave it.")
		e.checkAsRoot("iptables -S")
		return
	case n.Masquerade:
		e.say("Masquerading is on: the engine makes a rule that puts the host's own address in the place of a container's.")
	default:
		e.say("Masquerading is off: containers keep their address outside, so answers come only if routers there know the way back.")
	}
	e.checkAsRoot("iptables -t nat -S POSTROUTING")
	e.isolation()
}

func (e *explanation) isolation() {
	bridges := 0
	for _, n := range e.Topology.Networks {
		if n.Driver == "bridge" {
			bridges++
		}
	}
	if bridges > 1 {
		e.say("The engine's rules drop packets from one bridge network to another.")
		e.checkAsRoot("iptables -S FORWARD")
		e.say("A container that must talk to both is put on both: %s network connect NETWORK CONTAINER", e.cli())
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
