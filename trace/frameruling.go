package trace

import (
	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// frameOf is the header of the frame as the tap saw it.
func frameOf(s *sighting) netfilter.Frame {
	if !s.h.Layers.Has(packet.LayerEthernet) {
		return netfilter.Frame{}
	}
	return netfilter.Frame{Known: true, Source: s.h.SourceMAC, Destination: s.h.DestinationMAC, Type: uint8(s.typ), VLAN: tagOf(s)}
}

// comesIn takes a packet through the ingress of its link, which comes behind the
// tap, and into the bridge that the link is a port of.
func (c *Correlator) comesIn(r *ruling, s *sighting, p *netfilter.Packet) bool {
	p.InLink, p.InPort = s.link.name, ""
	if !r.pass(netfilter.Path{netfilter.Ingress}, p) {
		return false
	}
	if s.link.master == (netinfo.LinkKey{}) {
		return true
	}
	p.Bridged, p.Bridge = true, c.hosts.layer3(s.link)
	if p.Frame.Known && c.forBridge(s) {
		p.Frame.Type = uint8(capture.Host) // br_handle_frame
	}
	frame := *p
	ok := c.bridgeHook(r, netfilter.Prerouting, p, asRouted(frame, s.link.name, ""))
	p.Bridged = false
	return ok
}

// asRouted is a bridged packet as bridge netfilter shows it to the rules of IP.
func asRouted(p netfilter.Packet, in, out string) netfilter.Packet {
	p.Bridged, p.InLink, p.InPort = false, p.Bridge, in
	if out != "" || p.OutLink != "" {
		p.OutLink, p.OutPort = p.Bridge, out
	}
	return p
}

// bridgeHook shows the packet to the rules of the family bridge. Bridge netfilter stands
// among them, at priority 0: where a rule behind it drops what IP's rules drop,
// too, it is not known which came first. ip is what those see.
func (c *Correlator) bridgeHook(r *ruling, hook netfilter.Hook, p *netfilter.Packet, ip netfilter.Packet) bool {
	if r.pass(netfilter.Path{hook}, p) {
		return true
	}
	if r.Verdict == "" || len(r.Steps) == 0 || r.Steps[len(r.Steps)-1].Chain.Priority < 0 || r.rules.SeesBridged(ip.Tuple.Is4()) == netfilter.False {
		return false
	}
	if r.rules.Walk(netfilter.Path{hook}, ip).Verdict != netfilter.Accepted {
		r.doubt("whether a rule of the bridge or one of IP came first is not known")
	}
	return false
}

// upToBridge takes a frame that is for its bridge from the port to the bridge's own
// link.
func (c *Correlator) upToBridge(r *ruling, s *sighting, p *netfilter.Packet) bool {
	p.Bridged, p.InLink, p.InPort = true, s.link.name, ""
	if !r.pass(netfilter.Path{netfilter.Input}, p) {
		return false
	}
	p.Bridged, p.InLink = false, p.Bridge
	return r.pass(netfilter.Path{netfilter.Ingress}, p)
}

// backToBridge is upToBridge for what bridge netfilter translated so that it goes to
// another port: the bridge forwards it then (br_nf_pre_routing_finish), with a header that
// is not known.
func (c *Correlator) backToBridge(r *ruling, s *sighting, p *netfilter.Packet) bool {
	p.Bridged, p.InLink, p.InPort, p.Frame = true, s.link.name, "", netfilter.Frame{}
	ok := r.pass(netfilter.Path{netfilter.Forward}, p)
	p.Bridged = false
	return ok
}

// acrossBridge evaluates what happens to a frame that a bridge is to pass on to
// another of its ports: the rules of the family bridge, those of IP where bridge
// netfilter asks them, and the egress of that port.
func (c *Correlator) acrossBridge(r *ruling, s *sighting, p netfilter.Packet) {
	in, out, bridge := s.link.name, c.portTo(s, s.link.master), c.hosts.layer3(s.link)
	r.to, r.link = p.Tuple.Destination(), bridge
	seen := r.rules.SeesBridged(p.Tuple.Is4())
	ip := func(hook netfilter.Hook) bool {
		if seen != netfilter.True {
			return true
		}
		translated := p.Translated
		p = asRouted(p, in, out)
		if hook != netfilter.Prerouting {
			p.OutLink, p.OutPort = bridge, out
		}
		ok := r.pass(netfilter.Path{hook}, &p)
		p.Translated = translated
		return ok
	}
	frame := func(hook netfilter.Hook) bool {
		p.Bridged, p.InLink, p.InPort, p.OutLink, p.OutPort = true, in, "", out, ""
		return c.bridgeHook(r, hook, &p, asRouted(p, in, out))
	}
	to := p.Tuple
	ok := ip(netfilter.Prerouting)
	if s.flow.flow == nil && !c.tracks(s) {
		p.Tuple = to // without connection tracking nothing is translated
	}
	if p.Tuple != to { // it goes to another address now, by a header that is not known
		out, p.Frame = "", netfilter.Frame{}
	}
	if ok && c.deadPort(s) != "" {
		return // no hook behind that is asked
	}
	ok = ok && frame(netfilter.Forward) && ip(netfilter.Forward) &&
		frame(netfilter.Postrouting) && ip(netfilter.Postrouting)
	switch {
	case !ok:
	case seen == netfilter.NotKnown:
		r.doubt("whether the rules of IP see what is bridged is not known")
	default:
		frame(netfilter.Egress)
	}
}

// ruleOfSent evaluates what happens to a packet that a bridge's own link sends: which
// rules it meets between that link's tap and the port's.
func (c *Correlator) ruleOfSent(rules *netfilter.Ruleset, s *sighting) (r ruling) {
	r.rules, r.piece = rules, isLaterPiece(s.h)
	if c.deadPort(s) != "" {
		return r // no hook is asked
	}
	p := netfilter.Packet{
		Tuple: s.tuple, LocalAddress: s.space.has, Length: s.h.Length, TCPFlags: s.h.TCPFlags, TCPFlagsKnown: s.h.Layers.Has(packet.LayerTCP),
		Bridged: true, Bridge: s.link.name, OutLink: c.portTo(s, s.link.key), Frame: frameOf(s),
	}
	if s.flow.flow != nil && !s.flow.about {
		c.known(&p, s)
	}
	for _, hook := range []netfilter.Hook{netfilter.Output, netfilter.Postrouting, netfilter.Egress} {
		if !r.pass(netfilter.Path{hook}, &p) {
			return r
		}
	}
	return r
}

// portTo is the port of a bridge behind which the frame's destination is: the one whose
// other end has that address. Empty where there is none, or several.
func (c *Correlator) portTo(s *sighting, bridge netinfo.LinkKey) (name string) {
	if !s.h.Layers.Has(packet.LayerEthernet) {
		return ""
	}
	for _, port := range c.hosts.topology.Ports(bridge) {
		l := c.hosts.links[port.Key]
		if l == nil || l == s.link {
			continue
		}
		if far := c.hosts.links[l.peer]; far == nil || far.mac != s.h.DestinationMAC {
			continue
		}
		if name != "" {
			return ""
		}
		name = l.name
	}
	return name
}

// stopsAtIngress reports whether a rule at the link by which a packet came in is sure to
// drop it, behind the tap.
func (c *Correlator) stopsAtIngress(s *sighting) bool {
	rules := c.rulesets[s.point.Namespace]
	if rules == nil || !rules.HasIngress(s.link.name) || s.inPieces() || !s.tuple.Valid() || !c.mayRule() {
		return false
	}
	w := rules.Walk(netfilter.Path{netfilter.Ingress}, netfilter.Packet{
		Tuple: s.tuple, InLink: s.link.name, Length: s.h.Length, MarkKnown: !rules.SetsMarks(), LocalAddress: s.space.has,
		TCPFlags: s.h.TCPFlags, TCPFlagsKnown: s.h.Layers.Has(packet.LayerTCP), Frame: frameOf(s),
	})
	return w.Verdict == netfilter.Dropped
}

// ofFrame reports whether what ended the packet's way stands where connection tracking
// has no part.
func (r *ruling) ofFrame() bool {
	id, _ := r.decisive()
	return id.Family == "bridge" || id.Family == "netdev" || r.Hook == netfilter.Ingress
}
