package text

import (
	"natlens/internal/explain"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// masquerades reports whether a step of the way out is known or, by the
// engine's options, expected to translate the source.
func (e *explanation) masquerades(s *explain.Step) bool {
	if s.RulesOK && s.NAT.Certainty != netfilter.Unsure {
		return s.NAT.Certainty == netfilter.Covered
	}
	n := e.networkInto(s)
	return n != nil && n.Masquerade && !n.Internal
}

// networkInto returns the network whose bridge a step's packet came in by.
func (e *explanation) networkInto(s *explain.Step) *netinfo.Network {
	if s.In == nil {
		return nil
	}
	return e.networkOf(s.In)
}

// wayOut tells how a packet from a namespace gets out of the host.
func (e *explanation) wayOut(n *netinfo.Namespace) {
	e.part("The way out")
	way := e.WayOut(n.ID)
	if len(way) == 0 {
		e.say("%s has no default route, so it reaches only the networks it is on.", e.Escape(n.Name))
		e.inside(n, "ip route")
		return
	}
	source := way[0].Source
	for i := range way {
		s := &way[i]
		if i == 0 {
			e.say("What is not for its own network, %s sends by %s to %s.", e.place(s.Namespace.ID), e.Escape(s.Out.Name), e.router(way, i))
			e.inside(s.Namespace, "ip route")
			continue
		}
		if s.Namespace.ID == e.Topology.Self && e.Forwarding == "0" {
			e.warn("But the host passes nothing on: net.ipv4.ip_forward is 0. Turn it on: sysctl -w net.ipv4.ip_forward=1")
			e.check("sysctl net.ipv4.ip_forward")
		}
		e.say("%s passes it on by %s to %s.", sentence(e.place(s.Namespace.ID)), e.Escape(s.Out.Name), e.router(way, i))
		e.inside(s.Namespace, "ip route get "+outside(source.Is4()))
		e.sourceNAT(s, source.String())
		if e.masquerades(s) {
			e.say("Answers come back to %s; conntrack remembers whose they are and puts %s back.", s.Source, source)
			e.checkAsRoot("conntrack -L --src-nat")
		}
	}
}

func outside(is4 bool) string {
	if is4 {
		return explain.Outside4.String()
	}
	return explain.Outside6.String()
}

// router names the next router: a link of this host, or an address.
func (e *explanation) router(way []explain.Step, i int) string {
	gateway := way[i].Route.Gateway
	switch {
	case !gateway.IsValid():
		return "its neighbours there directly"
	case i+1 < len(way) && way[i+1].In != nil:
		in := way[i+1].In
		return "its gateway " + gateway.String() + ", an address of " + e.of(in.Key.Namespace) + " " + e.Escape(in.Name)
	}
	return "the router " + gateway.String()
}

// sourceNAT tells what happens to the source address at a step.
func (e *explanation) sourceNAT(s *explain.Step, source string) {
	uplink := s.Source.String()
	network := e.networkInto(s)
	switch {
	case s.RulesOK && s.NAT.Certainty == netfilter.Covered:
		e.say("On leaving, the source %s becomes %s (%s), by this rule:", source, uplink, s.NAT.Kind)
		e.rule(s.NAT.Rule.Text)
		e.checkRule(s.NAT.Rule)
	case s.RulesOK && s.NAT.Certainty == netfilter.NoRule:
		e.say("No NAT rule covers it: %s stays the source, and answers come only if the routers outside know the way to it.", source)
		e.checkAsRoot("iptables -t nat -S POSTROUTING")
	case network != nil && network.Internal:
		e.say("The network %s is internal: the engine's rules drop what would leave it.", e.Escape(network.Name))
		e.check(e.cli()+" network inspect %s", quote(e.Escape(network.Name)))
	case network != nil:
		e.say("%s", e.whyNoRule(s))
		if network.Masquerade {
			e.say("The network %s has masquerading on, so the engine makes a rule that puts %s in the place of %s, "+
				"and back again on answers.", e.Escape(network.Name), uplink, source)
		} else {
			e.say("The network %s has masquerading off, so %s should stay the source.", e.Escape(network.Name), source)
		}
		e.checkAsRoot("iptables -t nat -S POSTROUTING")
	default:
		e.say("%s", e.whyNoRule(s))
		e.checkAsRoot("iptables -t nat -S POSTROUTING")
	}
}

func (e *explanation) whyNoRule(s *explain.Step) string {
	switch {
	case s.RulesOK && s.Hidden:
		return "Some NAT rules here are iptables-legacy's, and could not be read."
	case s.RulesOK:
		return "Whether its source is translated is not sure: some NAT rule asks what can't be evaluated here."
	case s.RulesErr != nil:
		return "The NAT rules could not be read (" + e.Escape(s.RulesErr.Error()) + ")."
	}
	return "The NAT rules were not read; root may read them."
}

// checkRule adds the command that shows a rule in its own language.
func (e *explanation) checkRule(r netfilter.RuleRef) {
	if r.Backend == netfilter.NFTables {
		e.checkAsRoot("nft -a list chain %s", e.Escape(r.Family+" "+r.Table+" "+r.Chain))
		return
	}
	program := "iptables"
	if r.Family == "ip6" {
		program = "ip6tables"
	}
	if r.Backend == netfilter.IPTablesLegacy {
		program += "-legacy"
	}
	e.checkAsRoot("%s -t %s -S %s", program, e.Escape(r.Table), e.Escape(r.Chain))
}
