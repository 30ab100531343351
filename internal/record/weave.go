package record

import (
	"cmp"
	"fmt"
	"slices"

	"natlens/netinfo"
	"natlens/trace"
)

const (
	// weaveWindow is how long a journey waits for those of other hosts that can be
	// the same packet: one that was seen no more is told 3.5 s late.
	weaveWindow = int64(5e9)
	// clockSlack is by how much clocks may differ beyond what is known of them, and
	// how long a packet may travel.
	clockSlack = int64(1e9)
	// maxHeld is how many journeys wait at once.
	maxHeld = 1 << 14
	// maxGroup is how many packets that look the same are compared with each other.
	maxGroup = 64
)

// weaver joins journeys of several hosts. It is not safe for concurrent use.
type weaver struct {
	emit   func(*trace.Journey)
	queue  []*held // in the order of their coming
	looks  map[border][]*held
	byID   map[journeyKey]*held
	ids    renaming
	joined uint64 // how many journeys are part of another one

	hosts [2]*netinfo.Topology // what union was made of last
	both  *netinfo.Topology
}

// held is a journey that waits.
type held struct {
	journey     *trace.Journey
	keys        []journeyKey // it, and those that were joined to it
	references  []reference
	origins     []*origin
	at          int64
	entry, exit *gate
	alike       int // how many of another host could be its next or last part
	done        bool
}

func newWeaver(emit func(*trace.Journey)) *weaver {
	return &weaver{emit: emit, looks: map[border][]*held{}, byID: map[journeyKey]*held{}, ids: newRenaming()}
}

// take takes in a journey that an origin told when its time was at.
func (w *weaver) take(o *origin, session int, j *trace.Journey, at int64) {
	key := journeyKey{o, session, j.ID}
	if old := w.byID[journeyKey{o, session, j.Supersedes}]; j.Supersedes != 0 && old != nil {
		// The late hop is one of those that are waited for anyway.
		w.unindex(old)
		j.Supersedes = 0
		old.keys = append(old.keys, key)
		old.journey, old.references = j, referencesOf(j, key)
		w.index(old)
		w.byID[key] = old
		return
	}
	h := &held{journey: j, keys: []journeyKey{key}, origins: []*origin{o}, at: at, references: referencesOf(j, key)}
	w.queue = append(w.queue, h)
	w.byID[key] = h
	w.index(h)
	for len(w.queue) > maxHeld {
		w.next()
	}
}

func (w *weaver) index(h *held) {
	foreign := h.origins[0].foreign
	h.entry, h.exit = entryOf(h.journey, foreign), exitOf(h.journey, foreign)
	for _, g := range []*gate{h.entry, h.exit} {
		if g != nil && !slices.Contains(w.looks[g.looks[0]], h) {
			w.looks[g.looks[0]] = append(w.looks[g.looks[0]], h)
		}
	}
}

func (w *weaver) unindex(h *held) {
	for _, g := range []*gate{h.entry, h.exit} {
		if g == nil {
			continue
		}
		look := g.looks[0]
		if rest := slices.DeleteFunc(w.looks[look], func(o *held) bool { return o == h }); len(rest) > 0 {
			w.looks[look] = rest
		} else {
			delete(w.looks, look)
		}
	}
}

// release emits what has waited long enough.
func (w *weaver) release(now int64) {
	for len(w.queue) > 0 && (w.queue[0].done || w.queue[0].at < now-weaveWindow) {
		w.next()
	}
}

// flush emits all that waits.
func (w *weaver) flush() {
	for len(w.queue) > 0 {
		w.next()
	}
}

// next emits the journey that has waited longest, and those it is joined with.
func (w *weaver) next() {
	h := w.queue[0]
	w.queue[0] = nil
	w.queue = w.queue[1:]
	if h.done {
		return
	}
	group := w.alike(h)
	for _, m := range group {
		m.done = true
		w.unindex(m)
		for _, k := range m.keys {
			delete(w.byID, k)
		}
	}
	for _, m := range w.weave(group) {
		w.rename(m)
		w.emit(m.journey)
	}
}

// rename writes a journey in numbers of all hosts.
func (w *weaver) rename(h *held) {
	j := h.journey
	if j.Supersedes != 0 {
		first := h.keys[0]
		first.id = j.Supersedes
		j.Supersedes, _ = w.ids.of(first)
	}
	j.ID = w.ids.name(h.keys)
	for i := range j.Translations {
		if t := &j.Translations[i]; t.PeerJourney != 0 {
			t.PeerJourney, _ = w.ids.of(h.peer(t))
		}
	}
	for _, r := range h.references {
		if id, ok := w.ids.of(r.to); ok && id != j.ID && !slices.Contains(j.Related, trace.Relation{ID: id, Why: r.why}) {
			j.Related = append(j.Related, trace.Relation{ID: id, Why: r.why})
		}
	}
}

// alike returns the journeys that can be parts of one packet with h, or are packets
// that look the same; h is one of them.
func (w *weaver) alike(h *held) []*held {
	group := []*held{h}
	for i := 0; i < len(group); i++ {
		for _, g := range []*gate{group[i].entry, group[i].exit} {
			if g == nil {
				continue
			}
			for _, m := range w.looks[g.looks[0]] {
				if !slices.Contains(group, m) {
					group = append(group, m)
				}
			}
			if len(group) > maxGroup {
				return []*held{h}
			}
		}
	}
	return group
}

