package record

import (
	"net/netip"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// What is said of a packet rests on others, too: the answer, the error that quotes
// it, the other connection of a docker-proxy, what a rule dropped beside it. Where a
// filter picks what is written, those that it does not pick are written as well, as
// far as a picked one can need them. Which they are is often known later: so all
// wait a while.

const (
	// besideWait is how long a journey that was not picked waits for one that needs
	// it: longer than those wait that are told late.
	besideWait = int64(4500e6)
	// maxBeside is how many bytes wait at most; the oldest go first.
	maxBeside = 64 << 20
	// besideKept is about what waits with the bytes of a packet, or of a journey.
	besideKept = 512
	// maxNeeds is how many needs are remembered at least.
	maxNeeds = 1 << 16
	// maxUnseenBeside is how many packets a second that were seen no more are written
	// because rules are asked for their like.
	maxUnseenBeside = 1000
)

// need is what ties journeys together: one of them is needed for the other.
type need struct {
	kind needKind
	id   uint64
	pair packet.Tuple
}

type needKind uint8

const (
	needJourney needKind = iota // or one that names it
	needTalk                    // between two ends, in both directions
	needPorts                   // an answer can come from another address
	needProxy                   // connections of one docker-proxy
)

// beside are the journeys that were not picked and wait, and what those that were
// need.
type beside struct {
	waiting []waitingJourney // oldest first
	bytes   int
	needs   rememberedSet[need]
	// ruled is when a packet was picked last of which rules of a namespace tell that
	// count what they do: what else they did then is needed.
	ruled   map[netns.ID]int64
	proxies map[proxyPort][]netinfo.Proxy
	unseen  struct {
		second int64
		n      int
	}
	made amendments // also of journeys that were not picked
	keys []need     // spare
}

type proxyPort struct {
	protocol packet.Protocol
	port     uint16
}

type waitingJourney struct {
	journey *trace.Journey
	since   int64 // of the correlator's time
	oldest  int64 // of its packets
	bytes   int
	packets []waitingPacket
}

type waitingPacket struct {
	hop int
	o   *capture.Observation
}

func newBeside() *beside {
	return &beside{needs: newRememberedSet[need](maxNeeds), ruled: map[netns.ID]int64{}, made: amendments{}}
}

// know takes in where docker-proxies listen, and to where they connect.
func (b *beside) know(t *netinfo.Topology) {
	b.proxies = map[proxyPort][]netinfo.Proxy{}
	numbers := map[string]packet.Protocol{"tcp": packet.TCP, "udp": packet.UDP, "sctp": packet.SCTP}
	for _, p := range t.Proxies {
		for _, port := range []uint16{p.Listen.Port(), p.Backend.Port()} {
			at := proxyPort{numbers[p.Protocol], port}
			b.proxies[at] = append(b.proxies[at], p)
		}
	}
}

// pick remembers what a journey needs.
func (b *beside) pick(j *trace.Journey) {
	begins := false
	for _, k := range b.keysOf(j) {
		if b.needs.add(k) && k.kind == needTalk {
			begins = true
		}
	}
	if n := len(j.Hops); n > 0 && (unseenAfter(j) || begins && len(j.Translations) > 0) {
		for i := range j.Hops {
			b.ruled[j.Hops[i].Point.Namespace] = j.Hops[n-1].Time
		}
	}
}

// needed reports whether something that was picked needs the journey.
func (b *beside) needed(j *trace.Journey) bool {
	for _, k := range b.keysOf(j) {
		if b.needs.has(k) {
			return true
		}
	}
	if len(j.Hops) == 0 {
		return false
	}
	last := &j.Hops[len(j.Hops)-1]
	if unseenAfter(j) {
		at, ok := b.ruled[last.Point.Namespace]
		return ok && max(at-last.Time, last.Time-at) <= besideWait && b.mayUnseen(last.Time)
	}
	// A connection may go to the address that it told, an hour later.
	return slices.ContainsFunc(j.Hops, func(h trace.Hop) bool {
		return h.Headers.Tuple.SourcePort == packet.DNSPort && h.Headers.Tuple.HasPorts()
	})
}

func (b *beside) mayUnseen(at int64) bool {
	if second := at / 1e9; second != b.unseen.second {
		b.unseen.second, b.unseen.n = second, 0
	}
	b.unseen.n++
	return b.unseen.n <= maxUnseenBeside
}

// unseenAfter reports whether a packet was seen coming in and then no more.
func unseenAfter(j *trace.Journey) bool {
	switch j.Verdict.Result {
	case trace.Dropped, trace.Vanished, trace.Unfinished:
		return len(j.Hops) > 0
	case trace.Delivered, trace.Left, trace.Flooded, trace.Looped:
	}
	return false
}

// keysOf lists what ties a journey to others. It is valid until the next call.
func (b *beside) keysOf(j *trace.Journey) []need {
	keys := append(b.keys[:0], need{kind: needJourney, id: j.ID})
	if j.Supersedes != 0 {
		keys = append(keys, need{kind: needJourney, id: j.Supersedes})
	}
	for _, r := range j.Related {
		keys = append(keys, need{kind: needJourney, id: r.ID})
	}
	var last packet.Tuple
	for i := range j.Hops {
		h := &j.Hops[i].Headers
		if h.Tuple == last {
			continue
		}
		last = h.Tuple
		quotes := h.Layers.Has(packet.LayerQuoted)
		if quotes {
			keys = b.keysOfTuple(keys, h.Quoted)
		} else {
			keys = b.keysOfTuple(keys, h.Tuple)
		}
	}
	b.keys = keys
	return keys
}

func (b *beside) keysOfTuple(keys []need, t packet.Tuple) []need {
	if !t.Valid() {
		return keys
	}
	keys = append(keys, need{kind: needTalk, pair: talkOf(t)})
	if t.Protocol == packet.UDP {
		keys = append(keys, need{kind: needPorts, id: uint64(min(t.SourcePort, t.DestinationPort))<<16 | uint64(max(t.SourcePort, t.DestinationPort))})
	}
	if !t.HasPorts() {
		return keys
	}
	for _, end := range [2]netip.AddrPort{netip.AddrPortFrom(t.Source(), t.SourcePort), netip.AddrPortFrom(t.Destination(), t.DestinationPort)} {
		for _, p := range b.proxies[proxyPort{t.Protocol, end.Port()}] {
			if p.Listen.Port() == end.Port() || p.Backend == end {
				keys = append(keys, need{kind: needProxy, pair: packet.NewTuple(t.Protocol, p.Backend.Addr(), p.Backend.Addr(), p.Backend.Port(), 0)})
			}
		}
	}
	return keys
}

// talkOf is a tuple without its direction.
func talkOf(t packet.Tuple) packet.Tuple {
	source, destination := netip.AddrPortFrom(t.Source(), t.SourcePort), netip.AddrPortFrom(t.Destination(), t.DestinationPort)
	if !t.HasPorts() { // an echo's identifier is in the source's place both ways
		destination = netip.AddrPortFrom(t.Destination(), t.SourcePort)
	}
	if destination.Compare(source) < 0 {
		source, destination = destination, source
	}
	return packet.NewTuple(t.Protocol, source.Addr(), destination.Addr(), source.Port(), destination.Port())
}

// wait takes in a journey with packets that nobody picked.
func (b *beside) wait(w waitingJourney) {
	w.bytes = besideKept
	w.oldest = w.packets[0].o.Time
	for _, p := range w.packets {
		w.bytes += len(p.o.Data) + besideKept
		w.oldest = min(w.oldest, p.o.Time)
	}
	b.bytes += w.bytes
	b.waiting = append(b.waiting, w)
}

// due returns the next journey that has waited long enough and is needed; false when
// there is none.
func (b *beside) due(now int64) (w waitingJourney, ok bool) {
	for len(b.waiting) > 0 && (b.waiting[0].since <= now-besideWait || b.bytes > maxBeside) {
		w = b.waiting[0]
		b.waiting[0] = waitingJourney{}
		b.waiting = b.waiting[1:]
		b.bytes -= w.bytes
		if b.needed(w.journey) {
			return w, true
		}
	}
	return waitingJourney{}, false
}

// oldest returns the time of the oldest packet that waits, or that which is given.
func (b *beside) oldest(at int64) int64 {
	for i := range b.waiting {
		at = min(at, b.waiting[i].oldest)
	}
	return at
}
