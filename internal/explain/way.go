package explain

import (
	"cmp"
	"net/netip"
	"slices"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// Step is one namespace on a packet's way out.
type Step struct {
	Namespace *netinfo.Namespace
	In        *netinfo.Link // by which it came in; nil where it begins
	Route     netinfo.Route // the default route it follows
	Out       *netinfo.Link // by which it leaves
	// Source is the address that a masquerade at this step would use: the
	// route's preferred one, else Out's first of that family.
	Source netip.Addr
	// NAT is what the postrouting rules of the namespace do to it. RulesErr is
	// why they could not be read; then NAT is the zero Match.
	NAT      netfilter.Match
	RulesErr error
	RulesOK  bool // NAT was evaluated
	Hidden   bool // among the rules are some that could not be read
}

// maxSteps bounds a way: hosts inside hosts are rarely more than three deep.
const maxSteps = 8

// WayOut follows a packet from a namespace to any address outside, until it
// leaves natlens's own namespace or the next router is not on this host. It is
// empty when the namespace has no default route.
func (f *Facts) WayOut(from netns.ID) []Step {
	var way []Step
	var source netip.Addr
	seen := map[netns.ID]bool{}
	var in *netinfo.Link
	for id := from; !seen[id] && len(way) < maxSteps; {
		seen[id] = true
		n := f.Topology.Namespace(id)
		step, ok := stepOut(n, source)
		if !ok {
			break
		}
		step.In = in
		if len(way) == 0 {
			source = step.Source
		} else {
			f.translate(&step, source)
			if step.NAT.Certainty == netfilter.Covered {
				source = step.Source
			}
		}
		way = append(way, step)
		if id == f.Topology.Self {
			break
		}
		in = f.nextRouter(step)
		if in == nil {
			break
		}
		id = in.Key.Namespace
	}
	return way
}

// stepOut finds the default route with the least metric, IPv4 first; once the
// packet has a source, of that family only.
func stepOut(n *netinfo.Namespace, source netip.Addr) (Step, bool) {
	if n == nil {
		return Step{}, false
	}
	var defaults []netinfo.Route
	for _, r := range n.Routes {
		if r.Default() && r.Link != 0 && (!source.IsValid() || r.Destination.Addr().Is4() == source.Is4()) {
			defaults = append(defaults, r)
		}
	}
	slices.SortStableFunc(defaults, func(a, b netinfo.Route) int {
		if a4, b4 := a.Destination.Addr().Is4(), b.Destination.Addr().Is4(); a4 != b4 {
			return map[bool]int{true: -1, false: 1}[a4]
		}
		return cmp.Compare(a.Metric, b.Metric)
	})
	for _, r := range defaults {
		for _, l := range n.Links {
			if l.Key.Index != r.Link {
				continue
			}
			s := Step{Namespace: n, Route: r, Out: l, Source: r.Source}
			if !s.Source.IsValid() {
				s.Source = firstAddress(l, r.Destination.Addr().Is4())
			}
			return s, true
		}
	}
	return Step{}, false
}

func firstAddress(l *netinfo.Link, is4 bool) netip.Addr {
	for _, p := range l.Addresses {
		if a := p.Addr(); a.Is4() == is4 && !a.IsLinkLocalUnicast() {
			return a
		}
	}
	return netip.Addr{}
}

// nextRouter finds the link that owns the gateway's address, on the other side
// of the link the packet leaves by.
func (f *Facts) nextRouter(s Step) *netinfo.Link {
	if s.Out.Peer == nil || !s.Route.Gateway.IsValid() {
		return nil
	}
	n := f.Topology.Namespace(s.Out.Peer.Key.Namespace)
	if n == nil {
		return nil
	}
	for _, l := range n.Links {
		for _, p := range l.Addresses {
			if p.Addr() == s.Route.Gateway {
				return l
			}
		}
	}
	return nil
}

// translate asks the postrouting rules about a new connection that the packet
// would begin. It bears no mark, as a packet does unless a rule sets one.
func (f *Facts) translate(s *Step, source netip.Addr) {
	rules, asked := f.Rules[s.Namespace.ID]
	s.RulesErr, s.Hidden = rules.Err, rules.Hidden
	if !asked || rules.NAT == nil || !source.IsValid() {
		return
	}
	in := ""
	if s.In != nil {
		in = s.In.Name
	}
	s.RulesOK = true
	s.NAT = rules.NAT(netfilter.Postrouting, netfilter.Packet{
		Tuple:     packet.NewTuple(packet.TCP, source, outsideOf(source), 49152, 80),
		MarkKnown: true, InLink: in, OutLink: s.Out.Name, LocalAddress: s.Namespace.HasAddress,
	})
}

// PublishedBy asks the prerouting rules of natlens's own namespace what they do
// to a connection from outside to a published port. The zero Match when nobody
// could be asked, and for ports published on a loopback address only.
func (f *Facts) PublishedBy(p docker.Port) netfilter.Match {
	rules := f.Rules[f.Topology.Self]
	protocol, ok := map[string]packet.Protocol{"tcp": packet.TCP, "udp": packet.UDP}[p.Protocol]
	to := p.HostAddress.Addr()
	if rules.NAT == nil || !ok || to.IsLoopback() {
		return netfilter.Match{Certainty: netfilter.Unsure}
	}
	self := f.Topology.Namespace(f.Topology.Self)
	step, ok := stepOut(self, to)
	if !ok {
		return netfilter.Match{Certainty: netfilter.Unsure}
	}
	if to.IsUnspecified() {
		to = step.Source
	}
	if !to.IsValid() {
		return netfilter.Match{Certainty: netfilter.Unsure}
	}
	return rules.NAT(netfilter.Prerouting, netfilter.Packet{
		Tuple:     packet.NewTuple(protocol, outsideOf(to), to, 49152, p.HostAddress.Port()),
		MarkKnown: true, InLink: step.Out.Name, LocalAddress: self.HasAddress,
	})
}
