package trace

import (
	"math/rand/v2"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
)

// A packet usually goes the way of the one before it that had the same addresses.
// Where it does, all that joining asks of a sighting (whose link it is, which flow,
// whether it follows from those before, whether it can be the last) has the answer
// it had then, and is not asked again.

// trail is the way of packets with one tuple that are first seen at one point. Its
// steps are only ever appended, so that an entry on it has the first of them as
// its hops.
type trail struct {
	epoch  uint64 // Correlator.epoch when it was found; 0 when it holds no more
	steps  []step
	room   [inlineHops]step
	strays int // packets in a row that left it before its end
	used   int64
	after  int64   // it holds for packets after that: the births of its flows
	stream *stream // that of the packets' data; nil before it was needed
}

// step is one sighting of such packets: what is the same for all of them.
type step struct {
	seen   sighting
	layers packet.Layers
	vlan   uint16
	ends   bool // nothing can be expected after it
	home   bool // no packet that is seen so was somewhere else before: see cameHere
}

const (
	// maxTrails is for how many there is room. Of two that would have one place
	// the one that is in use stays.
	maxTrails = 1 << 13
	// trailInUse is how long after its last packet a trail keeps its place.
	trailInUse = 1e9
	// keepTrail is how long after its last packet a trail is forgotten: it keeps
	// its flow in memory.
	keepTrail = 5e9
	// maxStrays is how many packets can leave a trail before another is looked for.
	maxStrays = 16
	// maxTrailsOfFlow is how many can count on one flow.
	maxTrailsOfFlow = 32
	// plain is all that a packet on a trail can hold. What quotes another packet, is
	// a piece or is damaged is looked at each time.
	plain = packet.LayerEthernet | packet.LayerVLAN | packet.LayerIPv4 | packet.LayerIPv6 | packet.LayerTCP | packet.LayerUDP | packet.LayerICMP
)

// trails finds those that begin with a sighting.
type trails struct {
	places []*trail // a power of two
	seed   uint64
}

func newTrails() trails { return trails{places: make([]*trail, maxTrails), seed: rand.Uint64()} }

// place is that of the trail which packets with that tuple take, first seen there.
func (x *trails) place(o *capture.Observation) **trail {
	where := uint64(o.Namespace)<<32 ^ uint64(o.Ifindex)<<8 ^ uint64(o.Type)
	return &x.places[o.Headers.Tuple.Hash(x.seed^where)&uint64(len(x.places)-1)]
}

// sweep forgets the trails that nothing uses any more.
func (x *trails) sweep(now int64) {
	for i, t := range x.places {
		if t != nil && t.used < now-keepTrail {
			t.epoch, x.places[i] = 0, nil
		}
	}
}

// trailOf returns the trail that begins where the packet was seen, one without steps
// where there is none yet; nil where it has no room, or where packets can't be on one.
// One without steps can be given to several that have its place.
func (c *Correlator) trailOf(o *capture.Observation) *trail {
	if o.Time < c.unsettled || o.Headers.Layers&^plain != 0 || c.foreign {
		return nil
	}
	place := c.trails.place(o)
	t := *place
	switch {
	case t == nil || t.epoch != c.epoch || t.strays > maxStrays:
	case o.Time <= t.after:
		return nil
	case len(t.steps) == 0 || t.steps[0].matches(o):
		t.used = o.Time
		return t
	case t.used > o.Time-trailInUse:
		return nil
	}
	if t != nil {
		t.epoch = 0
	}
	t = &trail{epoch: c.epoch, used: o.Time}
	t.steps = t.room[:0]
	*place = t
	return t
}

// first returns the first step; nil when none is known yet.
func (t *trail) first() *step {
	if t == nil || len(t.steps) == 0 {
		return nil
	}
	return &t.steps[0]
}

// data returns the stream of the packets' data; nil where it is to be looked for.
func (t *trail) data() *stream {
	if t == nil || t.stream == nil || t.stream.forgotten {
		return nil
	}
	return t.stream
}

// matches reports whether the packet was seen where the step was, and looks like
// what was seen there.
func (s *step) matches(o *capture.Observation) bool {
	return o.Ifindex == s.seen.point.Ifindex && o.Namespace == s.seen.point.Namespace && o.Type == s.seen.typ &&
		o.Headers.Layers == s.layers && o.Headers.VLAN == s.vlan && o.Headers.Tuple == s.seen.tuple
}

// next returns the step that the packet is if it goes on as the entry's trail does;
// nil where it does not.
func (t *trail) next(e *entry, o *capture.Observation, epoch uint64) *step {
	if t == nil || len(e.hops) >= len(t.steps) || t.epoch != epoch || o.Time <= t.after {
		return nil
	}
	s := &t.steps[len(e.hops)]
	if last := &e.hops[len(e.hops)-1]; !s.matches(o) || o.Time < last.time || extentOf(&o.Headers) != last.extent {
		return nil
	}
	return s
}

// tread joins a packet to the journey whose trail has it as its next step.
func (c *Correlator) tread(h handle, e *entry, o *capture.Observation, st *step, kept *keptPacket) {
	n := len(e.hops)
	e.hops = append(e.hops, st.seen)
	e.headers[n] = o.Headers
	s := &e.hops[n]
	s.time, s.h, s.extent, s.kept = o.Time, &e.headers[n], e.hops[n-1].extent, kept
	if n+1 == len(e.trail.steps) {
		e.trail.strays = 0
	}
	c.joined(h, e, s, st.ends)
}

// learn appends what was found of a sighting to the trail that the entry is on, of
// which it has seen all the steps so far. Before that the sighting is not one of the
// entry's hops.
func (c *Correlator) learn(e *entry, s *sighting, ends bool) {
	t, n := e.trail, len(e.hops)
	if t == nil {
		return
	}
	if n < len(t.steps) || n == inlineHops || t.epoch != c.epoch || !c.learnable(e, s) {
		if n < len(t.steps) {
			t.strays++
		}
		e.trail = nil
		return
	}
	if f := s.flow.flow; f != nil {
		t.after = max(t.after, f.bornBefore)
		if !slices.Contains(f.trails, t) {
			f.trails = append(slices.DeleteFunc(f.trails, func(other *trail) bool { return other.epoch != c.epoch }), t)
		}
	}
	t.steps = append(t.steps, step{seen: *s, layers: s.h.Layers, vlan: s.h.VLAN, ends: ends, home: !cameHere(s)})
	seen := &t.steps[n].seen
	seen.h, seen.kept = nil, nil
}

// learnable reports whether the next packet that is seen so is sure to be told the
// same of.
func (c *Correlator) learnable(e *entry, s *sighting) bool {
	if s.time < c.unsettled || s.link == nil || s.h.Layers&^plain != 0 || s.tuple != s.h.Tuple || s.others != 0 ||
		c.exempts[s.point.Namespace] || c.proxies.concern(&s.tuple) || s.point.Direction == capture.In && c.rulesets[s.point.Namespace].HasIngress(s.link.name) {
		return false
	}
	switch f := s.flow.flow; {
	case f == nil && c.flows[s.point.Namespace] != nil: // one may begin
		return false
	case f != nil && (f.died != 0 || s.time <= f.bornBefore || f.shared || f.inferred || len(f.trails) > maxTrailsOfFlow):
		return false
	}
	for k := range e.hops {
		if h := &e.hops[k]; h.time <= s.time && h.extent == s.extent && c.follows(h, s) > fitGuess {
			return true
		}
	}
	return len(e.hops) == 0
}
