package filter

import "natlens/capture/packet"

// bounds says for which IP protocols a node can be true. Both sets are needed:
// what may not be true is found from what must be. All places of a journey have
// one protocol, so that this holds for negations, too.
type bounds struct {
	some  protocolSet // no packet of another protocol matches
	every protocolSet // every packet of these protocols matches
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
