package trace

import (
	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
)

// fit says how well one sighting follows another, worst first.
type fit uint8

const (
	fitNone    fit = iota
	fitDoubt       // it may be the same packet with both addresses changed, or another's
	fitBack        // no flow is known, and both addresses changed: it turned round
	fitSameWay     // the same, and it left by the link it came from
	fitGuess       // no flow is known, but one address stayed: only if nothing else fits
	fitLoose       // the tuple is the same, a hop between may be missing
	fitSpace       // both in one namespace, same tuple or same flow
	fitDirect      // the two ends of a veth, a bridge and its port
	fitStamp       // the same, and one stamp: one buffer in the kernel's memory
)

// guessed reports whether the two are joined only if nothing else fits as well.
func (f fit) guessed() bool { return f > fitDoubt && f <= fitGuess }

// candidates is what find made of the open journeys that a sighting may belong to.
type candidates struct {
	index int32
	entry *entry // it belongs to; nil: to none
	// duplicate is the id of a journey that began with the same packet at the same
	// point.
	duplicate uint64
	// doubtful may be the same packet, which nothing tells; zero unless entry is nil.
	doubtful handle
}

// find returns which of the open journeys from head on, in the chain of their print,
// the sighting belongs to. Where several fit equally the oldest is taken: queues
// keep order.
func (c *Correlator) find(head int32, s *sighting) (found candidates) {
	best, equals, several := fitNone, 0, false
	for i := head; i >= 0; {
		e := c.slab.at(i)
		f, used := c.fits(e, s)
		switch {
		case used:
			// Prints can be alike: there is no identification in IPv6.
			if found.duplicate == 0 && e.hops()[0].point == s.point && e.hops()[0].h.Tuple == s.h.Tuple && sameBytes(e.data(), 0, c.judged) {
				found.duplicate = e.id
			}
		case f > best:
			best, found.index, found.entry, equals, several = f, i, e, 0, false
		case f == best && f != fitNone:
			equals++
			several = several || e.hops()[0].tuple != found.entry.hops()[0].tuple
		}
		i = e.next
	}
	switch {
	case best == fitNone:
		return found
	case best <= fitGuess && several, best == fitDoubt:
		if best == fitDoubt && !several {
			found.doubtful = handle{found.index, found.entry.generation}
		}
		found.index, found.entry = 0, nil
		return found
	}
	if equals > 0 {
		found.index, found.entry = c.choose(head, s, best)
	}
	if best.guessed() {
		found.entry.inferred = true
		if c.foreign {
			c.inferFlow(found.entry, s)
		}
	}
	return found
}

// fits says how well the sighting fits any hop of the journey, and whether its
// point is used already.
func (c *Correlator) fits(e *entry, s *sighting) (best fit, used bool) {
	if c.foreign && !e.sameContent(s.h, c.judged) {
		return fitNone, false
	}
	again := false
	for k := range e.hops() {
		h := &e.hops()[k]
		if h.point == s.point {
			if !h.extent.meets(s.extent) {
				continue
			}
			if !again && !c.anonymous(e, s) {
				return fitNone, true
			}
			again = true
		}
		if h.flow.flow == nil && s.flow.flow != nil && h.point.Namespace == s.point.Namespace && !c.foreign {
			h.flow = c.trackedAs(h) // it was judged a moment before its flow was told of
		}
		if s.extent.kind == extentFragment && h.extent.kind == extentFragment &&
			isLaterPiece(h.h) && isLaterPiece(s.h) && h.h.FragmentID != s.h.FragmentID {
			continue // it has no ports to tell it from another datagram's
		}
		best = max(best, c.either(h, s))
	}
	return best, false
}

// either is the fit of two sightings in the order of their time, or, where the
// time is the same, in the order that fits.
func (c *Correlator) either(a, b *sighting) fit {
	switch {
	case a.time < b.time:
		return c.follows(a, b)
	case a.time > b.time:
		return c.follows(b, a)
	}
	return max(c.follows(a, b), c.follows(b, a))
}

// follows says how well b can be the next sighting after a.
func (c *Correlator) follows(a, b *sighting) fit {
	if !a.extent.meets(b.extent) {
		return fitNone
	}
	if c.foreign {
		return c.mayFollow(a, b)
	}
	equal := alike(a, b)
	if a.point.Namespace != b.point.Namespace {
		return c.crosses(a, b, equal)
	}
	place := passes(a, b)
	if place == fitNone {
		return fitNone
	}
	switch {
	case equal && place == fitDirect && a.time == b.time:
		return fitStamp
	case equal && tagOf(a) != tagOf(b) && place == fitDirect:
		// A VLAN's link takes the tag off, and so may a bridge's port. What
		// kept it fits better.
		return fitLoose
	case equal, a.flow.same(b.flow), b.flow.flow == nil && c.outlived(a, b).flow != nil, c.zoned && c.carries(a, b):
		return place
	case a.flow.flow == nil && b.flow.flow == nil && keepsOneSide(a, b):
		if c.leads(a, b) {
			return place
		}
		return fitGuess
	}
	return fitNone
}

