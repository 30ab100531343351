package trace

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// A packet usually goes the way of the one before it that had the same addresses.
// Where it does, all that joining asks of a sighting (whose link it is, which flow,
// whether it follows from those before, whether it can be the last) has the answer
// it had then, and is not asked again.

// trail is the way of packets with one tuple that are first seen at one point. Its
// steps are only ever appended, so that an entry on it has the first of them as
// its hops. What a packet with at most four of them is compared with stands in one of
// the processor's cache lines.
type trail struct {
	epoch  uint32 // Correlator.epoch when it was found; 0 when it holds no more
	length uint8  // how many steps are known
	strays uint8  // packets in a row that left it before its end
	// home: no packet that takes the first step was somewhere else before: see cameHere.
	home   bool
	ends   uint8 // of the steps, a bit each: nothing can be expected after it
	after  int64 // it holds for packets after that: the births of its flows
	used   int64
	stream *stream              // that of the packets' data; nil before it was needed
	looks  [maxSteps - 1]uint64 // by which the steps after the first are recognised: see trails.look
	// What is the same for all sightings of the step.
	seen    [maxSteps]seen
	headers [maxSteps]hopHeader
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

// signpost is the trail of the packets that look like that when they are first seen.
type signpost struct {
	look  uint64
	trail *trail
}

// fork is how many places there are for a trail to be in.
const fork = 4

func newTrails() trails {
	return trails{places: make([][fork]signpost, maxTrails/fork), seed: rand.Uint64()}
}

// look is a hash of where a packet is seen and of what its headers have in common with
// those of others on its way: hopHeader and the tuple. Two that differ have the same once
// in 2⁶⁴ times, and nobody who doesn't know the seed can make such two.
func (x *trails) look(ns netns.ID, ifindex int32, typ capture.PacketType, h *packet.Headers) uint64 {
	le := binary.LittleEndian
	source := uint64(le.Uint32(h.SourceMAC[:])) | uint64(le.Uint16(h.SourceMAC[4:]))<<32 | uint64(h.Layers)<<48
	destination := uint64(le.Uint32(h.DestinationMAC[:])) | uint64(le.Uint16(h.DestinationMAC[4:]))<<32 | uint64(h.VLAN)<<48
	link := uint64(uint32(ifindex)) | uint64(h.EtherType)<<32 | uint64(typ)<<48
	high, low := bits.Mul64(source^x.seed, destination^bits.RotateLeft64(x.seed, 16))
	high2, low2 := bits.Mul64(uint64(ns)^bits.RotateLeft64(x.seed, 32), link^bits.RotateLeft64(x.seed, 48))
	return h.Tuple.Hash(x.seed ^ high ^ low ^ bits.RotateLeft64(high2^low2, 32))
}

func (x *trails) lookOf(o *capture.Observation) uint64 {
	return x.look(o.Namespace, o.Ifindex, o.Type, &o.Headers)
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
	look := c.trails.lookOf(o)
	places := &c.trails.places[look&uint64(len(c.trails.places)-1)]
	for i := range places {
		p := &places[i]
		if p.look != look || p.trail == nil {
			continue
		}
		switch t := p.trail; {
		case t.over(c.epoch):
			return c.newTrail(p, look, o)
		case o.Time <= t.after:
			return nil
		default:
			t.used = o.Time
			return t
		}
	}
	for i := range places {
		if p := &places[i]; p.trail == nil || p.trail.over(c.epoch) || p.trail.used <= o.Time-trailInUse {
			return c.newTrail(p, look, o)
		}
	}
	return nil
}

// over reports whether no packet can take the trail any more, or too few do.
func (t *trail) over(epoch uint32) bool { return t.epoch != epoch || t.strays > maxStrays }

// newTrail begins one in that place.
func (c *Correlator) newTrail(p *signpost, look uint64, o *capture.Observation) *trail {
	if p.trail != nil {
		p.trail.epoch = 0
	}
	*p = signpost{look, &trail{epoch: c.epoch, used: o.Time}}
	return p.trail
}

// known reports whether the first step is.
func (t *trail) known() bool { return t != nil && t.length > 0 }

// endsAt reports whether nothing can be expected after the step.
func (t *trail) endsAt(step uint8) bool { return t.ends>>step&1 != 0 }

// data returns the stream of the packets' data; nil where it is to be looked for.
func (t *trail) data() *stream {
	if t == nil || t.stream == nil || t.stream.forgotten {
		return nil
	}
	return t.stream
}

// begins reports whether all that is to be known of a packet, which nothing that is open
// looks like, is that it takes the trail's first step.
func (c *Correlator) begins(t *trail, h *packet.Headers) bool {
	switch {
	case !t.known() || !t.home || mayBeFragmented(h) || isTrain(h) || isReset(h) || isControl(h),
		len(c.parts.datagrams) > 0, len(c.parts.trains) > 0, len(c.hosted.containers) > 0,
		c.proxies.concern(&h.Tuple):
		return false
	}
	x := extentOf(h)
	return x.kind != extentStream || t.data() != nil && !before(x.begin, t.stream.end)
}

// begin opens the journey of such a packet.
func (c *Correlator) begin(t *trail, o *capture.Observation, kept *keptPacket) {
	i, e := c.open(o, -1)
	e.trail = t
	e.stepFirst(o.Time, &o.Headers, kept)
	if x := extentOf(&o.Headers); x.kind == extentStream {
		t.stream.carry(handle{i, e.generation}, x, o.Time)
	}
	c.schedule(i, e, o.Time, t.endsAt(0))
}

// treads reports whether the packet goes on as the trail does that the journey is on.
func (c *Correlator) treads(e *entry, o *capture.Observation) bool {
	t, n := e.trail, e.steps
	if t == nil || n == 0 || n >= t.length || t.epoch != c.epoch || o.Time <= t.after {
		return false
	}
	later := uint64(o.Time - e.first) // more than maxLater when it is earlier
	if later > maxLater || n > 1 && uint32(later) < e.later[n-2] {
		return false
	}
	return t.looks[n-1] == c.trails.lookOf(o) && e.same.of(&o.Headers)
}

// tread joins a packet to the journey whose trail has it as its next step.
func (c *Correlator) tread(i int32, e *entry, o *capture.Observation, kept *keptPacket) {
	t, n := e.trail, e.steps
	e.step(o.Time, o.Headers.TTL, kept)
	if e.steps == t.length {
		t.strays = 0
	}
	c.schedule(i, e, o.Time, t.endsAt(n))
}

// learn appends what was found of a sighting to the trail that the entry is on, of
// which it has seen all the steps so far. Before that the sighting is not one of the
// entry's hops.
func (c *Correlator) learn(e *entry, s *sighting, ends bool) {
	t, n := e.trail, len(e.hops())
	if t == nil {
		return
	}
	if n < int(t.length) || n == maxSteps || t.epoch != c.epoch || !c.learnable(e, s) {
		if n < int(t.length) && t.strays <= maxStrays {
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
	if n == 0 {
		t.home = !cameHere(s)
	}
	if n > 0 {
		t.looks[n-1] = c.trails.look(s.point.Namespace, s.point.Ifindex, s.typ, s.h)
	}
	if ends {
		t.ends |= 1 << n
	}
	t.seen[n], t.headers[n] = s.seen, hopHeaderOf(s.h)
	t.length++
}

// learnable reports whether the next packet that is seen so is sure to be told the
// same of.
func (c *Correlator) learnable(e *entry, s *sighting) bool {
	if s.time < c.unsettled || s.link == nil || s.h.Layers&^plain != 0 || s.tuple != s.h.Tuple || s.others != 0 ||
		c.exempts[s.point.Namespace] || c.choosesZones(s) || c.proxies.concern(&s.tuple) || s.point.Direction == capture.In && c.rulesets[s.point.Namespace].HasIngress(s.link.name) {
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
