package trace

import (
	"fmt"
	"net/netip"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// A packet that goes back to where it came from has both addresses translated at
// once. With connection tracking its flow tells; from packets alone that is
// inferred, and what is left to go by has to be such that no other packet has it.

// turnedRound is said of two packets of which nobody can tell whether they are one.
const turnedRound = "both its addresses differ: NAT sent it back, or a program passed it on; nothing in such packets tells"

// returns says how well b can be a on its way back (a hairpin), where both
// addresses differ and no flow is known.
func returns(a, b *sighting) fit {
	s, t := a.tuple, b.tuple
	switch {
	case a.point.Namespace != b.point.Namespace || b.time-a.time > anonymousTime || s.Is4() != t.Is4(),
		a.typ != capture.UnknownType && a.point.Direction == capture.Out, // what leaves here came by no link
		b.typ != capture.UnknownType && b.point.Direction == capture.In,
		s.Source() == t.Destination() && s.Destination() == t.Source(), // an answer
		isLaterPiece(a.h), s.Destination().IsMulticast():
		return fitNone
	}
	switch s.Protocol {
	case packet.TCP:
		if a.h.TCPSeq == 0 && a.h.TCPAck == 0 {
			return fitNone
		}
	case packet.UDP:
		// NAT keeps the asker's port where it can. A process that passes on what
		// it is told has one of its own.
		port, asked := s.SourcePort, s.DestinationPort
		kept := port == t.SourcePort
		if answers(a.h) {
			port, asked = asked, port
			kept = port == t.DestinationPort
		}
		switch {
		case !kept || a.h.PayloadLength == 0:
			return fitNone
		case a.h.IPID == 0 && a.h.FragmentID == 0 && port == asked:
			return fitDoubt // both ends have one port: so may that process
		}
	default:
		return fitNone
	}
	if a.point.Ifindex == b.point.Ifindex {
		return fitSameWay
	}
	return fitBack
}

// notSentBack says that a bridge does not send a packet on, which came in by a port of
// it, because the way goes by that port again and its hairpin mode is off; empty where
// that is not known to be so. to is where the packet goes, behind the translation. The
// bridge forwards what it shows to NAT, which it does with bridge netfilter only; the
// hook forward is behind that (should_deliver and __br_forward,
// net/bridge/br_forward.c).
func (c *Correlator) notSentBack(in *sighting, to netip.Addr) string {
	if in.link == nil || in.link.master == (netinfo.LinkKey{}) || in.point.Direction != capture.In || !c.forBridge(in) {
		return ""
	}
	bridge, port := c.hosts.links[in.link.master], c.hosts.topology.Link(in.link.key)
	if bridge == nil || port == nil || port.Hairpin != netinfo.HairpinOff || c.rulesets[in.point.Namespace].SeesBridged(to.Is4()) != netfilter.True {
		return ""
	}
	w := c.route(in.space, to)
	far := c.hosts.topology.Link(in.link.peer)
	if w.link != bridge.name || far == nil || !slices.ContainsFunc(far.Addresses, func(p netip.Prefix) bool { return p.Addr() == w.next }) {
		return ""
	}
	return fmt.Sprintf("%v is behind %s, by which it came, and %s sends nothing back there: hairpin mode of that port is off",
		w.next, in.link.name, bridge.name)
}

// turnedBack reports whether a packet was last seen on its way back to the port by
// which it came, where it can't be sent, and puts that into v. A bridge that does not
// know its MAC address yet shows it as going out.
func (c *Correlator) turnedBack(hops []sighting, r *ruling, v *Verdict) bool {
	s := &hops[len(hops)-1]
	why := r.back
	if s.point.Direction == capture.Out && s.link != nil && s.link.bridge && len(hops) > 1 && hops[len(hops)-2].link != nil &&
		hops[len(hops)-2].link.master == s.link.key {
		why = c.notSentBack(&hops[len(hops)-2], s.tuple.Destination())
	}
	if why == "" {
		return false
	}
	v.Result, v.Evidence, v.Reason = Dropped, ByRules, why
	return true
}
