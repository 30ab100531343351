package filter

import (
	"net/netip"
	"slices"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/trace"
)

// sighting is the packet as it was at one place: at a hop, or on a side of a
// translation that no tap saw. It is passed by value, so that Match needs no
// memory.
type sighting struct {
	journey *trace.Journey
	// hop is nil where no tap saw the packet.
	hop *trace.Hop
	// headers are what the packet says of itself but for addresses and ports;
	// nil when no hop is known. Where no tap saw the packet they are those of a
	// hop next to it.
	headers *packet.Headers

	protocol                    packet.Protocol
	source, destination         netip.Addr
	ports                       bool // false for later fragments, too
	sourcePort, destinationPort uint16

	// negations holds the truth of those that were judged so far.
	negations truths
}

// somewhere reports whether n is true of the packet at any place of the journey.
func somewhere(n node, j *trace.Journey, known truths) bool {
	for i := range j.Hops {
		h := &j.Hops[i]
		s := sighting{journey: j, hop: h, headers: &h.Headers, negations: known}
		const withPorts = packet.LayerTCP | packet.LayerUDP | packet.LayerSCTP
		s.set(h.Headers.Tuple, h.Headers.Layers&withPorts != 0)
		if n.match(s) {
			return true
		}
	}
	for i := range j.Translations {
		t := &j.Translations[i]
		for side, tuple := range [...]packet.Tuple{t.Before, t.After} {
			if t.Between[side] >= 0 || !tuple.Valid() {
				continue
			}
			s := sighting{journey: j, headers: headersNear(j, t.Between[1-side]), negations: known}
			s.set(tuple, tuple.HasPorts())
			if n.match(s) {
				return true
			}
		}
	}
	if len(j.Hops) > 0 {
		return false
	}
	s := sighting{journey: j, negations: known, protocol: j.Protocol}
	s.source, s.destination = j.From.IP.Unmap(), j.To.IP.Unmap()
	s.sourcePort, s.destinationPort = j.From.Port, j.To.Port
	s.ports = s.sourcePort != 0 || s.destinationPort != 0
	return n.match(s)
}

// headersNear returns the headers of a hop, or of the first when there is no
// such hop; nil when there is none at all.
func headersNear(j *trace.Journey, hop int) *packet.Headers {
	if hop < 0 || hop >= len(j.Hops) {
		hop = 0
	}
	if len(j.Hops) == 0 {
		return nil
	}
	return &j.Hops[hop].Headers
}

func (s *sighting) set(t packet.Tuple, ports bool) {
	s.protocol = t.Protocol
	s.source, s.destination = t.Source(), t.Destination()
	s.ports = ports
	s.sourcePort, s.destinationPort = t.SourcePort, t.DestinationPort
}

func (s *sighting) is4() bool { return s.source.Is4() || s.destination.Is4() }
func (s *sighting) is6() bool { return s.source.Is6() || s.destination.Is6() }

// has reports whether every layer was found in the packet.
func (s *sighting) has(l packet.Layers) bool { return s.headers != nil && s.headers.Layers.Has(l) }

// link returns the link that the packet was seen at; nil when it is not known.
func (s *sighting) link() *netinfo.Link {
	if s.hop == nil {
		return nil
	}
	return s.journey.Topology.Link(netinfo.LinkKey{Namespace: s.hop.Point.Namespace, Index: s.hop.Point.Ifindex})
}

// from reports whether the journey begins in the container, to whether it ends
// there, at whether it passes it.
func (s *sighting) from(name string) bool { return isEndpoint(&s.journey.From, name) }
func (s *sighting) to(name string) bool   { return isEndpoint(&s.journey.To, name) }

func (s *sighting) at(name string) bool {
	if s.from(name) || s.to(name) {
		return true
	}
	for i := range s.journey.Hops {
		h := &s.journey.Hops[i]
		if slices.Contains(h.Containers, name) || slices.Contains(h.PeerContainers, name) {
			return true
		}
	}
	return false
}

func isEndpoint(e *trace.Endpoint, name string) bool {
	return e.Name == name || slices.Contains(e.Containers, name)
}

// truths is a bit for each negation of an expression.
type truths struct {
	low  uint64
	more []uint64 // those from 64 on; nil in expressions that people write
}

func newTruths(n int) truths {
	if n <= 64 {
		return truths{}
	}
	return truths{more: make([]uint64, (n-1)/64)}
}

func (t *truths) set(i int) {
	if i < 64 {
		t.low |= 1 << i
		return
	}
	t.more[i/64-1] |= 1 << (i % 64)
}

func (t *truths) has(i int) bool {
	if i < 64 {
		return t.low>>i&1 != 0
	}
	return t.more[i/64-1]>>(i%64)&1 != 0
}
