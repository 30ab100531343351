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
	strays int    // packets in a row that left it before its end
	used   int64
	after  int64   // it holds for packets after that: the births of its flows
	stream *stream // that of the packets' data; nil before it was needed
	steps  []step
	room   [maxSteps]step
}

// step is one sighting of such packets: what is the same for all of them.
type step struct {
	seen
	header hopHeader
	ends   bool // nothing can be expected after it
	home   bool // no packet that is seen so was somewhere else before: see cameHere
}

const (
	// maxSteps is how long a trail can be: from a container to one on another bridge.
	maxSteps = 6
	// maxTrails is for how many there is room. Of several that would have one place
	// those that are in use stay.
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
	places [][fork]signpost // a power of two
	seed   uint64
}

// signpost is the trail of those packets whose tuple and first point have that hash.
type signpost struct {
	hash  uint64
	trail *trail
}

// fork is how many places there are for a trail to be in.
const fork = 4

func newTrails() trails {
	return trails{places: make([][fork]signpost, maxTrails/fork), seed: rand.Uint64()}
}

// hash is that of the trail which packets with that tuple take, first seen there.
func (x *trails) hash(o *capture.Observation) uint64 {
	where := uint64(o.Namespace)<<32 ^ uint64(o.Ifindex)<<8 ^ uint64(o.Type)
	return o.Headers.Tuple.Hash(x.seed ^ where)
}

// sweep forgets the trails that nothing uses any more.
func (x *trails) sweep(now int64) {
	for i := range x.places {
		for k := range x.places[i] {
			if t := x.places[i][k].trail; t != nil && t.used < now-keepTrail {
				t.epoch, x.places[i][k].trail = 0, nil
			}
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
	hash := c.trails.hash(o)
	places := &c.trails.places[hash&uint64(len(c.trails.places)-1)]
	for i := range places {
		p := &places[i]
		if p.hash != hash || p.trail == nil {
			continue
		}
		switch t := p.trail; {
		case t.over(c.epoch):
			return c.newTrail(p, hash, o)
		case o.Time <= t.after:
			return nil
		case len(t.steps) == 0 || t.steps[0].matches(o):
			t.used = o.Time
			return t
		}
	}
	for i := range places {
		if p := &places[i]; p.trail == nil || p.trail.over(c.epoch) || p.trail.used <= o.Time-trailInUse {
			return c.newTrail(p, hash, o)
		}
	}
	return nil
}

// over reports whether no packet can take the trail any more, or too few do.
func (t *trail) over(epoch uint64) bool { return t.epoch != epoch || t.strays > maxStrays }

// newTrail begins one in that place.
func (c *Correlator) newTrail(p *signpost, hash uint64, o *capture.Observation) *trail {
	if p.trail != nil {
		p.trail.epoch = 0
	}
	t := &trail{epoch: c.epoch, used: o.Time}
	t.steps = t.room[:0]
	*p = signpost{hash, t}
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
	return o.Ifindex == s.point.Ifindex && o.Namespace == s.point.Namespace && o.Type == s.typ &&
		s.header.of(&o.Headers) && s.tuple.Equal(&o.Headers.Tuple)
}

// next returns the step that the packet is if it goes on as the entry's trail does;
// nil where it does not.
func (t *trail) next(e *entry, o *capture.Observation, epoch uint64) *step {
	if t == nil || e.steps == 0 || int(e.steps) >= len(t.steps) || t.epoch != epoch || o.Time <= t.after {
		return nil
	}
	s := &t.steps[e.steps]
	if !s.matches(o) || o.Time < e.lastSeen() || !e.same.of(&o.Headers) {
		return nil
	}
	return s
}

// tread joins a packet to the journey whose trail has it as its next step.
func (c *Correlator) tread(h handle, e *entry, o *capture.Observation, st *step, kept *keptPacket) {
	e.step(o.Time, &o.Headers, kept)
	if int(e.steps) == len(e.trail.steps) {
		e.trail.strays = 0
	}
	c.joined(h, e, o.Time, kept, st.ends)
}

// learn appends what was found of a sighting to the trail that the entry is on, of
// which it has seen all the steps so far. Before that the sighting is not one of the
// entry's hops.
func (c *Correlator) learn(e *entry, s *sighting, ends bool) {
	t, n := e.trail, len(e.hops())
	if t == nil {
		return
	}
	if n < len(t.steps) || n == maxSteps || t.epoch != c.epoch || !c.learnable(e, s) {
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
	t.steps = append(t.steps, step{seen: s.seen, header: hopHeaderOf(s.h), ends: ends, home: !cameHere(s)})
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
	for k := range e.hops() {
		if h := &e.hops()[k]; h.time <= s.time && h.extent == s.extent && c.follows(h, s) > fitGuess {
			return true
		}
	}
	return e.length() == 0
}
