package trace

import (
	"fmt"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// An entry is found in its zone alone. Which that is of a packet, the rules before
// connection tracking tell, where it comes in or is sent; from there on it carries its
// entry. Where no rule chooses zones, entries that have one were made by others (Open
// vSwitch, tc), and a packet is looked for by its tuple, unless that is in several.

// zones are those in which a packet is looked up, or, where quoted, what it quotes.
type zones struct {
	netfilter.Zones
	quoted bool
}

// finds reports whether the packet finds an entry by that.
func (z *zones) finds(r flowRef) bool {
	way := direction(r.reply != z.quoted) // an error is looked up as the answer to what it quotes
	return r.flow.Zones()[way] == z.Zones[way]
}

// direction is the place of a direction in a pair of them.
func direction(reply bool) int {
	if reply {
		return 1
	}
	return 0
}

// inOtherZone reports whether behind n there is another flow of that time with its tuple,
// in other zones.
func (n *formNode) inOtherZone(at int64) bool {
	f := n.ref.flow
	for o := n.next.first(&n.tuple); o != nil; o = o.next.first(&n.tuple) {
		if g := o.ref.flow; g.Zones() != f.Zones() && !g.early(at) && !g.gone(at) {
			return true
		}
	}
	return false
}

// choosesZones reports whether rules where the packet was seen choose zones.
func (c *Correlator) choosesZones(s *sighting) bool {
	return c.zoned && c.zones[s.point.Namespace]
}

// flowInZone returns the flow of a packet where rules choose zones.
func (c *Correlator) flowInZone(s *sighting) flowRef {
	r := c.flowOf(s.point.Namespace, s.h, s.time)
	if r.flow == nil && c.fitting(s) == nil {
		return r
	}
	if in, ok := c.zonesOf(s, r); ok {
		return c.flowIn(s.point.Namespace, s.h, s.time, &in)
	}
	return r
}

// unseenBefore is how long before a packet goes out a ring may have lost its coming in.
const unseenBefore = 1e9

// zonesOf returns those in which a packet was looked up that came in, or that the
// namespace sent; false where that is not known. r is what its tuple is of.
func (c *Correlator) zonesOf(s *sighting, r flowRef) (netfilter.Zones, bool) {
	l := s.link
	if l == nil || l.loop || !s.tuple.Valid() || c.foreign {
		return netfilter.Zones{}, false // on the loopback link it carries what it was sent with
	}
	if l.master != (netinfo.LinkKey{}) {
		if m := c.hosts.links[l.master]; m == nil || !m.bridge {
			return netfilter.Zones{}, false // what else takes packets over may track them itself
		}
	}
	hook, p := netfilter.Prerouting, c.arriving(s)
	if s.point.Direction == capture.Out {
		if !s.space.has(s.tuple.Source()) || c.lostRing.since(s.time-unseenBefore) > 0 {
			return netfilter.Zones{}, false
		}
		// If it came in, that decides: see carriesZone.
		hook, p.OutLink, p.InLink, p.InPort = netfilter.Output, p.InLink, "", ""
		if r.flow != nil && !r.about {
			if sent := r.flow.direction(r.reply).before; s.space.has(sent.Source()) {
				p.Tuple = sent
			}
		}
	}
	return c.zonesAt(s, hook, p)
}

// zonesAt asks all rules that a packet may have met; those that were read first, where it
// came before.
func (c *Correlator) zonesAt(s *sighting, hook netfilter.Hook, p netfilter.Packet) (all netfilter.Zones, ok bool) {
	met, _ := c.readings[s.point.Namespace].met(s.time)
	for i := range met {
		p.MarkKnown = hook == netfilter.Prerouting && !met[i].MarksEarly()
		one, ok := met[i].Zones(hook, p)
		if !ok || i > 0 && one != all {
			return netfilter.Zones{}, false
		}
		all = one
	}
	return all, len(met) > 0
}

// lookAgain looks for the flows of a journey whose packet was not seen to end, where rules
// choose zones: they may have been read since.
func (c *Correlator) lookAgain(e *entry) {
	if !c.zoned {
		return
	}
	for i := range e.hops() {
		if s := &e.hops()[i]; c.choosesZones(s) {
			s.flow = c.trackedAs(s)
			c.underWay(e, s)
		}
	}
}

// zonesOfWalk are those in which a packet was looked up that only the rules' trace tells
// of; nil where that is not known, or no rule chooses any.
func (c *Correlator) zonesOfWalk(w *walk) *netfilter.Zones {
	if !c.zones[w.namespace] {
		return nil
	}
	met, _ := c.readings[w.namespace].met(w.before)
	if len(met) != 1 {
		return nil
	}
	in, ok := met[0].Zones(w.start, netfilter.Packet{Tuple: w.packet.Headers.Tuple, Time: w.before})
	if !ok {
		return nil
	}
	return &in
}

// fitting is the first form of a flow with the tuple by which a packet is looked up; nil
// where no flow has it.
func (c *Correlator) fitting(s *sighting) *formNode {
	x := c.flows[s.point.Namespace]
	if x == nil || isLaterPiece(s.h) && !s.h.Layers.Has(packet.LayerQuoted) {
		return nil
	}
	tuple := lookedUp(s.h)
	return (*x.byTuple.head(tuple)).first(tuple)
}

// lookedUp is the tuple by which connection tracking finds the flow of a packet.
func lookedUp(h *packet.Headers) *packet.Tuple {
	if h.Layers.Has(packet.LayerQuoted) {
		return &h.Quoted
	}
	return &h.Tuple
}

// refTo is what a packet with such headers is to the flow; the zero flowRef where it has
// none of its tuples.
func (t *trackedFlow) refTo(h *packet.Headers) flowRef {
	tuple := lookedUp(h)
	for i := range t.nodes {
		if n := &t.nodes[i]; n.tuple == *tuple {
			if tuple == &h.Quoted {
				return n.ref.quoted()
			}
			return n.ref
		}
	}
	return flowRef{}
}

// carries reports whether b can show the packet that was seen as a, by the entry which
// that found in its zone, or which alone can have become b. Of the other its tuple does
// not tell, since it is in several zones.
func (c *Correlator) carries(a, b *sighting) bool {
	switch {
	case a.flow.flow != nil:
		return (b.flow.flow == nil || c.choosesZones(a)) && a.flow.same(a.flow.flow.refTo(b.h))
	case b.flow.flow == nil || !b.flow.same(b.flow.flow.refTo(a.h)):
		return false
	}
	return c.inSomeZone(a)
}

// inSomeZone reports whether flows of several zones have the tuple of a packet, and which
// of them it is of is not known.
func (c *Correlator) inSomeZone(s *sighting) bool {
	if !c.zoned || s.flow.flow != nil {
		return false
	}
	for n := c.fitting(s); n != nil; n = n.next.first(&n.tuple) {
		if f := n.ref.flow; !f.early(s.time) && !f.gone(s.time) {
			_, known := c.zonesOf(s, s.flow)
			return !known || !c.choosesZones(s)
		}
	}
	return false
}

// carriesZone gives a sighting the flow that its packet found where it came in, if rules
// choose zones there; false where that is not known.
func (c *Correlator) carriesZone(e *entry, s *sighting) bool {
	if !c.choosesZones(s) && s.flow.flow != nil {
		return false
	}
	var in *sighting
	hops := e.hops()
	for i := range hops {
		switch h := &hops[i]; {
		case h == s || h.point.Namespace != s.point.Namespace || h.time > s.time || h.link == nil || h.link.loop:
		case h.point.Direction == capture.In:
			in = h
		case s.point.Direction == capture.In:
			in = nil // it went out, and came again
		}
	}
	switch {
	case in == nil:
		return false
	case in.flow.flow != nil:
		r := in.flow.flow.refTo(s.h)
		if in.flow.same(r) {
			s.flow = r
			return true
		}
	case s.flow.flow != nil && c.zoneMiss(in).flow.flow == s.flow.flow:
		s.flow = flowRef{}
		return true
	}
	return false
}

// zoneMiss is a flow that a packet which came in, or is sent, would be of, were it not in
// another zone.
type zoneMiss struct {
	flow flowRef // none: it misses nothing
	in   netfilter.Zones
}

// zoneMiss returns what the packet misses. What answers a flow in one zone may begin one
// in its own.
func (c *Correlator) zoneMiss(s *sighting) (m zoneMiss) {
	if !c.choosesZones(s) || s.flow.flow != nil && (s.flow.reply || s.flow.about) {
		return m
	}
	sent := s.point.Direction == capture.Out
	first := c.fitting(s)
	if first == nil {
		return m
	}
	var ok bool
	if m.in, ok = c.zonesOf(s, s.flow); !ok || !sent && c.exempted(s) == netfilter.True {
		return m
	}
	looked := zones{m.in, s.h.Layers.Has(packet.LayerQuoted)}
	for n := first; n != nil; n = n.next.first(&first.tuple) {
		r := n.ref
		if r.flow.early(s.time) || r.flow.gone(s.time) || looked.finds(r) {
			continue
		}
		if looked.quoted {
			r = r.quoted()
		}
		switch {
		case sent && (!r.reply || r.form != formBefore || r.about): // what it answers is all that is sure
		case r.reply || r.about || s.flow.flow == nil && !begins(s.h): // else it needs none
			m.flow = r
			return m
		}
	}
	return m
}

// staysInvalid reports whether a packet that came to the namespace has no entry, since
// that is in another zone, and makes none: nothing will tell that it was let pass.
func (c *Correlator) staysInvalid(s *sighting) bool {
	return c.choosesZones(s) && neverBegins(s.h) && c.zoneMiss(s).flow.flow != nil
}

// misplacedOf says of a journey's packet why it is none of its flow's; empty where it is.
func (c *Correlator) misplacedOf(hops []sighting) string {
	for i := range hops {
		s := &hops[i]
		if s.point.Direction == capture.Out && slices.ContainsFunc(hops[:i], func(h sighting) bool { return h.point.Namespace == s.point.Namespace }) {
			continue // it was looked up before
		}
		if m := c.zoneMiss(s); m.flow.flow != nil {
			return c.misplaced(s, m)
		}
	}
	return ""
}

// misplaced says what became of a packet's lookup in the wrong zone.
func (c *Correlator) misplaced(s *sighting, m zoneMiss) string {
	f, way := m.flow.flow, direction(m.flow.reply)
	what := "it looks like a packet of"
	switch {
	case m.flow.about:
		what = "it is about a packet of"
	case m.flow.reply:
		what = "it answers"
	}
	is, it := m.in[way], "what comes in by "+c.hosts.layer3(s.link)
	if s.point.Direction == capture.Out {
		it = "what " + s.space.name + " sends"
	}
	looked := fmt.Sprintf("a rule puts %s into zone %d, so it is looked up there", it, is)
	if is == 0 {
		looked = fmt.Sprintf("no rule puts %s into that zone, so it is looked up in zone 0", it)
	}
	finds := "finds no entry"
	if s.flow.flow != nil {
		finds = "has a flow of its own there"
	}
	so := "belongs to none"
	switch {
	case f.translated() && m.flow.reply:
		so = "is not translated back"
	case f.translated():
		so = "is not translated as that is"
	case s.flow.flow != nil:
		so = "is no answer to that one"
	}
	return fmt.Sprintf("%s conntrack %d, an entry of zone %d; %s, %s and %s", what, f.ID, f.Zones()[way], looked, finds, so)
}