// weave joins what is one packet, and returns the rest as it was. A part is joined
// only where no other fits.
func (w *weaver) weave(group []*held) []*held {
	if len(group) > 1 {
		// Against the way of the packet nothing fits: whoever hands it on never
		// raises its TTL.
		slices.SortStableFunc(group, func(a, b *held) int {
			return cmp.Or(cmp.Compare(begins(b), begins(a)), cmp.Compare(a.time(), b.time()))
		})
		group = w.link(group, follows)
		group = w.link(group, followsTranslated)
	}
	for _, h := range group {
		if h.alike > 1 {
			h.journey.Notes = append(h.journey.Notes, fmt.Sprintf(
				"not joined with what other hosts saw: %d packets there look like it", h.alike))
		}
	}
	slices.SortStableFunc(group, func(a, b *held) int { return cmp.Compare(a.time(), b.time()) })
	return group
}

// begins is the TTL with which a journey came, or more where it began here.
func begins(h *held) int {
	if h.entry == nil {
		return 256
	}
	return int(h.journey.Hops[h.entry.hops[0]].Headers.TTL)
}

// time is that of its first hop by the first origin's clock.
func (h *held) time() int64 { return h.journey.Time - h.origins[0].clock.ahead }

// link joins neighbours along their way. Of several that fit and exclude each other,
// none is the one.
func (w *weaver) link(group []*held, fit func(a, b *held) bool) []*held {
	for _, a := range group {
		a.alike = max(a.alike, rivals(group, fit, func(b *held) bool { return fit(a, b) }), rivals(group, fit, func(b *held) bool { return fit(b, a) }))
	}
	var out []*held
	for _, b := range group {
		at := slices.IndexFunc(out, func(a *held) bool {
			return max(a.alike, b.alike) == 1 && disjoint(a, b) && fit(a, b)
		})
		if at < 0 {
			out = append(out, b)
			continue
		}
		out[at] = w.join(out[at], b)
	}
	return out
}

// rivals counts those that fit and exclude each other, being of one host or of two
// that are not on one way; 1 when there are none.
func rivals(group []*held, fit func(a, b *held) bool, fits func(*held) bool) int {
	var all []*held
	for _, m := range group {
		if fits(m) {
			all = append(all, m)
		}
	}
	most := min(len(all), 1)
	for _, a := range all {
		n := 1
		for _, b := range all {
			if a != b && !fit(a, b) && !fit(b, a) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

func disjoint(a, b *held) bool {
	return !slices.ContainsFunc(a.origins, func(o *origin) bool { return slices.Contains(b.origins, o) })
}

func (w *weaver) join(a, b *held) *held {
	w.joined++
	first := b.origins[0]
	for i := range b.journey.Hops {
		b.journey.Hops[i].Clock += first.clock.ahead - a.origins[0].clock.ahead
	}
	if pair := [2]*netinfo.Topology{a.journey.Topology, b.journey.Topology}; pair != w.hosts || w.both == nil {
		w.hosts, w.both = pair, union(pair[0], pair[1])
	}
	shift := len(a.journey.Hops)
	joined := &held{
		journey: splice(a.journey, b.journey, a.exit, b.entry, w.both), keys: append(a.keys, b.keys...),
		references: append(a.references, b.references...),
		origins:    append(slices.Clip(a.origins), b.origins...), at: a.at, entry: a.entry, alike: 1,
	}
	if b.exit != nil {
		exit := gate{looks: b.exit.looks}
		for _, i := range b.exit.hops {
			exit.hops = append(exit.hops, i+shift)
		}
		joined.exit = &exit
	}
	return joined
}

// follows reports whether b can be how a goes on at another host, with the same
// addresses: then it is the same packet.
func follows(a, b *held) bool {
	return meets(a, b) && a.exit.tuple(a.journey) == b.entry.tuple(b.journey) && falls(a, b) >= 0
}

// followsTranslated is follows where somebody between changed one address; routers
// that do so lower the TTL.
func followsTranslated(a, b *held) bool {
	return meets(a, b) && oneSide(a.exit.tuple(a.journey), b.entry.tuple(b.journey)) && falls(a, b) > 0
}

// falls is by how much the TTL fell between two hosts.
func falls(a, b *held) int {
	return int(a.journey.Hops[a.exit.hops[0]].Headers.TTL) - int(b.journey.Hops[b.entry.hops[0]].Headers.TTL)
}

func meets(a, b *held) bool {
	if a == b || a.exit == nil || b.entry == nil || a.origins[len(a.origins)-1] == b.origins[0] ||
		!slices.Equal(a.exit.looks, b.entry.looks) {
		return false
	}
	left := a.journey.Hops[a.exit.hops[0]].Time - a.origins[len(a.origins)-1].clock.ahead
	came := b.journey.Hops[b.entry.hops[0]].Time - b.origins[0].clock.ahead
	return max(came-left, left-came) <= clockSlack
}

// peer is the journey that a translation by a process names.
func (h *held) peer(t *trace.Translation) journeyKey {
	for _, k := range h.keys {
		if k.origin.name == t.Host {
			k.id = t.PeerJourney
			return k
		}
	}
	return journeyKey{}
}
