package text

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"natlens/internal/explain"
	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/netinfo/netfilter"
)

// publishedPort is one port of a container and every host address it is
// published on.
type publishedPort struct {
	docker.Port
	at []netip.AddrPort
}

// portsOf groups the ports of a container and of those that share its
// namespace: a port belongs to the namespace, whoever published it.
func (e *explanation) portsOf(c *netinfo.Container) []publishedPort {
	ports := slices.Clone(c.Ports)
	if n := e.Topology.Namespace(c.Namespace); n != nil {
		for _, o := range n.Containers {
			if o.ID != c.ID {
				ports = append(ports, o.Ports...)
			}
		}
	}
	return groupPorts(ports)
}

// groupPorts puts the host addresses of each container port together; exposed
// ports that are not published have none.
func groupPorts(ports []docker.Port) []publishedPort {
	var all []publishedPort
	for _, p := range ports {
		i := slices.IndexFunc(all, func(o publishedPort) bool {
			return o.Protocol == p.Protocol && o.ContainerPort == p.ContainerPort
		})
		if i < 0 {
			i = len(all)
			all = append(all, publishedPort{Port: p})
		}
		if p.HostAddress.IsValid() {
			if len(all[i].at) == 0 {
				all[i].HostAddress = p.HostAddress
			}
			all[i].at = append(all[i].at, p.HostAddress)
		}
	}
	return all
}

// ports tells of published ports and of what really listens behind them.
func (e *explanation) ports(c *netinfo.Container) {
	e.part("The way in")
	groups := e.portsOf(c)
	some := false
	for _, p := range groups {
		if len(p.at) > 0 {
			some = true
			e.publishedPort(c, p)
		}
	}
	if n := e.Topology.Namespace(c.Namespace); !some && n != nil {
		for _, l := range cabled(n) {
			if l.Parent != nil {
				some = true
				e.say("Nothing need be published: whoever is on the network behind %s reaches it at its own address.", e.linkName(*l.Parent))
				e.inside(n, "ip addr show "+quote(e.Escape(l.Name)))
			}
		}
	}
	switch {
	case some:
	case c.PortsUnknown:
		e.say("Which ports are published is not known: only the engine can tell, and it was not asked.")
		e.check(e.cli()+" port %s", quote(e.Escape(c.Name)))
	default:
		e.say("No port is published: no address of the host leads to %s. Who is outside and has a route to its own address meets the rules of FORWARD there.", e.Escape(c.Name))
		e.check(e.cli()+" port %s", quote(e.Escape(c.Name)))
	}
	e.unpublished(c, groups)
}

func (e *explanation) publishedPort(c *netinfo.Container, p publishedPort) {
	name := e.Escape(c.Name)
	e.say("%s leads to port %d of %s (%s).", e.hostAddresses(p.at), p.ContainerPort, name, e.Escape(p.Protocol))
	if m := e.PublishedBy(p.Port); m.Certainty == netfilter.Covered {
		e.say("This rule changes the destination (%s):", m.Kind)
		e.rule(m.Rule.Text)
		e.checkRule(m.Rule)
	}
	e.check(e.cli()+" port %s", quote(e.Escape(e.publisher(c, p))))
	e.proxy(p)
	e.behind(c, p, e.Behind(c, p.Port))
	if n := e.Topology.Namespace(c.Namespace); n != nil {
		if p.Protocol == "udp" {
			e.inside(n, "ss -lun")
		} else {
			e.inside(n, "ss -ltn")
		}
	}
}

// publisher names the container among those of a namespace that published p.
func (e *explanation) publisher(c *netinfo.Container, p publishedPort) string {
	if n := e.Topology.Namespace(c.Namespace); n != nil && !slices.Contains(c.Ports, p.Port) {
		for _, o := range n.Containers {
			if slices.Contains(o.Ports, p.Port) {
				return o.Name
			}
		}
	}
	return c.Name
}

