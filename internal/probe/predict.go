package probe

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// host answers what a prediction asks. Its functions only read.
type host struct {
	topology *netinfo.Topology
	// rules are those of a namespace; nil when they are not known.
	rules func(*netinfo.Namespace) *netfilter.Ruleset
	// route is the kernel's choice for a packet.
	route func(*netinfo.Namespace, routeQuery) (route, error)
	// forwards reports whether the namespace passes on packets of that family.
	forwards func(n *netinfo.Namespace, is4 bool) bool
	// bridgeFilter reports whether bridges there show packets of that family to
	// the rules of IP (net.bridge.bridge-nf-call-iptables).
	bridgeFilter func(n *netinfo.Namespace, is4 bool) bool
	// answersForOthers reports whether who asks by the link for the MAC address of
	// somebody else gets that of the link (proxy_arp, proxy_ndp).
	answersForOthers func(n *netinfo.Namespace, l *netinfo.Link, is4 bool) bool
	listeners        func(*netinfo.Namespace) ([]netinfo.Listener, error)
}

// routeQuery asks for a route.
type routeQuery struct {
	to, from netip.Addr    // from is invalid when the kernel is to choose
	in       *netinfo.Link // by which the packet came in; nil for one that is sent here
	out      *netinfo.Link // the only link to send by; nil for any
}

// route is an answer.
type route struct {
	local     bool // to an address of the namespace itself
	broadcast bool // to all that are on the link
	out       *netinfo.Link
	gateway   netip.Addr // invalid when the destination is on the link
	source    netip.Addr
}

// noRoute is the kernel's refusal to give one, in its words.
type noRoute struct{ reason string }

func (e *noRoute) Error() string { return e.reason }

// maxStages bounds a prediction: a packet that goes round would never end.
const maxStages = 12

// prediction follows a packet through the namespaces.
type prediction struct {
	host
	request Request
	e       Expectation
	packet  netfilter.Packet
	// connections is how many processes have made one of their own for it.
	connections int
}

// predict works out what becomes of the packet that the request asks for.
func (h host) predict(s Source, d Destination, r Request) *Expectation {
	p := &prediction{host: h, request: r}
	p.e.Result = Reached
	p.begin(s.Namespace, s.Link, netip.Addr{}, netip.AddrPortFrom(d.Address, r.Port))
	p.answers()
	return &p.e
}

func (p *prediction) end(r Result, format string, args ...any) {
	p.e.Result, p.e.Reason = r, fmt.Sprintf(format, args...)
}

func (p *prediction) unsure(format string, args ...any) {
	if p.e.Unsure == "" {
		p.e.Unsure = fmt.Sprintf(format, args...)
	}
}

// stage adds one and returns it; nil when there are too many.
func (p *prediction) stage(s Stage) *Stage {
	if len(p.e.Stages) >= maxStages {
		p.unsure("it goes round")
		return nil
	}
	s.Before = p.packet.Tuple
	p.e.Stages = append(p.e.Stages, s)
	return &p.e.Stages[len(p.e.Stages)-1]
}

// ephemeralPort stands for the port that the kernel will choose (RFC 6335,
// section 6).
const ephemeralPort = 49152

// tuple is what the packet of this probe carries.
func (p *prediction) tuple(from netip.Addr, to netip.AddrPort) packet.Tuple {
	switch protocol := p.request.Protocol; {
	case protocol != packet.ICMP:
		return packet.NewTuple(protocol, from, to.Addr(), ephemeralPort, to.Port())
	case to.Addr().Is6():
		return packet.NewTuple(packet.ICMPv6, from, to.Addr(), 1, echoRequestV6<<8)
	default:
		return packet.NewTuple(protocol, from, to.Addr(), 1, echoRequest<<8)
	}
}

// begin sends the packet from a socket in the namespace.
func (p *prediction) begin(n *netinfo.Namespace, only *netinfo.Link, from netip.Addr, to netip.AddrPort) {
	way, ok := p.lookUp(n, routeQuery{to: to.Addr(), from: from, out: only})
	if !ok {
		return
	}
	if !from.IsValid() {
		from = way.source
	}
	p.packet = netfilter.Packet{
		Tuple: p.tuple(from, to), MarkKnown: true, State: netfilter.StateNew, Direction: netfilter.DirectionOriginal,
		TCPFlags: packet.SYN, TCPFlagsKnown: true, OutLink: way.out.Name, LocalAddress: n.HasAddress,
	}
	s := p.stage(Stage{Namespace: n, Out: way.out, How: Begins, Route: way.towards(to.Addr())})
	if s == nil || !p.walk(s, netfilter.Path{netfilter.Output}) {
		return
	}
	if to := p.packet.Tuple.Destination(); to != s.Before.Destination() {
		if way, ok = p.lookUp(n, routeQuery{to: to, from: p.packet.Tuple.Source()}); !ok {
			return
		}
		s.Out, s.Route, p.packet.OutLink = way.out, way.towards(to), way.out.Name
	}
	if !p.walk(s, netfilter.Path{netfilter.Postrouting}) {
		return
	}
	if way.local {
		p.packet.InLink, p.packet.OutLink = way.out.Name, ""
		if p.walk(s, netfilter.Path{netfilter.Input}) {
			p.deliver(n)
		}
		return
	}
	p.leave(n, way)
}

