package trace

import (
	"natlens/capture"
	"natlens/capture/packet"
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
