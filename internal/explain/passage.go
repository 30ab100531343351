package explain

import (
	"net/netip"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/netinfo/netfilter"
)

// Passage is what the rules of natlens's own namespace make of a packet that begins
// a flow, from one place to another: an echo request, or what begins a connection
// to a port. It is about rules alone: that somebody answers is not said.
type Passage struct {
	From, To netip.Addr
	// Verdict is empty when it is not known; then Unsure says why.
	Verdict netfilter.Verdict
	Unsure  string
	Hook    netfilter.Hook // where its way ends
	// Rule or Policy is what decides a drop; both nil when that is not known.
	Rule   *netfilter.RuleRef
	Policy *netfilter.ChainRef
	// Unforwarded: it is dropped because this host passes nothing on.
	Unforwarded bool
	// Switched: it goes through a bridge, and no rule of IP sees it.
	Switched bool
}

// Dropped reports whether the packet is sure not to get through.
func (p Passage) Dropped() bool {
	return p.Verdict == netfilter.Dropped || p.Verdict == netfilter.Rejected
}

// Between is the way from a member of one bridge network to a member of another.
// Both have a bridge in natlens's own namespace.
func (f *Facts) Between(a, b *netinfo.Network) Passage {
	from, to := f.someMember(a), f.someMember(b)
	return f.through(f.ask(from.Addr, to.Addr), f.bridgeName(a), from.port, f.bridgeName(b), to.port)
}

// BetweenPort is Between to a port of one member.
func (f *Facts) BetweenPort(a, b *netinfo.Network, m netinfo.Member, p docker.Port) Passage {
	from, to := f.someMember(a), f.memberPlace(m)
	return f.through(f.askPort(from.Addr, to.Addr, p), f.bridgeName(a), from.port, f.bridgeName(b), to.port)
}

// Leaving is the way from a member of a bridge network to the outside, and the
// uplink it goes by; ok is false when this host has no way there.
func (f *Facts) Leaving(n *netinfo.Network) (p Passage, uplink *netinfo.Link, ok bool) {
	from := f.someMember(n)
	way, ok := stepOut(f.Topology.Namespace(f.Topology.Self), from.Addr)
	if !ok {
		return Passage{}, nil, false
	}
	return f.through(f.ask(from.Addr, outsideOf(from.Addr)), f.bridgeName(n), from.port, way.Out.Name, ""), way.Out, true
}

// Entering is the way from the outside to a member's own address; ok is false
// when this host has no link to the outside.
func (f *Facts) Entering(n *netinfo.Network) (p Passage, ok bool) {
	to := f.someMember(n)
	way, ok := stepOut(f.Topology.Namespace(f.Topology.Self), to.Addr)
	if !ok {
		return Passage{}, false
	}
	return f.through(f.ask(outsideOf(to.Addr), to.Addr), way.Out.Name, "", f.bridgeName(n), to.port), true
}

// EnteringPort is Entering to a port of one member.
func (f *Facts) EnteringPort(n *netinfo.Network, m netinfo.Member, p docker.Port) Passage {
	to := f.memberPlace(m)
	way, ok := stepOut(f.Topology.Namespace(f.Topology.Self), to.Addr)
	if !ok {
		return Passage{To: to.Addr, Unsure: "this host has no link to the outside"}
	}
	return f.through(f.askPort(outsideOf(to.Addr), to.Addr, p), way.Out.Name, "", f.bridgeName(n), to.port)
}

// Within is the way from one member of a bridge network to another.
func (f *Facts) Within(n *netinfo.Network, a, b netinfo.Member) Passage {
	from, to := f.memberPlace(a), f.memberPlace(b)
	p := f.ask(from.Addr, to.Addr)
	asIP := p.packet
	p.packet.Bridged, p.packet.InLink, p.packet.OutLink = true, from.port, to.port
	if !p.walk(netfilter.Path{netfilter.Prerouting, netfilter.Forward, netfilter.Postrouting}) {
		return p.at
	}
	if f.BridgeFilter == "0" {
		p.at.Switched = true
		return p.at
	}
	p.packet = asIP
	bridge := f.bridgeName(n)
	p.packet.InLink, p.packet.InPort = bridge, from.port
	if p.walk(netfilter.Path{netfilter.Prerouting}) {
		p.packet.OutLink, p.packet.OutPort = bridge, to.port
		p.walk(netfilter.Path{netfilter.Forward, netfilter.Postrouting})
	}
	if f.BridgeFilter != "1" && p.at.Dropped() {
		p.at = Passage{From: from.Addr, To: to.Addr, Unsure: "whether bridges here show packets to the rules of IP was not to be read"}
	}
	return p.at
}

