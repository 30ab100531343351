package filter

import "natlens/capture/packet"

// bounds says at which kinds of places a node can be true. Both sets are needed:
// what may not be true is found from what must be.
type bounds struct {
	some  kindSet // true at no place of another kind
	every kindSet // true at every place of these kinds
}

// kindSet is a set of kinds of places: of each version of IP, which protocols. All
// places of a journey have one protocol, and one version of IP, but of a journey that
// tells of both connections of a docker-proxy, which may take IPv6 and send IPv4.
type kindSet [4]protocolSet

// What indexes a kindSet: the version of IP at the place, and where the journey has
// places of both, that.
const (
	only4 = iota
	only6
	mixed4
	mixed6
)

// everyKind is all of them.
var everyKind = kinds(anyFamily, everyProtocol)

// kinds are the places of protocols over a version of IP.
func kinds(over family, p protocolSet) (s kindSet) {
	if over != ip6 {
		s[only4], s[mixed4] = p, p
	}
	if over != ip4 {
		s[only6], s[mixed6] = p, p
	}
	return s
}

// complement is all that is not in s.
func (s kindSet) complement() kindSet {
	for i := range s {
		s[i] = s[i].complement()
	}
	return s
}

func (s kindSet) union(o kindSet) kindSet {
	for i := range s {
		s[i] = s[i].union(o[i])
	}
	return s
}

func (s kindSet) intersection(o kindSet) kindSet {
	for i := range s {
		s[i] = s[i].intersection(o[i])
	}
	return s
}

// anywhere is all places of the journeys that have one in s.
func (s kindSet) anywhere() kindSet {
	s[mixed4] = s[mixed4].union(s[mixed6])
	s[mixed6] = s[mixed4]
	return s
}

// protocols are those of the places.
func (s kindSet) protocols() (p protocolSet) {
	for _, of := range s {
		p = p.union(of)
	}
	return p
}

// protocolSet is a set of IP protocols, a bit for each.
type protocolSet [4]uint64

var everyProtocol = protocolSet{}.complement()

func protocols(list ...packet.Protocol) (s protocolSet) {
	for _, p := range list {
		s[p/64] |= 1 << (p % 64)
	}
	return s
}

func (s protocolSet) complement() protocolSet {
	for i := range s {
		s[i] = ^s[i]
	}
	return s
}

func (s protocolSet) union(o protocolSet) protocolSet {
	for i := range s {
		s[i] |= o[i]
	}
	return s
}

func (s protocolSet) intersection(o protocolSet) protocolSet {
	for i := range s {
		s[i] &= o[i]
	}
	return s
}

// list returns the members in ascending order; nil when all are.
func (s protocolSet) list() []packet.Protocol {
	if s == everyProtocol {
		return nil
	}
	list := []packet.Protocol{}
	for p := range 256 {
		if s[p/64]&(1<<(p%64)) != 0 {
			list = append(list, packet.Protocol(p))
		}
	}
	return list
}