// towards is the route as a stage tells of it.
func (r route) towards(to netip.Addr) *Route {
	return &Route{To: to, Local: r.local, Gateway: r.gateway, Source: r.source, Link: r.out}
}

// lookUp asks for a route. When there is none, that is the end.
func (p *prediction) lookUp(n *netinfo.Namespace, q routeQuery) (route, bool) {
	if q.in != nil {
		if r, known, ok := p.routed(n, q); known {
			return r, ok
		}
	}
	r, err := p.route(n, q)
	switch {
	case err != nil && alone(n):
		p.end(NoWay, "%s has no link but its loopback, so no route to %v", n.Name, q.to)
		return route{}, false
	case err != nil && q.in != nil && !p.forwards(n, q.to.Is4()):
		// The kernel looks for no route then, and says nothing to the sender.
		p.end(Dropped, "%s does not forward packets of others (ip_forward is 0)", n.Name)
		return route{}, false
	case err != nil:
		p.end(NoWay, "%s has no route to %v: %v", n.Name, q.to, err)
		return route{}, false
	}
	if r.broadcast {
		p.end(NoWay, "%v is a broadcast address there, not one host's", q.to)
		return route{}, false
	}
	if r.out == nil {
		p.unsure("the link that %s would send it by is not known", n.Name)
		return route{}, false
	}
	return r, true
}

// routed works out where a packet goes that came in, with its mark and ports; known is
// false where that takes the kernel to tell. A refusal is the end.
func (p *prediction) routed(n *netinfo.Namespace, q routeQuery) (r route, known, ok bool) {
	t := p.packet.Tuple
	query := netinfo.RouteQuery{
		Source: q.from, Destination: q.to, Protocol: uint8(t.Protocol), In: q.in.Key.Index, Mark: p.packet.Mark, MarkBits: p.packet.MarkBits,
	}
	if p.packet.MarkKnown {
		query.MarkBits = math.MaxUint32
	}
	if t.HasPorts() {
		query.SourcePort, query.DestinationPort = t.SourcePort, t.DestinationPort
	}
	d := n.Decide(query)
	switch d.Fate {
	case netinfo.FateLocal:
		return route{local: true, out: q.in}, d.Route.Type == netinfo.RouteLocal, true
	case netinfo.FateForwarded:
		if r.out = p.topology.Link(netinfo.LinkKey{Namespace: n.ID, Index: d.Link}); r.out == nil {
			return r, false, false // by one of several
		}
		if d.Next != q.to {
			r.gateway = d.Next
		}
		return r, true, true
	case netinfo.FateRefused:
		by, why := n.Refuses(query, d)
		switch d.Refusal {
		case netinfo.NoRoute:
			return r, false, false // the kernel's words will do
		case netinfo.Unreachable:
			p.end(NoWay, "%s: %s refuses it", n.Name, by)
		case netinfo.Prohibit, netinfo.Blackhole:
			p.end(Dropped, "%s: dropped by %s", n.Name, by)
		case netinfo.NotForwarding:
			p.end(Dropped, "%s", why)
		default:
			p.end(Dropped, "%s: %s", n.Name, why)
		}
		return r, true, false
	case netinfo.FateUnknown:
	}
	return r, false, false
}

// alone reports whether a namespace has no link but its loopback, as with the engine's
// network none.
func alone(n *netinfo.Namespace) bool {
	return n != nil && !slices.ContainsFunc(n.Links, func(l *netinfo.Link) bool { return l.Kind != "loopback" })
}

// leave takes the packet from one namespace to the next.
func (p *prediction) leave(n *netinfo.Namespace, way route) {
	next := p.packet.Tuple.Destination()
	if way.gateway.IsValid() {
		next = way.gateway
	}
	if way.out.Kind != "veth" && p.down(n, way.out, nil) { // a veth's other end may be why
		return
	}
	p.packet.Frame = p.frameTo(way.out, next)
	switch {
	case way.out.Kind == "macvlan":
		p.overMacvlan(n, way.out, next)
	case !p.toOwnMacvlan(n, way.out, next):
		p.onWire(n, way.out, next)
	}
}