// hostAddresses says where a port is published.
func (e *explanation) hostAddresses(at []netip.AddrPort) string {
	words := []string{}
	for _, a := range at {
		word := "Port " + strconv.Itoa(int(a.Port())) + " on every address of the host"
		if !a.Addr().IsUnspecified() {
			word = a.String()
			if a.Addr().IsLoopback() {
				word += " (which only this host itself can reach)"
			}
		}
		if !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	return enumerate(words)
}

// publishedAt reports whether a socket at that address can be one for the port:
// another container may have the same port at another address.
func (p publishedPort) publishedAt(a netip.Addr) bool {
	return slices.ContainsFunc(p.at, func(at netip.AddrPort) bool { return at.Addr() == a || at.Addr().IsUnspecified() || a.IsUnspecified() })
}

// proxy tells of the host's own socket on a published port.
func (e *explanation) proxy(p publishedPort) {
	port := p.HostAddress.Port()
	for _, l := range e.Sockets[e.Topology.Self].Listeners {
		if l.Protocol != p.Protocol || l.Address.Port() != port || !p.publishedAt(l.Address.Addr()) {
			continue
		}
		what := fmt.Sprintf("from the host to 127.0.0.1:%d", port)
		if a := l.Address.Addr(); !a.IsUnspecified() && !a.IsLoopback() {
			what = fmt.Sprintf("from the container's own network to %v", l.Address)
		}
		const takes = "It takes what NAT does not, such as connections %s, and begins new ones from the host's own address."
		switch holder := e.Holders[l.Inode]; holder {
		case "":
			e.say("The host has a socket on that port, too: docker-proxy as a rule. "+takes, what)
		case "docker-proxy":
			e.say("On the host docker-proxy listens on that port, too. "+takes, what)
		case "dockerd":
			e.say("The engine holds that port of the host with a socket of its own (dockerd), so that no other program takes it, " +
				"but answers nobody there: it runs without docker-proxy, and NAT does all the work.")
		case "conmon":
			e.say("Podman holds that port of the host with a socket of its own (conmon), so that no other program takes it, but answers " +
				"nobody there: NAT does all the work.")
		default:
			e.say("The host has a socket on that port, too. %s holds it.", e.Escape(holder))
		}
		e.checkAsRoot("ss -ln%cp sport = :%d", p.Protocol[0], port)
		return
	}
}

// behind says whether somebody answers, and if not, how to mend it.
func (e *explanation) behind(c *netinfo.Container, p publishedPort, b explain.Behind) {
	name := e.Escape(c.Name)
	switch b.Reach {
	case explain.Answers:
		e.say("Behind it %s %s: it answers.", sockets(b.On), listens(b.On))
		if everyV6Only(b.On) {
			e.say("[::] takes IPv4 too, unless the program asked for IPv6 only.")
		}
	case explain.LoopbackOnly:
		e.warn("But nobody will get an answer: inside %s only %s %s. That is %s own loopback. What comes by the published port "+
			"goes to %s, where nobody listens.", name, sockets(b.On), listens(b.On), possessive(name), e.target(c, p))
		if p.Protocol == "tcp" {
			e.say("The client sees \"connection refused\", or a connection that ends at once without an answer.")
		}
		e.say("Mend it: make the program listen on 0.0.0.0, every address of its own namespace. Many take --host 0.0.0.0 or " +
			"--bind 0.0.0.0 or a setting like it. Publishing again does not help.")
	case explain.OtherAddress:
		e.warn("But nobody will get an answer: %s %s, and connections come for %s. Make the program listen on 0.0.0.0.",
			sockets(b.On), listens(b.On), e.target(c, p))
	case explain.Silent:
		e.warn("But nobody will get an answer: inside %s nothing listens on port %d/%s.", name, p.ContainerPort, e.Escape(p.Protocol))
		switch others := e.notYetPublished(c, reachable(b.Others)); {
		case len(others) == 0:
			e.say("Has the program started, and on which port? %s logs %s", e.cli(), quote(name))
		case !samePort(others):
			e.say("%s listen there. To reach one, publish its port: such as %s", sockets(others), e.Escape(p.publish(others[0])))
		default:
			e.say("%s %s there. To reach it, publish that port: %s", sockets(others), listens(others), e.Escape(p.publish(others[0])))
		}
	default:
		if b.Err != nil {
			e.say("What listens behind it could not be read (%s).", e.Escape(b.Err.Error()))
		} else {
			e.say("What listens behind it is not known: its namespace could not be entered.")
		}
	}
}

// publish is the option that leads what is asked for to a listener instead, for no
// more of the host's addresses than now.
func (p publishedPort) publish(l netinfo.Listener) string {
	at := strconv.Itoa(int(p.HostAddress.Port()))
	if !p.HostAddress.Addr().IsUnspecified() {
		at = p.HostAddress.String()
	}
	to := strconv.Itoa(int(l.Address.Port()))
	if p.Protocol != "tcp" {
		to += "/" + p.Protocol
	}
	return "-p " + at + ":" + to
}

// notYetPublished leaves out what another published port leads to.
func (e *explanation) notYetPublished(c *netinfo.Container, ls []netinfo.Listener) []netinfo.Listener {
	groups := e.portsOf(c)
	return slices.DeleteFunc(ls, func(l netinfo.Listener) bool {
		return slices.ContainsFunc(groups, func(p publishedPort) bool {
			return len(p.at) > 0 && p.Protocol == l.Protocol && p.ContainerPort == l.Address.Port()
		})
	})
}

func samePort(ls []netinfo.Listener) bool {
	return !slices.ContainsFunc(ls, func(l netinfo.Listener) bool { return l.Address.Port() != ls[0].Address.Port() })
}

func possessive(name string) string { return name + "'s" }

// target is the address that a published port leads to.
func (e *explanation) target(c *netinfo.Container, p publishedPort) string {
	if n := e.Topology.Namespace(c.Namespace); n != nil {
		for _, l := range cabled(n) {
			if a := usefulAddresses(l.Addresses); len(a) > 0 {
				return netip.AddrPortFrom(a[0].Addr(), p.ContainerPort).String()
			}
		}
	}
	return "the container's own address"
}

// sockets lists where listeners wait.
func sockets(ls []netinfo.Listener) string {
	var words []string
	for _, l := range ls {
		if w := l.Address.String(); !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	const most = 4
	if len(words) > most {
		words = append(words[:most], count(len(words)-most, "other"))
	}
	return enumerate(words)
}

func listens(ls []netinfo.Listener) string {
	if len(ls) == 1 {
		return "listens"
	}
	return "listen"
}

func everyV6Only(ls []netinfo.Listener) bool {
	return !slices.ContainsFunc(ls, func(l netinfo.Listener) bool { return l.Address.Addr().Is4() })
}

func reachable(ls []netinfo.Listener) []netinfo.Listener {
	return slices.DeleteFunc(slices.Clone(ls), netinfo.Listener.Loopback)
}

// unpublished tells what else waits inside, which neighbours may reach.
func (e *explanation) unpublished(c *netinfo.Container, groups []publishedPort) {
	s, asked := e.Sockets[c.Namespace]
	if !asked || s.Err != nil {
		return
	}
	var open, own []netinfo.Listener
	for _, l := range s.Listeners {
		published := slices.ContainsFunc(groups, func(p publishedPort) bool {
			return len(p.at) > 0 && p.Protocol == l.Protocol && p.ContainerPort == l.Address.Port()
		})
		switch {
		case published || explain.EngineDNS(l):
		case l.Loopback():
			own = append(own, l)
		default:
			open = append(open, l)
		}
	}
	if len(open) > 0 {
		e.say("Not published: %s %s inside. The host and containers on its networks reach it at the container's own address.",
			sockets(open), listens(open))
	}
	if len(own) > 0 {
		e.say("For itself alone: %s %s on its loopback.", sockets(own), listens(own))
	}
	if n := e.Topology.Namespace(c.Namespace); n != nil && len(open)+len(own) > 0 {
		e.inside(n, "ss -ltnu")
	}
}
