package text

import (
	"net/netip"
	"slices"

	"natlens/internal/explain"
	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/netinfo/netfilter"
)

// reach tells what a bridge network reaches and what reaches it.
func (e *explanation) reach(n *netinfo.Network) {
	e.amongThemselves(n)
	e.networkOut(n)
	e.networkIn(n)
	e.hostAnd(n)
	e.otherNetworks(n)
	if rules := e.Rules[e.Topology.Self]; rules.Walk != nil && n.BridgeLink != nil {
		e.part("What this rests on")
		e.say("The host's rules, evaluated for an echo request each way and for the beginning of a connection to each published " +
			"port. They may treat other packets otherwise; a probe tries it.")
	}
}

// except tells which published ports of a network's members are let through where
// an echo request is not.
func (e *explanation) except(n *netinfo.Network, way func(netinfo.Member, docker.Port) explain.Passage) {
	var open []string
	for _, m := range n.Members {
		if m.Container == nil {
			continue
		}
		for _, g := range groupPorts(m.Container.Ports) {
			if len(g.at) == 0 {
				continue
			}
			if p := way(m, g.Port); p.Verdict == netfilter.Accepted {
				open = append(open, netip.AddrPortFrom(p.To, g.ContainerPort).String()+"/"+e.Escape(g.Protocol)+" ("+e.Escape(m.Container.Name)+")")
			}
		}
	}
	if len(open) > 0 {
		e.say("Except what is published: %s is let through, at the container's own address, too.", enumerate(open))
	}
}

// amongThemselves tells whether the members of a network reach each other.
func (e *explanation) amongThemselves(n *netinfo.Network) {
	e.part("Among themselves")
	if len(n.Members) < 2 {
		if n.ICC {
			e.say("Containers on it are ports of one bridge and reach each other directly, without NAT.")
		} else {
			e.say("Traffic between its containers is forbidden (icc=false): the engine's rules drop it.")
			e.checkAsRoot("iptables -S FORWARD")
		}
		return
	}
	a, b := n.Members[0], n.Members[1]
	p := e.Within(n, a, b)
	switch {
	case p.Dropped():
		e.say("They do not reach each other%s. What %s sends to %s is %s", icc(n), e.Escape(a.Container.Name), e.Escape(b.Container.Name), e.droppedBy(p))
		e.decision(p)
	case p.Verdict == "" && !n.ICC:
		e.say("Traffic between its containers is forbidden (icc=false), and the engine's rules should drop it. %s", e.notKnown(p))
	case p.Verdict == "":
		e.say("They are ports of one bridge and reach each other directly, without NAT, unless a rule forbids it. %s", e.notKnown(p))
	case p.Switched:
		e.say("They are ports of one bridge and reach each other directly, without NAT. No rule of IP sees what it switches: " +
			"net.bridge.bridge-nf-call-iptables is off.")
	default:
		e.say("They are ports of one bridge and reach each other directly, without NAT. The host's rules see it and let it pass.")
	}
	e.probe(a.Container, p.To)
}

func icc(n *netinfo.Network) string {
	if n.ICC {
		return ""
	}
	return " (icc=false)"
}

// probe adds the command that tries a way out.
func (e *explanation) probe(from *netinfo.Container, to netip.Addr) {
	if from != nil && to.IsValid() {
		e.checkAsRoot("natlens probe %s %s", quote(e.Escape(from.Name)), to)
	}
}

// droppedBy says where a packet ends, before its rule.
func (e *explanation) droppedBy(p explain.Passage) string {
	verb := "dropped"
	if p.Verdict == netfilter.Rejected {
		verb = "rejected"
	}
	switch {
	case p.Unforwarded:
		return "not passed on: net.ipv4.ip_forward is 0."
	case p.Rule != nil:
		return verb + " by this rule:"
	case p.Policy != nil:
		return verb + " by the policy of the chain " + e.Escape(p.Policy.Name) + " (" + e.Escape(p.Policy.Table) + "): no rule lets it pass."
	}
	return verb + " at " + string(p.Hook) + ", by one of several rules."
}

// decision quotes the rule or names the policy that decided, with the command that
// shows it.
func (e *explanation) decision(p explain.Passage) {
	switch {
	case p.Unforwarded:
		e.check("sysctl net.ipv4.ip_forward")
	case p.Rule != nil:
		e.rule(p.Rule.Text)
		e.checkRule(*p.Rule)
	case p.Policy != nil:
		c := p.Policy
		e.checkRule(netfilter.RuleRef{Backend: c.Backend, Family: c.Family, Table: c.Table, Chain: c.Name})
	}
}

func (e *explanation) notKnown(p explain.Passage) string {
	if p.Unsure == "" {
		return "What the rules say is not known."
	}
	return "What the rules say is not known: " + e.Escape(p.Unsure) + "."
}

