package probe

import (
	"net"
	"net/netip"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// frameHook is a place where rules see frames: a link's ingress or egress, or a hook of
// a bridge.
type frameHook struct {
	at      netfilter.Hook
	bridge  *netinfo.Link // nil: none
	in, out *netinfo.Link // nil: none there
}

// frameTo is the header that a packet gets when it is sent by a link to a neighbour; not
// known where that is not on this host.
func (p *prediction) frameTo(out *netinfo.Link, next netip.Addr) (f netfilter.Frame) {
	to := p.neighbour(out, next)
	if to == nil {
		return f
	}
	f = netfilter.Frame{Known: true, Source: macOf(out), Destination: macOf(to)}
	if f.Source == ([6]byte{}) || f.Destination == ([6]byte{}) {
		return netfilter.Frame{}
	}
	return f
}

// neighbour finds the link that answers for an address on the wire of another; nil where
// that is not known.
func (p *prediction) neighbour(out *netinfo.Link, next netip.Addr) *netinfo.Link {
	bridge, port := out, (*netinfo.Link)(nil)
	if out.Kind != "bridge" {
		far := p.peer(out)
		if far == nil || far.Master == nil {
			return far
		}
		if bridge, port = p.topology.Link(*far.Master), far; bridge == nil || bridge.Kind != "bridge" {
			return nil
		}
		if p.topology.Namespace(bridge.Key.Namespace).HasAddress(next) {
			return bridge
		}
	}
	if to := p.portTo(bridge, next, port); to != nil {
		return p.peer(to)
	}
	return nil
}

// peer is the other end of a veth; nil where it is not on this host.
func (p *prediction) peer(l *netinfo.Link) *netinfo.Link {
	if l.Peer == nil {
		return nil
	}
	return p.topology.Link(l.Peer.Key)
}

// macOf is zero where a link has none.
func macOf(l *netinfo.Link) (mac [6]byte) {
	if a, err := net.ParseMAC(l.MAC); err == nil && len(a) == len(mac) {
		mac = [6]byte(a)
	}
	return mac
}

// frame shows the packet to the rules of frames; false when that is the end.
func (p *prediction) frame(s *Stage, h frameHook) bool {
	// linux/if_packet.h
	const forHost, forOther = 0, 3
	as, takes := p.packet, h.in
	p.packet.Bridged = h.bridge != nil || h.at == netfilter.Egress
	p.packet.InLink, p.packet.OutLink, p.packet.InPort, p.packet.OutPort, p.packet.Bridge = "", "", "", "", ""
	if h.in != nil {
		p.packet.InLink = h.in.Name
	}
	if h.out != nil {
		p.packet.OutLink = h.out.Name
	}
	if h.bridge != nil {
		p.packet.Bridge, takes = h.bridge.Name, h.bridge
	}
	if p.packet.Frame.Type = forOther; takes != nil && macOf(takes) == p.packet.Frame.Destination {
		p.packet.Frame.Type = forHost
	}
	to, frame := p.packet.Tuple.Destination(), p.packet.Frame
	if !p.walk(s, netfilter.Path{h.at}) {
		return false
	}
	if p.packet.Tuple.Destination() != to || p.packet.Frame != frame {
		p.unsure("a rule of %s changes the header of the frame", s.Namespace.Name)
		return false
	}
	p.packet.Bridged, p.packet.Bridge = false, ""
	p.packet.InLink, p.packet.OutLink, p.packet.InPort, p.packet.OutPort = as.InLink, as.OutLink, as.InPort, as.OutPort
	return true
}

// bridged evaluates the rules that see a packet which a bridge switches: those of links,
// those of the family bridge, and with bridge netfilter those of IP. false when
// that is the end, or when a rule of IP sends the packet elsewhere.
func (p *prediction) bridged(s *Stage, n *netinfo.Namespace, bridge, in, out *netinfo.Link) bool {
	p.enter(n)
	if !p.frame(s, frameHook{at: netfilter.Ingress, in: in}) || !p.frame(s, frameHook{at: netfilter.Prerouting, bridge: bridge, in: in}) {
		return false
	}
	to := p.packet.Tuple.Destination()
	asked := p.bridgeFilter(n, to.Is4())
	p.packet.InLink, p.packet.OutLink, p.packet.InPort, p.packet.OutPort = bridge.Name, "", in.Name, ""
	if asked && !p.walk(s, netfilter.Path{netfilter.Prerouting}) {
		return false
	}
	if p.packet.Tuple.Destination() != to {
		p.passOn(s, n, bridge)
		return false
	}
	p.packet.OutLink, p.packet.OutPort = bridge.Name, out.Name
	for _, hook := range []netfilter.Hook{netfilter.Forward, netfilter.Postrouting} {
		if !p.frame(s, frameHook{at: hook, bridge: bridge, in: in, out: out}) || asked && !p.walk(s, netfilter.Path{hook}) {
			return false
		}
	}
	return true
}

// comesIn takes the packet to the routing decision of a namespace: by the ingress of its
// link and, where that is a bridge, by its port.
func (p *prediction) comesIn(s *Stage, n *netinfo.Namespace, in, port *netinfo.Link) bool {
	prerouting := netfilter.Path{netfilter.Prerouting}
	if port == nil {
		return p.frame(s, frameHook{at: netfilter.Ingress, in: in}) && p.walk(s, prerouting)
	}
	if !p.frame(s, frameHook{at: netfilter.Ingress, in: port}) || !p.frame(s, frameHook{at: netfilter.Prerouting, bridge: in, in: port}) {
		return false
	}
	asked := p.bridgeFilter(n, p.packet.Tuple.Is4())
	if asked && !p.walk(s, prerouting) {
		return false
	}
	if !p.frame(s, frameHook{at: netfilter.Input, bridge: in, in: port}) || !p.frame(s, frameHook{at: netfilter.Ingress, in: in}) {
		return false
	}
	return asked || p.walk(s, prerouting)
}

// sentByBridge shows a packet that a bridge's own link sends to the rules of the family
// bridge.
func (p *prediction) sentByBridge(s *Stage, bridge, out *netinfo.Link) bool {
	return p.frame(s, frameHook{at: netfilter.Egress, out: bridge}) &&
		p.frame(s, frameHook{at: netfilter.Output, bridge: bridge, out: out}) &&
		p.frame(s, frameHook{at: netfilter.Postrouting, bridge: bridge, out: out})
}