// alike reports whether nothing was translated between two sightings, nor in
// what an error quotes.
func alike(a, b *sighting) bool {
	return a.tuple == b.tuple && a.quotes == b.quotes && (!a.quotes || a.h.Quoted == b.h.Quoted)
}

// tagOf returns the VLAN that the packet is tagged for; 0 means none, as the tag
// itself has it (IEEE 802.1Q, 9.6).
func tagOf(s *sighting) uint16 {
	if !s.h.Layers.Has(packet.LayerVLAN) {
		return 0
	}
	return s.h.VLAN
}

// passes says whether a packet seen as a can be seen as b next, both in one
// namespace.
func passes(a, b *sighting) fit {
	known := a.link != nil && b.link != nil
	switch {
	case a.point.Direction == capture.In && b.point.Direction == capture.In:
		// Up a stack of links: port to bridge, parent to macvlan or VLAN.
		if known && (a.link.master == b.link.key || b.link.parent == a.link.key) {
			return fitDirect
		}
		if !known {
			return fitLoose
		}
	case a.point.Direction == capture.In: // then out: bridged or forwarded
		if known && a.link.master != (netinfo.LinkKey{}) && a.link.master == b.link.master {
			return fitDirect
		}
		return fitSpace
	case b.point.Direction == capture.Out:
		// Down a stack of links.
		if known && (b.link.master == a.link.key || a.link.parent == b.link.key) {
			return fitDirect
		}
		if !known {
			return fitLoose
		}
	default: // out, then in: loopback, or a veth with both ends here
		if known && (a.link.loop && a.link == b.link || a.link.peer == b.link.key) {
			return fitDirect
		}
	}
	return fitNone
}

// crosses is the fit of sightings in two namespaces.
func (c *Correlator) crosses(a, b *sighting, equal bool) fit {
	if a.link == nil || b.link == nil {
		if equal && a.point.Direction == capture.Out {
			return fitLoose
		}
		return fitNone
	}
	// Over a wire nothing is rewritten, and no tag is put on or taken off.
	if equal && tagOf(a) == tagOf(b) && a.point.Direction == capture.Out && b.point.Direction == capture.In && a.link.peer == b.link.key {
		switch {
		case a.time == b.time:
			return fitStamp
		case !b.space.watched(a.time):
			// Its ring came later, so that what was sent meanwhile fits better.
			return fitLoose
		}
		return fitDirect
	}
	// macvlan, ipvlan, VLAN: a link here, its parent there.
	if equal && stacked(a, b) {
		if a.time == b.time {
			return fitStamp
		}
		return fitDirect
	}
	// A hop between may be missing: its ring came late or lost it.
	if a.point.Direction == capture.Out && a.link.peer.Namespace == b.point.Namespace && a.link.peer != b.link.key {
		if equal || c.flowOf(b.point.Namespace, a.h, a.time).same(b.flow) {
			return fitLoose
		}
	}
	if b.point.Direction == capture.In && b.link.peer.Namespace == a.point.Namespace && b.link.peer != a.link.key {
		if equal || c.flowOf(a.point.Namespace, b.h, b.time).same(a.flow) {
			return fitLoose
		}
	}
	return fitNone
}

// stacked reports whether b can be the next sighting after a where one's link
// stands on the other's: down to the parent on the way out (which shows what goes
// on to a neighbour on the same parent as coming in), up from it on the way in.
func stacked(a, b *sighting) bool {
	if a.point.Direction == capture.Out {
		return a.link.parent == b.link.key
	}
	return b.point.Direction == capture.In && b.link.parent == a.link.key
}

// keepsOneSide reports whether b can be a with one side translated: protocol and one
// end stay. It keeps a question and its echo apart. Destinations are changed on the
// way in and sources on the way out (netfilter's hooks), so that between two taps of
// one way only one of them can be.
func keepsOneSide(a, b *sighting) bool {
	s, t := a.tuple, b.tuple
	if !keepsOne(s, t) {
		return false
	}
	source, destination := s.Source() == t.Source(), s.Destination() == t.Destination()
	if s.Protocol == packet.UDP {
		source = source && s.SourcePort == t.SourcePort
		destination = destination && s.DestinationPort == t.DestinationPort
	}
	told := a.typ != capture.UnknownType && b.typ != capture.UnknownType && a.point.Namespace == b.point.Namespace
	switch {
	case told && a.point.Direction == capture.In && b.point.Direction == capture.In:
		return source
	case told && a.point.Direction == capture.Out && b.point.Direction == capture.Out:
		return destination
	}
	return source || destination
}

func keepsOne(s, t packet.Tuple) bool {
	return s.Protocol == t.Protocol && s.Is4() == t.Is4() &&
		(s.Source() == t.Source() || s.Destination() == t.Destination())
}