// ToHost is the way from a member of a bridge network to the host's address there.
func (f *Facts) ToHost(n *netinfo.Network) Passage {
	from := f.someMember(n)
	p := f.ask(from.Addr, f.bridgeAddress(n, from.Addr))
	p.packet.InLink, p.packet.InPort = f.bridgeName(n), from.port
	p.walk(netfilter.ToHost)
	return p.at
}

// FromHost is the way from the host to a member of a bridge network.
func (f *Facts) FromHost(n *netinfo.Network) Passage {
	to := f.someMember(n)
	p := f.ask(f.bridgeAddress(n, to.Addr), to.Addr)
	p.packet.OutLink, p.packet.OutPort = f.bridgeName(n), to.port
	p.walk(netfilter.FromHost)
	return p.at
}

// through asks the rules about a packet that this host passes on.
func (f *Facts) through(p *question, in, inPort, out, outPort string) Passage {
	p.packet.InLink, p.packet.InPort = in, inPort
	if !p.walk(netfilter.Path{netfilter.Prerouting}) {
		return p.at
	}
	if f.Forwarding == "0" && p.at.From.Is4() {
		p.at.Verdict, p.at.Unforwarded, p.at.Hook = netfilter.Dropped, true, netfilter.Forward
		return p.at
	}
	p.packet.OutLink, p.packet.OutPort = out, outPort
	p.walk(netfilter.Path{netfilter.Forward, netfilter.Postrouting})
	return p.at
}

// question is a packet on its way through the rules.
type question struct {
	rules  Rules
	packet netfilter.Packet
	at     Passage
}

// Echo requests (RFC 792, RFC 4443).
const echoRequest, echoRequestV6 = 8, 128

// ask begins with an echo request.
func (f *Facts) ask(from, to netip.Addr) *question {
	q := &question{rules: f.Rules[f.Topology.Self], at: Passage{From: from, To: to}}
	if !from.IsValid() || !to.IsValid() || from.Is4() != to.Is4() {
		q.at.Unsure = "it has no address there"
		return q
	}
	tuple := packet.NewTuple(packet.ICMP, from, to, 1, echoRequest<<8)
	if from.Is6() {
		tuple = packet.NewTuple(packet.ICMPv6, from, to, 1, echoRequestV6<<8)
	}
	q.packet = netfilter.Packet{
		Tuple: tuple, MarkKnown: true, State: netfilter.StateNew, Direction: netfilter.DirectionOriginal,
	}
	if self := f.Topology.Namespace(f.Topology.Self); self != nil {
		q.packet.LocalAddress = self.HasAddress
	}
	return q
}

// askPort begins with a SYN or a datagram to a port.
func (f *Facts) askPort(from, to netip.Addr, p docker.Port) *question {
	q := f.ask(from, to)
	protocol, ok := map[string]packet.Protocol{"tcp": packet.TCP, "udp": packet.UDP}[p.Protocol]
	switch {
	case q.at.Unsure != "":
	case !ok:
		q.at.Unsure = "its protocol is neither tcp nor udp"
	default:
		q.packet.Tuple = packet.NewTuple(protocol, from, to, 49152, p.ContainerPort)
		q.packet.TCPFlags, q.packet.TCPFlagsKnown = packet.SYN, protocol == packet.TCP
	}
	return q
}

// walk takes the packet through some hooks; false when its way ends there.
func (q *question) walk(path netfilter.Path) bool {
	switch {
	case q.at.Unsure != "":
		return false
	case q.rules.Err != nil:
		q.at.Unsure = "the rules could not be read (" + q.rules.Err.Error() + ")"
		return false
	case q.rules.Walk == nil:
		q.at.Unsure = "the rules were not read; root may read them"
		return false
	}
	before := q.packet.Tuple.Destination()
	w := q.rules.Walk(path, q.packet)
	q.at.Verdict, q.at.Hook, q.at.Policy = w.Verdict, w.Hook, w.Policy
	if w.Decisive != nil {
		q.at.Rule = &w.Decisive.RuleRef
	}
	switch {
	case w.Verdict == "":
		q.at.Unsure = w.Unsure
		return false
	case w.Verdict != netfilter.Accepted:
		return false
	case path[0] == netfilter.Prerouting && w.Packet.Tuple.Destination() != before:
		q.at.Verdict, q.at.Unsure = "", "a rule sends it elsewhere"
		return false
	}
	q.packet = w.Packet
	return true
}