// someone returns a container on the network, or nil.
func someone(n *netinfo.Network) *netinfo.Container {
	for _, m := range n.Members {
		if m.Container != nil && m.Container.Namespace != 0 {
			return m.Container
		}
	}
	return nil
}

// networkOut tells how packets leave a bridge network.
func (e *explanation) networkOut(n *netinfo.Network) {
	e.part("From it to the outside")
	p, uplink, ok := e.Leaving(n)
	switch {
	case !ok:
		e.say("This host has no way to the outside: no default route.")
		e.check("ip route")
		return
	case n.BridgeLink == nil:
		e.byOptions(n)
		return
	case n.Internal && p.Dropped():
		e.say("Nothing gets out: the network is internal. %s %s", e.sentByInternal(n), e.droppedBy(p))
	case n.Internal:
		e.say("The network is internal: the engine's rules should drop what would leave it.")
	case p.Dropped():
		e.warn("Nothing gets out: what its containers send to the outside is %s", e.droppedBy(p))
	case p.Verdict == "":
		e.say("%s", e.notKnown(p))
	default:
		e.say("What is for the outside, the host passes on by %s.", e.Escape(uplink.Name))
	}
	e.decision(p)
	if !p.Dropped() && !n.Internal {
		e.networkNAT(n)
	}
	if c := someone(n); c != nil && p.To.IsValid() {
		e.checkAsRoot("natlens probe --dry-run %s %s", quote(e.Escape(c.Name)), p.To)
	}
}

// sentByInternal begins the sentence about what the containers of an internal network
// send to the outside: some versions of the engine give them a default route.
func (e *explanation) sentByInternal(n *netinfo.Network) string {
	known, routed := false, false
	for _, m := range n.Members {
		if m.Link == nil {
			continue
		}
		inside := e.Topology.Namespace(m.Link.Namespace)
		if inside == nil || inside.Unreadable != nil {
			continue
		}
		known = true
		routed = routed || slices.ContainsFunc(inside.Routes, func(r netinfo.Route) bool { return r.Default() && r.Link == m.Link.Index })
	}
	switch {
	case routed:
		return "Its containers have a default route to the host, but what they send outside by it is"
	case known:
		return "Its containers have no default route by it, and what they would send to the outside all the same is"
	}
	return "What its containers send to the outside is"
}

// networkNAT names the rule that masquerades a network.
func (e *explanation) networkNAT(n *netinfo.Network) {
	if bridge := e.Topology.Link(*n.BridgeLink); bridge != nil {
		if s := e.natOf(bridge); s != nil && s.RulesOK && s.NAT.Certainty == netfilter.Covered {
			e.say("This rule replaces the source with %s (%s):", s.Source, s.NAT.Kind)
			e.rule(s.NAT.Rule.Text)
			e.checkRule(s.NAT.Rule)
			return
		}
	}
	e.byOptions(n)
}

// byOptions tells of a network's NAT what the engine says of it.
func (e *explanation) byOptions(n *netinfo.Network) {
	switch {
	case n.Internal:
		e.say("Nothing gets out: the network is internal, and the engine's rules drop what would leave it.")
	case n.Masquerade:
		e.say("Masquerading is on: the engine makes a rule that puts the host's own address in the place of a container's.")
	default:
		e.say("Masquerading is off: containers keep their address outside, so answers come only if routers there know the way back.")
	}
	e.checkAsRoot("iptables -t nat -S POSTROUTING")
}

// networkIn tells what comes in from outside.
func (e *explanation) networkIn(n *netinfo.Network) {
	e.part("From the outside to it")
	some, unknown := false, false
	for _, m := range n.Members {
		if m.Container == nil {
			continue
		}
		unknown = unknown || m.Container.PortsUnknown
		if ports := e.published(m.Container); len(ports) > 0 {
			some = true
			e.say("Published for %s: %s.", e.Escape(m.Container.Name), enumerate(ports))
			e.check("natlens explain %s", quote(e.Escape(m.Container.Name)))
		}
	}
	switch {
	case unknown:
		e.say("Which ports are published on it is not known: only the engine can tell, and it was not asked.")
	case !some:
		e.say("No port is published on it.")
	}
	if n.BridgeLink == nil {
		return
	}
	p, ok := e.Entering(n)
	switch {
	case !ok:
	case p.Dropped():
		e.say("What comes from outside for a container's own address, such as %s, is %s", p.To, e.droppedBy(p))
		e.decision(p)
		e.except(n, func(m netinfo.Member, p docker.Port) explain.Passage { return e.EnteringPort(n, m, p) })
	case p.Verdict == "":
		e.say("Whether the rules let pass what comes for a container's own address is not known: %s.", e.Escape(p.Unsure))
	default:
		e.say("No rule keeps out what comes for a container's own address, such as %s. But only machines that have a route to it "+
			"by this host can send that; others don't know where it is.", p.To)
		e.checkAsRoot("iptables -S FORWARD")
	}
}

