package trace

import (
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// Files of other programs have packets and nothing else: no topology, no
// connection tracking, in many cases no direction. What remains is order, and
// that a packet stays like itself.

// ReadForeign says that packets are all that is known. Places are taken to be
// connected in any way; what changes an address is inferred from packets that
// are alike, and what it says is remembered as a flow, so that later packets and
// answers need no guess. Call it before the first Observe.
func (c *Correlator) ReadForeign() { c.foreign = true }

const (
	// keepInferred is how long an inferred flow is remembered after its last
	// packet.
	keepInferred = 300e9
	// maxInferred is how many of them are remembered at once.
	maxInferred = 1 << 16
	// reuse is after which silence a port may have been given to another: no entry
	// of connection tracking is kept for a shorter time (tcp_timeouts[CLOSE],
	// net/netfilter/nf_conntrack_proto_tcp.c).
	reuse = 10e9
	// anonymousTime is how long a packet can take from one link to another that
	// the file does not tell apart. One that comes later is another packet.
	anonymousTime = 100e6
	// maxAnonymous is how many hops such a packet can have: more than a host has
	// ports that a frame goes out by.
	maxAnonymous = 256
)

// anonymous reports whether a sighting at what looks like a point of the journey can be
// at another link: a capture of all links need not tell which (LINKTYPE_LINUX_SLL). A
// packet that went on to another place from its only link here, or out of here, does not
// come again.
func (c *Correlator) anonymous(e *entry, s *sighting) bool {
	if !c.foreign || s.point.Ifindex != 0 || len(e.hops()) >= maxAnonymous {
		return false
	}
	here, first := 0, s.time
	for i := range e.hops() {
		switch o := &e.hops()[i]; {
		case o.point.Namespace != s.point.Namespace || !o.extent.meets(s.extent):
		case max(o.time-s.time, s.time-o.time) >= anonymousTime,
			o.point.Direction == capture.Out && s.point.Direction == capture.In && s.typ != capture.UnknownType:
			return false
		default:
			here++
			first = min(first, o.time)
		}
	}
	return here > 1 || !slices.ContainsFunc(e.hops(), func(o sighting) bool {
		return o.point.Namespace != s.point.Namespace && o.extent.meets(s.extent) && o.time > first
	})
}

// sameContent reports whether a packet of the same length as the journey's first
// sighting has its payload, TCP's window and, but for what begins a connection, its
// options, as far as both are known. NAT leaves these alone.
func (e *entry) sameContent(h *packet.Headers, data []byte) bool {
	first := e.hops()[0].h // e.data() is of it
	either := first.Layers | h.Layers
	if first.Length != h.Length || either&(packet.LayerFragment|packet.LayerQuoted) != 0 ||
		either&(packet.LayerTCP|packet.LayerUDP|packet.LayerICMP) == 0 {
		return true
	}
	if first.TCPWindow != h.TCPWindow {
		return false
	}
	a, b := content(first), content(h)
	return a > len(e.data()) || b > len(data) || sameBytes(e.data()[a:], 0, data[b:])
}

// content is where begins what NAT leaves alone.
func content(h *packet.Headers) int {
	const fixed = 20 // RFC 9293, section 3.1
	if h.Layers.Has(packet.LayerTCP) && h.TCPFlags&packet.SYN == 0 {
		return int(h.TransportOffset) + fixed
	}
	return int(h.PayloadOffset)
}

// mayFollow is the fit of two sightings of which nothing is known but what is in
// the packets.
func (c *Correlator) mayFollow(a, b *sighting) fit {
	if b.h.TTL > a.h.TTL || a.h.Tuple.Protocol != b.h.Tuple.Protocol {
		return fitNone // whoever hands a packet on never raises it
	}
	wire := a.point.Direction == capture.Out && b.point.Direction == capture.In
	known := a.flow
	if known.flow == nil {
		known = c.flowOf(0, a.h, a.time) // it may be known since
	}
	switch {
	case alike(a, b):
		return fitSpace
	case known.same(b.flow):
		return fitLoose
	case !b.flow.idle(b.time) || wire:
		return fitNone
	case a.point.Namespace != b.point.Namespace && a.h.TTL == b.h.TTL && (b.point.Direction == capture.Out || a.tuple.Source() != b.tuple.Source()):
		return fitNone // what two places show that no router is between, two have sent
	case a.quotes && a.h.QuotedID == 0 && (a.h.Quoted.SourcePort != b.h.Quoted.SourcePort || a.h.Quoted.DestinationPort != b.h.Quoted.DestinationPort):
		return fitNone // such errors have little else to be told apart by
	case keepsOneSide(a, b):
		return fitGuess
	case known.idle(a.time):
		return returns(a, b)
	}
	return fitNone
}

// idle reports whether nothing is known of the flow of a packet that was seen at that
// time, or nothing that must still be so.
func (r flowRef) idle(at int64) bool {
	return r.flow == nil || r.flow.inferred && at-r.flow.named > reuse
}

// inferFlow remembers what a guess says about the flow of a packet.
func (c *Correlator) inferFlow(e *entry, s *sighting) {
	if s.h.Layers.Has(packet.LayerQuoted) || s.extent.kind == extentFragment && s.extent.begin > 0 {
		return
	}
	var near *sighting
	for i := range e.hops() {
		if h := &e.hops()[i]; h.tuple != s.tuple && c.either(h, s).guessed() {
			near = h
		}
	}
	if near == nil {
		return
	}
	before, after := near, s
	if s.time < near.time {
		before, after = s, near
	}
	from, to, reply := before.tuple, after.tuple, answers(before.h)
	part := partOf(before, after)
	if part != nil {
		from, reply = part.direction(before.flow.reply).before, before.flow.reply
	}
	f := netfilter.Flow{Original: from, Reply: to.Inverse()}
	if reply {
		f = netfilter.Flow{Original: to.Inverse(), Reply: from}
	}
	if before.point.Namespace == after.point.Namespace {
		f.Namespace = before.point.Namespace // who translates it
	}
	x := c.flows[0]
	if x == nil {
		x = newFlowIndex()
		c.flows[0] = x
	}
	if old := x.byID[keyOf(&f)]; old != nil && old != part {
		x.bury(old, before.time) // its port was given to another
	}
	made := part
	if part != nil {
		x.correct(part, f)
	} else {
		if len(x.byID) >= maxInferred {
			x.bury(x.byID[stalest(x.byID)], before.time)
		}
		made = x.add(f, 0, 0)
	}
	made.inferred, made.named = true, s.time
	for i := range e.hops() {
		e.hops()[i].flow = x.find(&e.hops()[i].tuple, e.hops()[i].time)
	}
	s.flow = x.find(&s.tuple, s.time)
}

// partOf returns the flow that was inferred from how a packet changed up to a,
// where b shows that a was half way: its destination is changed first, its source
// where it leaves. nil when a is no such place.
func partOf(a, b *sighting) *trackedFlow {
	r := a.flow
	if r.flow == nil || !r.flow.inferred || r.about || r.flow.died != 0 {
		return nil
	}
	f := r.flow.direction(r.reply)
	if f.before == a.tuple || f.after != a.tuple || middle(f.before, b.tuple, r.reply) != a.tuple {
		return nil
	}
	return r.flow
}

// answers reports whether a packet looks like an answer. Without a handshake or
// a type that says so, the ports do: who asks has a high one.
func answers(h *packet.Headers) bool {
	const firstEphemeral = 32768 // net.ipv4.ip_local_port_range
	switch {
	case h.Layers.Has(packet.LayerICMP):
		return h.ICMPType == 0 || h.ICMPType == 14 || h.ICMPType == 18 || h.ICMPType == 129
	case h.Layers.Has(packet.LayerTCP) && h.TCPFlags&packet.SYN != 0:
		return h.TCPFlags&packet.ACK != 0
	}
	return h.Tuple.SourcePort < firstEphemeral && h.Tuple.DestinationPort >= firstEphemeral
}

// foreignEnd says what is known of a journey's end.
func foreignEnd(s *sighting, at int) Verdict {
	if s.point.Direction == capture.Out {
		return Verdict{Result: Left, Hop: at, Evidence: ByTap}
	}
	return Verdict{Result: Unfinished, Hop: at, Evidence: ByTap,
		Reason: "last seen here; packets alone don't tell what came next"}
}

func (t *trackedFlow) lastUsed() int64 { return t.named }

// sweepInferred forgets inferred flows that have no packets any more.
func (c *Correlator) sweepInferred() {
	x := c.flows[0]
	if !c.foreign || x == nil {
		return
	}
	for _, t := range x.byID {
		if t.named < c.now-keepInferred {
			x.bury(t, c.now)
		}
	}
}
