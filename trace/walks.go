package trace

import (
	"maps"
	"slices"
	"strings"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// walk is one packet's way through the rules of one namespace, as the kernel's
// rule trace told it.
type walk struct {
	namespace     netns.ID
	key           walkKey
	start         netfilter.Hook          // prerouting or output: where our own rule asked for the trace
	packet        *netfilter.TracedPacket // as it was there
	after, before int64                   // when it was there
	visits        []visit
	ids           []uint32 // that the kernel gave it
	// tracked: the trace told of the packet's conntrack entry, which flow is the id
	// of, and reply the direction. Before Linux 6.18 it never does.
	tracked, reply bool
	flow           uint32
	owner          uint64 // the journey it belongs to; 0 while none is known
	until          int64  // it is kept till then, if that is longer than others are
}

// visit is the hits of one base chain and of those it led to.
type visit struct {
	packet *netfilter.TracedPacket
	hits   []netfilter.Hit
}

// walkKey is what of a packet stays the same at all hooks and taps of a
// namespace, whatever NAT does, and whether it is whole or in pieces.
type walkKey struct {
	protocol packet.Protocol
	is4      bool
	ipID     uint16
	first    uint32 // TCP: sequence number; ICMP: type, code and sequence number
	second   uint32 // TCP: acknowledgment; else the length, if it is whole
}

func walkKeyOf(h *packet.Headers, whole bool) walkKey {
	k := walkKey{protocol: h.Tuple.Protocol, is4: h.Tuple.Is4(), ipID: h.IPID}
	switch {
	case h.Layers.Has(packet.LayerTCP):
		k.first, k.second = h.TCPSeq, h.TCPAck
		return k
	case h.Layers.Has(packet.LayerICMP):
		k.first = uint32(h.ICMPType)<<24 | uint32(h.ICMPCode)<<16 | uint32(h.ICMPSeq)
	}
	if k.ipID == 0 && whole {
		k.second = h.Length
	}
	return k
}

// walks is what was told and may belong to a journey that is not shown yet.
type walks struct {
	awaited bool  // there is a tracer
	through int64 // all before this was told
	spaces  map[netns.ID]*walkSpace
	dropped []*walk // whose journeys need not wait any more
	lost    losses
	pauses  []int64 // when the tracer ceased to ask, those that matter still
	looked  int64   // when it was last asked which of them are old
}

// walkSpace is the walks in one namespace.
type walkSpace struct {
	byKey   map[walkKey][]*walk // oldest first
	byTrace map[uint32]*walk    // the newest with that id
	queue   []*walk             // in the order they were told
}

const (
	// walkGrace is how much longer a walk is kept than a journey that began with it waits
	// for its next hop, and than its own can be amended after it was shown.
	walkGrace = keepShown + 500e6
	// unseenPatience is how long a packet that was dropped before any tap can
	// have seen it waits to be shown.
	unseenPatience = 50e6
	// maxHits bounds a walk: whoever writes rules can make it long.
	maxHits = 512
	// maxWalks bounds what is kept of one namespace.
	maxWalks = 1 << 14
)

// keepWalk is how long a walk is kept for its journey to be shown, if none that is open by
// then may be it: what waits for a neighbour's address has been seen when that is known.
func (c *Correlator) keepWalk() int64 { return c.patience + walkGrace }

func newWalks() walks { return walks{spaces: map[netns.ID]*walkSpace{}} }

// AwaitHits says that rules are traced, so that observations wait for what is told
// of them from the first one on.
func (c *Correlator) AwaitHits() { c.walks.awaited = true }

// AddHits takes in what rules told: of one namespace, or, in a HitBatch without
// one, how far all of them have been read.
func (c *Correlator) AddHits(b *netfilter.HitBatch) {
	if b.Namespace == 0 {
		if b.Through < c.walks.through-clockStep {
			c.walks.through = 0
		}
		c.walks.through = max(c.walks.through, b.Through)
		c.TracePaused(b.Paused, b.PausedAt)
		c.advance()
		return
	}
	s := c.walks.spaces[b.Namespace]
	if s == nil {
		s = &walkSpace{byKey: map[walkKey][]*walk{}, byTrace: map[uint32]*walk{}}
		c.walks.spaces[b.Namespace] = s
	}
	// What can't be read is as good as lost.
	if lost := max(b.Lost, b.Overruns) + b.Malformed; lost > 0 {
		c.walks.lost.add(b.Through, lost)
		c.counters.TraceLost += lost
	}
	for i := range b.Hits {
		if w := s.take(b.Namespace, &b.Hits[i]); w != nil && c.ended(w) {
			c.walks.dropped = append(c.walks.dropped, w)
		}
	}
}

// Walks returns how many walks wait for the journeys that they belong to, or to
// become one.
func (c *Correlator) Walks() (n int) {
	for _, s := range c.walks.spaces {
		n += len(s.queue)
	}
	return n
}

// take adds a hit to the walk it belongs to. Trace ids come again, so a walk
// begins where our own rule asks for it; and they change on the way, so the
// packet itself has the last word. What begins in no rule of ours was asked for
// by somebody else. It returns the walk that grew; nil when none did.
func (s *walkSpace) take(ns netns.ID, h *netfilter.Hit) *walk {
	own := strings.HasPrefix(h.Table, netfilter.TraceTable)
	if h.Packet == nil {
		if w := s.byTrace[h.Trace]; w != nil && !own && len(w.visits) > 0 {
			last := &w.visits[len(w.visits)-1]
			if len(last.hits) < maxHits {
				last.hits = append(last.hits, *h)
			}
			return w
		}
		return nil
	}
	key := walkKeyOf(&h.Packet.Headers, true)
	w := s.find(key, h)
	if own {
		// Another natlens has a table like ours: that is no second packet.
		if w == nil || len(w.visits) > 0 || string(w.start) != h.Chain || w.packet.Headers.Tuple != h.Packet.Headers.Tuple {
			w = s.begin(ns, key, h)
		}
		s.name(w, h.Trace)
		return nil
	}
	if w == nil {
		delete(s.byTrace, h.Trace) // what follows is told of the same packet
		return nil
	}
	if len(w.visits) >= maxHits {
		return nil
	}
	w.track(h.Packet)
	if h.Trace != 0 {
		s.name(w, h.Trace)
	} else if n := len(w.visits); n > 0 {
		// iptables-legacy tells of the packet with each rule.
		if last := &w.visits[n-1]; last.hits[0].Table == h.Table && last.packet.Hook == h.Packet.Hook {
			if len(last.hits) < maxHits {
				last.hits = append(last.hits, *h)
			}
			return w
		}
	}
	w.visits = append(w.visits, visit{packet: h.Packet, hits: []netfilter.Hit{*h}})
	return w
}

func (s *walkSpace) begin(ns netns.ID, key walkKey, h *netfilter.Hit) *walk {
	w := &walk{namespace: ns, key: key, start: netfilter.Hook(h.Chain), packet: h.Packet, after: h.After, before: h.Before}
	if len(s.queue) >= maxWalks {
		s.forget(s.queue[0])
		s.queue = s.queue[1:]
	}
	s.queue = append(s.queue, w)
	s.byKey[key] = append(s.byKey[key], w)
	return w
}

// forget drops what leads to a walk, but for the queue.
func (s *walkSpace) forget(w *walk) {
	alike := slices.DeleteFunc(s.byKey[w.key], func(o *walk) bool { return o == w })
	if len(alike) == 0 {
		delete(s.byKey, w.key)
	} else {
		s.byKey[w.key] = alike
	}
	for _, id := range w.ids {
		if s.byTrace[id] == w {
			delete(s.byTrace, id)
		}
	}
}

// name notes that the kernel calls a walk so.
func (s *walkSpace) name(w *walk, id uint32) {
	if s.byTrace[id] != w {
		s.byTrace[id] = w
		w.ids = append(w.ids, id)
	}
}

// settleWalks shows packets that no tap saw, and forgets what is too old to
// belong to any journey; early: it can't wait any longer. Namespaces come in a
// fixed order, so that a file numbers those packets as the watch did.
func (c *Correlator) settleWalks(early bool) {
	c.forgetPauses()
	look := c.now >= c.walks.looked+lookEvery
	switch {
	case early:
		look, c.walks.looked = true, 0 // no journey is open; the clock may have been set
	case look:
		c.walks.looked = c.now
		c.holdWalks()
	}
	if len(c.walks.spaces) == 0 {
		return // nobody traces; what is sorted is allocated
	}
	for _, ns := range slices.Sorted(maps.Keys(c.walks.spaces)) {
		s := c.walks.spaces[ns]
		kept := s.queue[:0]
		for _, w := range s.queue {
			old := look && c.old(w)
			if w.owner == 0 && w.start == netfilter.Output && c.unseen(w, old, early) {
				c.showUnseen(w)
			}
			if old || early {
				s.forget(w)
			} else {
				kept = append(kept, w)
			}
		}
		clear(s.queue[len(kept):])
		s.queue = kept
	}
}

// hurry settles the journeys of packets that were dropped: nothing more comes.
func (c *Correlator) hurry() {
	queued := c.settling[statePending-1].all()
	waiting := c.walks.dropped[:0]
	for _, w := range c.walks.dropped {
		if c.now < w.before+settleTerminal {
			waiting = append(waiting, w) // its last tap may not be heard of yet
			continue
		}
		for i := len(queued) - 1; i >= 0 && i >= len(queued)-lookBack; i-- {
			e := c.live(handle{queued[i].index, queued[i].generation})
			if e == nil || e.state != statePending || w.owner != 0 && w.owner != e.id {
				continue
			}
			s := &e.hops()[len(e.hops())-1]
			if s.point.Namespace == w.namespace && walkKeyOf(s.h, true) == w.key && c.within(w, s) &&
				slices.ContainsFunc(e.hops(), func(h sighting) bool { return h.point.Namespace == w.namespace && c.isStart(w, &h) }) {
				e.state, e.deadline = stateTerminal, c.now+settleTerminal
				c.settling[stateTerminal-1].push(timer{queued[i].index, e.generation, e.deadline})
			}
		}
	}
	clear(c.walks.dropped[len(waiting):])
	c.walks.dropped = waiting
}

// unseen reports whether no tap saw a packet that began here, nor will: its walk is old,
// so that its journey would be shown by now, or it ended before the first tap.
func (c *Correlator) unseen(w *walk, old, early bool) bool {
	h := &w.packet.Headers
	if !c.hosts.space(w.namespace).watched(w.after) || h.Layers.Has(packet.Truncated) || isOfLink(h) {
		// No tap was there; or the packet can't be told from others, because
		// the trace copies no extension headers; or it is no journey's.
		return false
	}
	return old || c.ended(w) && (early || w.before < c.now-unseenPatience)
}
