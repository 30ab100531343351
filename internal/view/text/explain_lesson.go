package text

import (
	"natlens/internal/explain"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// lessonVeth teaches what a veth is with one of this host's own.
func (e *explanation) lessonVeth() {
	l := e.exampleVeth()
	if half := e.halfSeenVeth(); l == nil && half != nil {
		e.title("veth", "a virtual cable; the example is this host's "+e.Escape(half.Name)+", of which one end can be seen")
		e.vethWords()
		e.part("How the ends find each other")
		e.cable(half)
		return
	}
	if l == nil {
		e.title("veth", "a virtual cable; this host has none, so the example is made up")
		e.draw(e.path([]station{
			{space: "web", name: "eth0", to: "veth", below: []string{"172.17.0.2/16", "index 2"}},
			{space: "host", name: "veth1a2b3c4", below: []string{"", "index 7"}},
			{space: "host", name: "docker0", below: []string{"172.17.0.1/16", "bridge"}},
		}))
		e.vethWords()
		e.part("How the ends find each other")
		e.say("Here eth0 in the container would say: my peer has index 7 in the namespace that I call id 0. veth1a2b3c4 on the host would " +
			"say: my peer has index 2 in the namespace that I call id 1. Both numbers together make it certain; the @if7 that ip shows is only half of it.")
		e.say("Build one and look: natlens demo")
		return
	}
	inner := e.Topology.NamespaceName(l.Key.Namespace)
	e.title("veth", "a virtual cable; the example is "+possessive(e.Escape(inner))+" own, here and now")
	e.draw(e.path(e.stations(l)))
	e.vethWords()
	e.part("How the ends find each other")
	e.cable(l)
	e.part("Try it")
	e.say("Watch one packet at both ends:")
	e.command("#", "natlens watch container "+quote(e.Escape(inner)))
	e.asRoot = true
}

func (e *explanation) vethWords() {
	e.part("What it is")
	e.say("A veth is two links that are born as a pair. What is sent into one comes out of the other, at once and unchanged. Put one end " +
		"into a namespace and it is a cable through the wall: the only way in or out that a container has.")
	e.say("The engine gives the container's end the name eth0 and an address. The host's end gets a name like veth1a2b3c4, no address, " +
		"and becomes a port of a bridge.")
}

// exampleVeth finds the inner end of a veth whose two ends are known: a
// container's where there is one.
func (e *explanation) exampleVeth() *netinfo.Link {
	var other *netinfo.Link
	for _, n := range e.Topology.Namespaces {
		if n.ID == e.Topology.Self {
			continue
		}
		for _, l := range n.Links {
			if l.Peer == nil || !l.Peer.Mutual || e.Topology.Link(l.Peer.Key) == nil {
				continue
			}
			if len(n.Containers) > 0 && e.Topology.Link(l.Peer.Key).Master != nil {
				return l
			}
			if other == nil {
				other = l
			}
		}
	}
	return other
}

// halfSeenVeth finds a veth here whose other end could not be looked at.
func (e *explanation) halfSeenVeth() *netinfo.Link {
	n := e.Topology.Namespace(e.Topology.Self)
	if n == nil {
		return nil
	}
	for _, l := range n.Links {
		if l.Kind == "veth" && l.Peer != nil {
			return l
		}
	}
	return nil
}

// lessonNAT teaches what NAT does with this host's own addresses and rules.
func (e *explanation) lessonNAT() {
	n, way := e.exampleWay()
	if n == nil {
		e.title("NAT", "network address translation; no translation can be seen here, so the example is made up")
		e.natOut("web", "172.17.0.2", "192.0.2.10")
		e.part("The rule")
		e.say("Docker makes one for each of its networks, such as:")
		e.rule("-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE")
		e.checkAsRoot("iptables -t nat -S POSTROUTING")
		e.natMemory("172.17.0.2", "192.0.2.10")
		e.say("See it happen: natlens demo")
		return
	}
	e.title("NAT", "network address translation; the example is "+possessive(e.Escape(n.Name))+" own, here and now")
	e.draw(e.path(e.stations(way[0].Out)))
	last := &way[len(way)-1]
	source, uplink := way[0].Source.String(), last.Source.String()
	e.natOut(e.Escape(n.Name), source, uplink)
	e.part("The rule")
	e.sourceNAT(last, source)
	e.natMemory(source, uplink)
	e.natIn()
	e.part("Try it")
	e.say("In one terminal watch, in another send:")
	e.command("#", "natlens watch icmp")
	e.check("%s exec %s ping -c 1 %s", e.cli(), quote(e.Escape(n.Name)), e.pingable(last))
	e.asRoot = true
}

// pingable returns an address outside that is sure to be there: the router.
func (e *explanation) pingable(s *explain.Step) string {
	if s.Route.Gateway.IsValid() {
		return s.Route.Gateway.String()
	}
	return outside(s.Source.Is4())
}

func (e *explanation) natOut(name, source, uplink string) {
	e.part("Out: the source changes")
	e.say("%s has the address %s, which nobody outside this host knows a way to. So the host puts its own in its place when the packet leaves:", name, source)
	becomes := e.symbols().becomes
	const host = "the host"
	width := max(Columns(name), Columns(host))
	e.draw([]string{
		e.Cut("  leaves "+Pad(name, width)+" as "+e.Paint(Before, source)+" "+e.symbols().arrow+" "+explain.Outside4.String(), e.Columns()),
		e.Cut("  leaves "+Pad(host, width)+" as "+e.Paint(After, uplink)+" "+e.symbols().arrow+" "+explain.Outside4.String()+"   ("+
			e.Paint(Before, source)+" "+becomes+" "+e.Paint(After, uplink)+")", e.Columns()),
	})
}

func (e *explanation) natMemory(source, uplink string) {
	e.part("Back: conntrack remembers")
	e.say("Only the first packet of a connection is shown to the rules. What they decided is kept in the connection tracking table, with the "+
		"tuple before and the tuple that the answer will have. An answer to %s is found there, and its destination becomes %s again.", uplink, source)
	e.checkAsRoot("conntrack -L --src-nat")
}

// natIn tells of a published port of this host, if there is one.
func (e *explanation) natIn() {
	for _, c := range e.Topology.Containers {
		for _, p := range e.portsOf(c) {
			if len(p.at) == 0 || c.Namespace == 0 || c.Namespace == e.Topology.Self {
				continue
			}
			e.part("In: a published port changes the destination")
			e.say("%s leads to %s: the destination changes before the host decides where the packet goes.", e.hostAddresses(p.at), e.Escape(c.Name)+", "+e.target(c, p))
			if m := e.PublishedBy(p.Port); m.Certainty == netfilter.Covered {
				e.rule(m.Rule.Text)
				e.checkRule(m.Rule)
			} else {
				e.checkAsRoot("iptables -t nat -S")
			}
			e.say("More: natlens explain %s", quote(e.Escape(c.Name)))
			return
		}
	}
}

// exampleWay finds a container whose packets are translated on their way out.
func (e *explanation) exampleWay() (*netinfo.Namespace, []explain.Step) {
	for _, n := range e.Topology.Namespaces {
		if n.ID == e.Topology.Self || len(n.Containers) == 0 && e.Topology.Engine != nil {
			continue
		}
		way := e.WayOut(n.ID)
		if len(way) > 1 && e.masquerades(&way[len(way)-1]) {
			return n, way
		}
	}
	return nil, nil
}
