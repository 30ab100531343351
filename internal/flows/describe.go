package flows

import (
	"net/netip"
	"slices"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// describe works out who the ends of a flow are, what is translated, and by which
// rule.
func (t *Table) describe(e *Entry) {
	n := t.topology.Namespace(e.Namespace)
	before, after := e.Original, e.Reply.Inverse()
	half := before.Half(after)
	j := &trace.Journey{
		Protocol: before.Protocol, Direction: trace.Original, Flows: []netfilter.Flow{e.Flow},
		Verdict: trace.Verdict{Hop: -1}, Topology: t.topology,
	}
	j.From, e.owners[0] = t.endpoint(e, before.Source(), before.SourcePort)
	j.To, e.owners[1] = t.endpoint(e, after.Destination(), after.DestinationPort)
	w := t.wayOf(n, before, after)
	if before != half {
		j.Translations = append(j.Translations, t.translation(e, w, trace.DNAT, before, half))
	}
	if half != after {
		j.Translations = append(j.Translations, t.translation(e, w, trace.SNAT, half, after))
	}
	for i := range j.Translations {
		if r := j.Translations[i].Rule; r != nil {
			j.Rules = append(j.Rules, *r)
		}
	}
	e.Journey = j
	e.Proxy = t.proxyOf(e, n)
}

// endpoint names an end of a flow, and tells whose it is.
func (t *Table) endpoint(e *Entry, ip netip.Addr, port uint16) (end trace.Endpoint, owner netns.ID) {
	end.IP = ip
	if e.Original.HasPorts() {
		end.Port = port
	}
	if ip.IsMulticast() || ip.IsUnspecified() {
		return end, 0
	}
	name, n := t.topology.OwnerOf(ip, e.Namespace)
	if end.Name = name; n == nil {
		return end, 0
	}
	t.name(&end, n)
	return end, n.ID
}

func (t *Table) name(end *trace.Endpoint, n *netinfo.Namespace) {
	end.Name, end.Containers = n.Name, nil
	if n.ID != t.topology.Self {
		end.Containers = n.ContainerNames()
	}
}

// renamed is a flow with the names that its ends have now. A container is known by
// its name some time after its first packet. Whose an address was does not change
// with who has it now.
func (t *Table) renamed(e *Entry) *Entry {
	if e.Journey.Topology == t.topology {
		return e
	}
	made, j := *e, *e.Journey
	j.Topology, made.Journey = t.topology, &j
	for i, end := range []*trace.Endpoint{&j.From, &j.To} {
		if made.owners[i] == 0 && made.Ended == 0 {
			*end, made.owners[i] = t.endpoint(&made, end.IP, end.Port)
		} else if n := t.topology.Namespace(made.owners[i]); n != nil {
			t.name(end, n)
		}
	}
	return &made
}

// way is how the first packet of a flow passed a namespace.
type way struct {
	in, out  string // links as rules know them; empty for none
	begins   bool   // with a process of the namespace
	ends     bool   // with one
	hasLocal func(netip.Addr) bool
}

// wayOf tells it by the routes: a packet came in where one to its source would go
// out.
func (t *Table) wayOf(n *netinfo.Namespace, before, after packet.Tuple) way {
	w := way{hasLocal: func(netip.Addr) bool { return false }}
	if n == nil {
		return w
	}
	w.hasLocal = n.HasAddress
	w.begins, w.ends = n.HasAddress(before.Source()), n.HasAddress(after.Destination())
	if !w.begins {
		w.in = routeTo(n, before.Source())
	}
	if w.ends {
		w.out = loopbackOf(n)
	} else {
		w.out = routeTo(n, after.Destination())
	}
	return w
}

// routeTo returns the link by which a packet to an address leaves: by the longest
// prefix, then the least metric (ip-route(8)). Policy rules are not looked at.
func routeTo(n *netinfo.Namespace, to netip.Addr) string {
	var best *netinfo.Route
	for i := range n.Routes {
		r := &n.Routes[i]
		if r.Local || r.Link == 0 || !r.Destination.Contains(to) {
			continue
		}
		if best == nil || r.Destination.Bits() > best.Destination.Bits() || r.Destination.Bits() == best.Destination.Bits() && r.Metric < best.Metric {
			best = r
		}
	}
	if best == nil {
		return ""
	}
	at := slices.IndexFunc(n.Links, func(l *netinfo.Link) bool { return l.Key.Index == best.Link })
	if at < 0 {
		return ""
	}
	return n.Links[at].Name
}

func loopbackOf(n *netinfo.Namespace) string {
	for _, l := range n.Links {
		if l.Role == netinfo.RoleLoopback {
			return l.Name
		}
	}
	return ""
}

// translation is what a flow does to one side, and the rule that says so: the rules
// as they are, asked for a packet like the flow's first.
func (t *Table) translation(e *Entry, w way, kind string, before, after packet.Tuple) trace.Translation {
	tr := trace.Translation{
		Kind: kind, Namespace: t.topology.NamespaceName(e.Namespace), Between: [2]int{-1, -1},
		Before: before, After: after, Evidence: trace.ByConntrack, ConntrackID: e.ID,
	}
	rules := t.rulesets[e.Namespace]
	p := netfilter.Packet{Tuple: e.Original, InLink: w.in, LocalAddress: w.hasLocal}
	first := netfilter.Prerouting
	if w.begins {
		first, p.OutLink = netfilter.Output, w.out
	} else if !rules.SetsMarks() {
		p.MarkKnown = true // a packet that comes in by a link carries no mark yet
	}
	half := after
	if kind == trace.SNAT {
		half = before
	}
	m := rules.NATOf(first, p, half)
	tr.Hook = first
	if kind == trace.SNAT {
		tr.Hook = netfilter.Postrouting
		if w.ends && !w.begins {
			tr.Hook = netfilter.Input
		}
		p = p.Behind(m)
		p.Tuple, p.OutLink = before, w.out
		m = rules.NATOf(tr.Hook, p, after)
	}
	if m.Certainty == netfilter.Covered && e.Status&netfilter.Expected == 0 { // else see trace's asks
		tr.Kind, tr.Rule = m.Kind, &trace.Rule{RuleRef: m.Rule, Evidence: trace.ByRules, Marker: m.Marker}
	}
	return tr
}

// proxyOf finds the docker-proxy at one of a flow's ends.
func (t *Table) proxyOf(e *Entry, n *netinfo.Namespace) *Proxy {
	if n == nil || e.Translated() || !e.Original.HasPorts() {
		return nil
	}
	destination := netip.AddrPortFrom(e.Original.Destination(), e.Original.DestinationPort)
	for i := range t.topology.Proxies {
		p := &t.topology.Proxies[i]
		if p.Namespace != e.Namespace || p.Protocol != e.Original.Protocol.String() {
			continue
		}
		name, _ := t.topology.OwnerOf(p.Backend.Addr(), e.Namespace)
		switch listens := p.Listen.Addr(); {
		case p.Listen.Port() == destination.Port() && n.HasAddress(destination.Addr()) &&
			(listens == destination.Addr() || listens.IsUnspecified() && listens.Is4() == destination.Addr().Is4()):
			return &Proxy{PID: p.PID, Other: p.Backend, Name: name}
		case p.Backend == destination && n.HasAddress(e.Original.Source()):
			return &Proxy{PID: p.PID, Dials: true, Other: p.Listen, Name: name}
		}
	}
	return nil
}
