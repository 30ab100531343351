package trace

import (
	"fmt"
	"net/netip"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// neighbours are the addresses whose MAC address a namespace has asked for.
type neighbours map[neighbourKey]*whoHas

type neighbourKey struct {
	namespace netns.ID
	address   netip.Addr
}

// whoHas is one of them.
type whoHas struct {
	link     string
	at       [8]int64 // when it was asked, the last ones
	times    int
	answered int64 // when an answer came last; 0: never
}

const (
	keepAsked = 20e9
	maxAsked  = 4096
	// giveUp is how long the kernel asks before it gives up: three times, a second
	// apart (neigh(7), mcast_solicit and retrans_time_ms). What waits meanwhile is
	// dropped then.
	giveUp = 3e9

	arpRequest                                    = 1
	neighbourSolicitation, neighbourAdvertisement = 135, 136
)

// see takes in a message of address resolution. A bridge's port only passes on what
// others ask.
func (n neighbours) see(o *capture.Observation, s *sighting) {
	h := &o.Headers
	arp := h.Layers.Has(packet.LayerARP)
	if s.link == nil || s.link.master != (netinfo.LinkKey{}) || !arp && h.ICMPType != neighbourSolicitation && h.ICMPType != neighbourAdvertisement {
		return
	}
	key := neighbourKey{namespace: s.point.Namespace}
	switch {
	case s.point.Direction == capture.In && arp:
		key.address = h.Tuple.Source() // who asks tells its own address, too
	case s.point.Direction == capture.In && h.ICMPType == neighbourAdvertisement:
		key.address = targetOf(o)
	case s.point.Direction == capture.In:
		key.address = h.Tuple.Source()
	case arp && h.ARPOperation == arpRequest:
		key.address = h.Tuple.Destination()
	case !arp && h.ICMPType == neighbourSolicitation:
		key.address = targetOf(o)
	}
	if !key.address.IsValid() {
		return
	}
	x := n[key]
	if s.point.Direction == capture.In {
		if x != nil {
			x.answered = o.Time
		}
		return
	}
	if x == nil {
		if len(n) >= maxAsked {
			return
		}
		x = &whoHas{}
		n[key] = x
	}
	x.link = s.link.name
	x.at[x.times%len(x.at)] = o.Time
	x.times++
}

func (n neighbours) sweep(now int64) {
	for key, x := range n {
		if x.at[(x.times-1)%len(x.at)] < now-keepAsked {
			delete(n, key)
		}
	}
}

// unresolved says that a packet which came in could not be sent on, because nobody
// answered when the namespace asked for the MAC address of its next hop; empty when
// that was not seen.
func (c *Correlator) unresolved(s *sighting) string {
	w := c.wayTo(s, c.behind(s))
	x := c.asking[neighbourKey{s.point.Namespace, w.next}]
	if w.next == (netip.Addr{}) || x == nil || x.answered >= s.time-giveUp {
		return ""
	}
	n := 0
	for _, at := range x.at {
		if at != 0 && at >= s.time-giveUp {
			n++
		}
	}
	words := "%s asked %d times who has %v, and nobody answered"
	switch {
	case n == 0:
		return ""
	case n == 1:
		return fmt.Sprintf("%s asked who has %v, and nobody answered", x.link, w.next)
	case n == len(x.at):
		words = "%s asked at least %d times who has %v, and nobody answered"
	}
	return fmt.Sprintf(words, x.link, n, w.next)
}

// behind is where a packet that came in goes when its destination is translated.
func (c *Correlator) behind(s *sighting) netip.Addr {
	if r := s.flow; r.flow != nil && !r.about {
		return r.flow.direction(r.reply).after.Destination()
	}
	if d, ok := c.redirected(s); ok {
		return d.after.Destination()
	}
	return s.tuple.Destination()
}

func (c *Correlator) seeARP(o *capture.Observation) {
	p := o.Point()
	at := c.hosts.at(p)
	s := sighting{seen: seen{point: p, link: at.link}}
	c.asking.see(o, &s)
	if x := c.counted[p.Namespace]; x != nil {
		x.resolves(o.Time)
	}
	if c.sink.ARP == nil {
		return
	}
	c.sink.ARP(ARP{
		Time: o.Time, Point: p, Type: o.Type, Namespace: at.space.name, Interface: s.linkName(), Target: targetOf(o), Hardware: hardwareOf(o),
		Membership: o.Headers.Membership(o.Data), Groups: o.Headers.Memberships(o.Data), Headers: o.Headers,
	})
}

// targetOf reads the target of a neighbour solicitation, an advertisement or a
// redirect: 16 bytes behind the first 8 of the message (RFC 4861, sections 4.3
// to 4.5).
func targetOf(o *capture.Observation) netip.Addr {
	h := &o.Headers
	begin := int(h.TransportOffset) + 8
	if h.Layers.Has(packet.LayerARP) || h.ICMPType < 135 || h.ICMPType > 137 || begin+16 > len(o.Data) {
		return netip.Addr{}
	}
	return netip.AddrFrom16([16]byte(o.Data[begin:]))
}

// hardwareOf reads which MAC address a message of address resolution tells: ARP its
// sender's (RFC 826), an advertisement its target's in an option, or by the frame that
// it came in (RFC 4861, sections 4.4 and 4.6.1). A capture of all links has no frames.
func hardwareOf(o *capture.Observation) [6]byte {
	h := &o.Headers
	const options, targetLinkLayer = 8 + 16, 2
	switch {
	case h.Layers.Has(packet.LayerARP):
		if at := int(h.NetworkOffset) + 8; h.Tuple.Valid() && at+6 <= len(o.Data) {
			return [6]byte(o.Data[at:])
		}
		return [6]byte{}
	case h.ICMPType != neighbourAdvertisement || !targetOf(o).IsValid():
		return [6]byte{}
	}
	for b := o.Data[int(h.TransportOffset)+options:]; len(b) >= 8 && b[1] != 0; b = b[min(int(b[1])*8, len(b)):] {
		if b[0] == targetLinkLayer && b[1] == 1 {
			return [6]byte(b[2:])
		}
	}
	return h.SourceMAC // zero without Ethernet
}