// hostAnd tells what is between the host and a network.
func (e *explanation) hostAnd(n *netinfo.Network) {
	if n.BridgeLink == nil {
		return
	}
	bridge := e.Topology.Link(*n.BridgeLink)
	if bridge == nil {
		return
	}
	e.part("The host and it")
	there, back := e.FromHost(n), e.ToHost(n)
	c := someone(n)
	switch {
	case !there.From.IsValid():
		e.say("The bridge has no address, so the host is not on this network.")
		e.check("ip addr show %s", quote(e.Escape(bridge.Name)))
		return
	case there.Dropped():
		e.say("What the host sends to a container's address is %s", e.droppedBy(there))
		e.decision(there)
	case there.Verdict == "":
		e.say("By its bridge the host is on this network, too (%s). %s", there.From, e.notKnown(there))
	default:
		e.say("By its bridge the host is on this network, too (%s): it reaches containers at their own address, published or not.", there.From)
	}
	e.check("ip route get %s", there.To)
	if c != nil {
		e.checkAsRoot("natlens probe host %s", there.To)
	}
	switch {
	case back.Dropped():
		e.say("What containers send to the host at %s is %s", back.To, e.droppedBy(back))
		e.decision(back)
	case back.Verdict != "":
		e.say("Containers reach the host at %s.", back.To)
	}
	if c != nil && back.Verdict != "" {
		e.probe(c, back.To)
	}
}

// maxOthers is how many other networks are worth reading about.
const maxOthers = 6

// otherNetworks tells what is between a bridge network and each other one.
func (e *explanation) otherNetworks(n *netinfo.Network) {
	var others []*netinfo.Network
	for _, o := range e.Topology.Networks {
		if o != n && o.Driver == "bridge" && o.BridgeLink != nil {
			others = append(others, o)
		}
	}
	if len(others) == 0 || n.BridgeLink == nil {
		return
	}
	e.part("Other networks")
	more := len(others) - maxOthers
	others = others[:min(maxOthers, len(others))]
	var told []string // chains that a command was given for
	isolated := ""
	for _, o := range others {
		if e.toOther(n, o, &told) {
			isolated = o.Name
		}
	}
	if more > 0 {
		e.say("And %s.", count(more, "other"))
		e.check("natlens list networks")
	}
	if isolated != "" {
		e.say("A container that must talk to both is put on both:")
		e.check("%s network connect %s CONTAINER", e.cli(), quote(e.Escape(isolated)))
	}
}

// toOther tells what is between two networks; true when they are isolated.
func (e *explanation) toOther(n, o *netinfo.Network, told *[]string) (isolated bool) {
	name, other := e.Escape(n.Name), e.Escape(o.Name)
	there, back := e.Between(n, o), e.Between(o, n)
	switch {
	case there.Dropped() && back.Dropped():
		isolated = true
		e.say("%s: isolated. What goes there is %s", other, e.droppedBy(there))
		e.quoteOnce(there, told)
		e.exceptTo(n, o)
		e.say("What comes from there is %s", e.droppedBy(back))
		e.quoteOnce(back, told)
		e.exceptTo(o, n)
	case there.Dropped():
		e.say("%s: what goes there is %s", other, e.droppedBy(there))
		e.quoteOnce(there, told)
		e.exceptTo(n, o)
	case back.Dropped():
		e.say("%s: what comes from there is %s", other, e.droppedBy(back))
		e.quoteOnce(back, told)
		e.exceptTo(o, n)
	case there.Verdict == "":
		e.say("%s: the engine's rules should keep the two apart. %s", other, e.notKnown(there))
	default:
		e.say("%s: reached. The host passes packets on from %s to %s, and no rule forbids it.", other, name, other)
	}
	for _, m := range o.Members {
		if m.Container != nil && slices.ContainsFunc(n.Members, func(x netinfo.Member) bool { return x.Container == m.Container }) {
			e.say("%s is on both and reaches both.", e.Escape(m.Container.Name))
		}
	}
	if from, to := someone(n), someone(o); from != nil && to != nil {
		e.probe(from, there.To)
	}
	return isolated
}

// exceptTo tells what published ports of a network are open to another.
func (e *explanation) exceptTo(from, to *netinfo.Network) {
	e.except(to, func(m netinfo.Member, p docker.Port) explain.Passage { return e.BetweenPort(from, to, m, p) })
}

// quoteOnce quotes a decision, with the command that shows its chain unless that
// was told before.
func (e *explanation) quoteOnce(p explain.Passage, told *[]string) {
	if p.Rule == nil {
		e.decision(p)
		return
	}
	e.rule(p.Rule.Text)
	chain := string(p.Rule.Backend) + p.Rule.Family + p.Rule.Table + p.Rule.Chain
	if !slices.Contains(*told, chain) {
		*told = append(*told, chain)
		e.checkRule(*p.Rule)
	}
}
