package netfilter

import (
	"net/netip"

	"natlens/capture/packet"
)

// NATOf is NAT where it is known what became of the packet at the hook, as a flow's
// entry tells: ways through the rules that make something else of it were not taken.
// So a rule is found behind what can't be evaluated, such as chance, a mark or who
// sent it, and none is named that sends packets elsewhere. Without a rule that makes
// that of the packet the answer is NoRule.
func (r *Ruleset) NATOf(hook Hook, p Packet, became packet.Tuple) Match {
	side := sideOf(hook)
	return r.matchNAT(hook, p, func(o *outcome) bool {
		if n := o.nats[side]; n.rule != nil {
			return o.spans[side].holds(side, p.Tuple, became)
		}
		return sameEnd(side, p.Tuple, became)
	})
}

// sameEnd reports whether a side is as it was, as it is where no rule translates it. A
// source's port the kernel changes by itself where two flows would be one.
func sameEnd(side int, before, after packet.Tuple) bool {
	if side == sourceNAT {
		return before.Source() == after.Source()
	}
	return before.Destination() == after.Destination() && before.DestinationPort == after.DestinationPort
}

// span is what a rule of NAT may make of one side of a packet.
type span struct {
	known    bool
	from, to netip.Addr // invalid where the kernel takes an address of a link
	ports    [2]uint16
	numbered bool // it names ports
}

// spanOf reads the span of a NAT statement, with the registers as they are.
func (m *machine) spanOf(e *expression) (s span) {
	if e.name == "target" {
		t, ok := decodeTranslation(e)
		s = span{known: ok, ports: t.ports, numbered: t.flags&rangePorts != 0}
		if t.flags&rangeMapAddresses != 0 {
			s.from, s.to = t.from, t.to
		}
		return s
	}
	s.known = true
	if e.address.there {
		s.from, s.known = m.addressIn(e.address)
		if s.to = s.from; s.known && e.addressTo.there {
			s.to, s.known = m.addressIn(e.addressTo)
		}
	}
	if s.numbered = e.port.there; s.known && s.numbered {
		s.ports[0], s.known = m.portIn(e.port)
		if s.ports[1] = s.ports[0]; s.known && e.portTo.there {
			s.ports[1], s.known = m.portIn(e.portTo)
		}
	}
	return s
}

// holds reports whether a rule of that span can have made the one tuple of the other.
func (s span) holds(side int, before, after packet.Tuple) bool {
	address, port, was := after.Destination(), after.DestinationPort, before.DestinationPort
	if side == sourceNAT {
		address, port, was = after.Source(), after.SourcePort, before.SourcePort
	}
	switch {
	case !s.known:
		return true
	case s.from.IsValid() && (address.Less(s.from) || s.to.Less(address)):
		return false
	case !after.HasPorts():
		return true
	case s.numbered:
		return s.ports[0] <= port && port <= s.ports[1]
	}
	return side == sourceNAT || port == was
}
