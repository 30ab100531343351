// Package filter is the language in which a person says which journeys to see.
//
// It is the part of pcap-filter(7) that is about IP, with the same meaning, and
// a word for containers:
//
//	icmp  icmp6  tcp  udp  sctp  ip  ip6
//	[ip|ip6] [src|dst] host ADDRESS
//	[ip|ip6] [src|dst] net ADDRESS[/LENGTH]   also net 10.1, net A mask M
//	[tcp|udp|sctp] [src|dst] port NUMBER|SERVICE
//	[tcp|udp|sctp] [src|dst] portrange FROM-TO
//	[src|dst] container NAME
//	NAME|ADDRESS
//	not X, ! X    X and Y, X && Y    X or Y, X || Y    ( X )
//
// "src or dst" (the default) and "src and dst" stand where src and dst do. As in
// pcap-filter(7), not binds tightest, and and or bind alike, from left to right;
// an identifier behind and or or that says not what it is, is what the one before
// it was: "port 80 or 443". A service's name stands for its number, whatever the
// protocol, and comes from a fixed table, so that a filter means the same on
// every host.
//
// Other than there, a word by itself is a container's name, and an address only
// when no container is called so; names are never looked up as host names.
package filter

import (
	"net/netip"
	"slices"

	"natlens/capture/packet"
	"natlens/trace"
)

// Filter picks journeys. It is immutable and safe for concurrent use. The zero
// Filter and a nil one pick every journey.
type Filter struct {
	root node
}

// Match reports whether the filter picks j: whether its whole expression is true
// of the packet as any hop saw it. Translation is no obstacle: a hop that knows
// the address before is enough, or, where no tap saw that side of a translation,
// what connection tracking says the packet looked like there. By the same rule
// "not host A" picks a journey on which some hop does not show A. A journey
// without hops is judged by its endpoints.
//
// "container" is a property of the journey rather than of a hop: the packet was
// seen in that container's namespace or at the host's end of its veth, or begins
// or ends there.
func (f *Filter) Match(j *trace.Journey) bool {
	if f == nil || f.root == nil {
		return true
	}
	s := sighting{journey: j, protocol: j.Protocol}
	for i := range j.Hops {
		h := &j.Hops[i].Headers
		const withPorts = packet.LayerTCP | packet.LayerUDP | packet.LayerSCTP
		s.set(h.Tuple, h.Layers&withPorts != 0)
		if f.root.match(&s) {
			return true
		}
	}
	for i := range j.Translations {
		t := &j.Translations[i]
		for side, tuple := range [...]packet.Tuple{t.Before, t.After} {
			if t.Between[side] >= 0 || !tuple.Valid() {
				continue
			}
			s.set(tuple, tuple.HasPorts())
			if f.root.match(&s) {
				return true
			}
		}
	}
	if len(j.Hops) > 0 {
		return false
	}
	s.protocol = j.Protocol
	s.source, s.destination = j.From.IP.Unmap(), j.To.IP.Unmap()
	s.sourcePort, s.destinationPort = j.From.Port, j.To.Port
	s.ports = s.sourcePort != 0 || s.destinationPort != 0
	return f.root.match(&s)
}

// Protocols returns the IP protocols of the packets that can make the filter
// pick a journey, in ascending order: a capture that takes only these misses
// nothing, whatever is translated on the way. It is nil when any protocol can,
// and empty but not nil when none can.
func (f *Filter) Protocols() []packet.Protocol {
	if f == nil || f.root == nil {
		return nil
	}
	return f.root.bounds().some.list()
}

// String returns the expression with nothing left to be implied. Parsing it
// gives the same filter. It is empty for a filter that picks everything.
func (f *Filter) String() string {
	if f == nil || f.root == nil {
		return ""
	}
	return f.root.String()
}

// sighting is the packet as it was at one place.
type sighting struct {
	journey                     *trace.Journey
	protocol                    packet.Protocol
	source, destination         netip.Addr
	ports                       bool // false for later fragments, too
	sourcePort, destinationPort uint16
}

func (s *sighting) set(t packet.Tuple, ports bool) {
	s.protocol = t.Protocol
	s.source, s.destination = t.Source(), t.Destination()
	s.ports = ports
	s.sourcePort, s.destinationPort = t.SourcePort, t.DestinationPort
}

func (s *sighting) is4() bool { return s.source.Is4() || s.destination.Is4() }
func (s *sighting) is6() bool { return s.source.Is6() || s.destination.Is6() }

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