// onWire sends the packet by a link that nothing stands on, or by what is under one.
func (p *prediction) onWire(n *netinfo.Namespace, out *netinfo.Link, next netip.Addr) {
	if out.Kind == "bridge" {
		p.acrossBridge(n, out, nil, next)
		return
	}
	p.over(n, out, next)
}

// over takes the packet over the wire that the link is an end of.
func (p *prediction) over(n *netinfo.Namespace, out *netinfo.Link, next netip.Addr) {
	if !p.frame(p.last(), frameHook{at: netfilter.Egress, out: out}) {
		return
	}
	far := p.peer(out)
	if p.down(n, out, far) {
		return
	}
	if far == nil {
		p.unsure("what is behind %s is not on this host", p.linkName(n, out))
		return
	}
	there := p.topology.Namespace(far.Key.Namespace)
	if far.Master != nil {
		if bridge := p.topology.Link(*far.Master); bridge != nil && bridge.Kind == "bridge" {
			p.acrossBridge(there, bridge, far, next)
			return
		}
	}
	if stacked := p.macvlansOn(far, next); len(stacked) > 0 && !there.HasAddress(next) {
		far = stacked[0]
		there = p.topology.Namespace(far.Key.Namespace)
	}
	if !p.answersFor(far, next) && !p.answersForOthers(there, far, next.Is4()) {
		p.nobody("nobody behind %s has the address %v", p.linkName(n, out), next)
		return
	}
	p.arrive(there, far, nil)
}

// nobody ends a packet whose next address has no owner, before it leaves.
func (p *prediction) nobody(format string, args ...any) {
	p.last().Ends = true
	p.end(NoWay, format, args...)
}

func (p *prediction) linkName(n *netinfo.Namespace, l *netinfo.Link) string {
	if n.ID == p.topology.Self {
		return l.Name
	}
	return n.Name + ":" + l.Name
}

// acrossBridge takes the packet into a bridge, by a port or, where that is nil,
// from its own namespace: up to that namespace if it has the next address, else
// out by the port behind which somebody has it.
func (p *prediction) acrossBridge(n *netinfo.Namespace, bridge, port *netinfo.Link, next netip.Addr) {
	if !bridge.Up {
		p.isDown(n, bridge, "is down")
		return
	}
	if port != nil && n.HasAddress(next) {
		p.arrive(n, bridge, port)
		return
	}
	out := p.portTo(bridge, next, port)
	if out == nil {
		if open := p.openPort(bridge, port); open != nil {
			p.unsure("what is behind %s is not on this host", p.linkName(n, open))
			return
		}
		p.nobody("nobody on %s has the address %v", p.linkName(n, bridge), next)
		return
	}
	if port != nil {
		s := p.stage(Stage{Namespace: n, In: port, Bridge: bridge, Out: out, How: Bridged})
		if s == nil || !p.bridged(s, n, bridge, port, out) {
			return
		}
	} else if p.last().Port = out; !p.sentByBridge(p.last(), bridge, out) {
		return
	}
	p.over(n, out, next)
}

// portTo finds the port behind which the address is; nil when there is none.
func (p *prediction) portTo(bridge *netinfo.Link, a netip.Addr, except *netinfo.Link) *netinfo.Link {
	for _, port := range p.topology.Ports(bridge.Key) {
		if port == except || port.Peer == nil {
			continue
		}
		far := p.topology.Link(port.Peer.Key)
		if far != nil && slices.ContainsFunc(far.Addresses, func(x netip.Prefix) bool { return x.Addr() == a }) {
			return port
		}
	}
	return nil
}

// openPort returns a port of the bridge whose other end is not on this host, so that
// anybody may be behind it; nil when there is none.
func (p *prediction) openPort(bridge, except *netinfo.Link) *netinfo.Link {
	for _, port := range p.topology.Ports(bridge.Key) {
		if port != except && port.Up && (port.Peer == nil || p.topology.Link(port.Peer.Key) == nil) {
			return port
		}
	}
	return nil
}

// arrive shows the packet to a namespace that is its next hop. port is the
// bridge's port by which it came, where in is a bridge.
func (p *prediction) arrive(n *netinfo.Namespace, in, port *netinfo.Link) {
	s := Stage{Namespace: n, In: in, How: Routed}
	p.packet.InLink, p.packet.OutLink, p.packet.InPort, p.packet.OutPort = in.Name, "", "", ""
	if port != nil {
		s.In, s.Bridge = port, in
		p.packet.InPort = port.Name
	}
	p.enter(n)
	added := p.stage(s)
	if added == nil || !p.comesIn(added, n, in, port) {
		return
	}
	p.passOn(added, n, in)
}

// enter makes the packet what it is when it comes into another namespace: each has its
// own connection tracking and its own marks.
func (p *prediction) enter(n *netinfo.Namespace) {
	p.packet.Mark, p.packet.MarkKnown, p.packet.State = 0, true, netfilter.StateNew
	p.packet.SourceTranslated, p.packet.DestinationTranslated = netfilter.NotKnown, netfilter.NotKnown
	p.packet.Translated = packet.Tuple{}
	p.packet.LocalAddress = n.HasAddress
}

// last is the stage that the packet is in.
func (p *prediction) last() *Stage { return &p.e.Stages[len(p.e.Stages)-1] }

// passOn routes the packet, whose destination is final here.
func (p *prediction) passOn(s *Stage, n *netinfo.Namespace, in *netinfo.Link) {
	t := p.packet.Tuple
	way, ok := p.lookUp(n, routeQuery{to: t.Destination(), from: t.Source(), in: in})
	if !ok {
		return
	}
	if way.local {
		s.How, s.Route = Arrives, way.towards(t.Destination())
		if p.walk(s, netfilter.Path{netfilter.Input}) {
			p.deliver(n)
		}
		return
	}
	if p.turnsBack(s, n, way) {
		return
	}
	if !p.forwards(n, t.Is4()) {
		p.end(Dropped, "%s does not forward packets of others (ip_forward is 0)", n.Name)
		return
	}
	s.How, s.Out, s.Route, p.packet.OutLink = Routed, way.out, way.towards(t.Destination()), way.out.Name
	if p.walk(s, netfilter.Path{netfilter.Forward, netfilter.Postrouting}) {
		p.leave(n, way)
	}
}

// turnsBack reports whether the packet goes back to the port of a bridge by which it
// came, which a port in hairpin mode sends it by, and others do not: then that is the
// end. It does so within the bridge only where that shows IP packets to NAT (bridge
// netfilter); else it is routed in and out again (net/bridge/br_netfilter_hooks.c,
// br_nf_pre_routing_finish).
func (p *prediction) turnsBack(s *Stage, n *netinfo.Namespace, way route) bool {
	t := p.packet.Tuple
	if s.Bridge == nil || s.In == s.Bridge || way.out != s.Bridge || s.In.Hairpin != netinfo.HairpinOff || !p.bridgeFilter(n, t.Is4()) {
		return false
	}
	next := t.Destination()
	if way.gateway.IsValid() {
		next = way.gateway
	}
	if p.portTo(s.Bridge, next, nil) != s.In {
		return false
	}
	s.Ends = true
	p.end(Dropped, "%v is behind %s, by which it came, and %s sends nothing back there: hairpin mode of that port is off",
		next, p.linkName(n, s.In), p.linkName(n, s.Bridge))
	return true
}

// deliver asks who waits for the packet in the namespace.
func (p *prediction) deliver(n *netinfo.Namespace) {
	t := p.packet.Tuple
	p.last().Delivered = true
	if !t.HasPorts() {
		return
	}
	for _, proxy := range p.topology.Proxies {
		if proxy.Namespace == n.ID && proxy.Protocol == t.Protocol.String() && proxy.Listen.Port() == t.DestinationPort &&
			(proxy.Listen.Addr().IsUnspecified() || proxy.Listen.Addr() == t.Destination()) {
			if p.connections++; p.connections > 1 {
				p.unsure("a proxy connects to a proxy")
				return
			}
			p.begin(n, nil, netip.Addr{}, proxy.Backend)
			return
		}
	}
	found, err := p.listeners(n)
	if err != nil {
		p.unsure("what listens in %s is not known: %v", n.Name, err)
		return
	}
	for _, l := range found {
		if l.Protocol != t.Protocol.String() || l.Address.Port() != t.DestinationPort {
			continue
		}
		if l.Accepts(t.Destination()) {
			return
		}
		if l.Loopback() {
			p.e.Loopback = l.Address.Addr()
		}
	}
	if p.e.Loopback.IsValid() {
		p.end(RefusedBy, "on %v port %d %s listens for itself only, at %v", t.Protocol, t.DestinationPort, n.Name, p.e.Loopback)
		return
	}
	p.end(RefusedBy, "nothing in %s listens on %v port %d for %v", n.Name, t.Protocol, t.DestinationPort, t.Destination())
}
