package trace

import (
	"fmt"
	"math"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// silence says why it proves nothing that connection tracking has no entry for a
// packet which came in; empty where that is a sign that a rule dropped it.
func (c *Correlator) silence(s *sighting) string {
	if x := c.flows[s.point.Namespace]; x != nil && x.silent {
		return "connection tracking tells of no flow that begins here (net.netfilter.nf_conntrack_events = 0)"
	}
	if c.inSomeZone(s) {
		return "entries in several zones have its addresses, and in which of them it was looked up is not known"
	}
	switch c.exempted(s) {
	case netfilter.True:
		return "a rule takes it out of connection tracking (notrack)"
	case netfilter.NotKnown:
		return "a rule here takes packets out of connection tracking (notrack), perhaps this one"
	case netfilter.False:
	}
	if c.Heard() <= s.time {
		return "connection tracking has not answered since"
	}
	// A flow that began during a loss may be unknown for a while.
	if lost := c.lostFlows.since(s.time - relearn); lost > 0 {
		return fmt.Sprintf("connection tracking lost %d of its events", lost)
	}
	return ""
}

// deaf reports whether what became of a flow by the packet's time may not have been told.
func (c *Correlator) deaf(s *sighting) bool {
	x := c.flows[s.point.Namespace]
	return x == nil || x.silent || c.Heard() <= s.time || c.lostFlows.since(s.time-relearn) > 0
}

// relearn is how long after a loss of events an entry may still be unknown: a dump
// follows at once, and takes about a second where there are a million entries.
const relearn = 5e9

// exempted reports whether a rule took a packet that came in out of connection
// tracking, by the rules of its time. Of one that goes out that is not known where there
// are such rules: it would have to be asked where it came in.
func (c *Correlator) exempted(s *sighting) netfilter.Fact {
	if !c.exempts[s.point.Namespace] {
		return netfilter.False
	}
	if s.point.Direction != capture.In || s.link == nil || !s.tuple.Valid() {
		return netfilter.NotKnown
	}
	p := c.arriving(s)
	met, _ := c.readings[s.point.Namespace].met(s.time)
	all := netfilter.NotKnown
	for i := range met {
		p.MarkKnown = !met[i].SetsMarks()
		one := met[i].Exempted(netfilter.Prerouting, p)
		if i > 0 && one != all {
			return netfilter.NotKnown
		}
		all = one
	}
	return all
}

// arriving is a packet that came in as the first of IP's rules see it, but for its mark.
func (c *Correlator) arriving(s *sighting) netfilter.Packet {
	p := netfilter.Packet{
		Tuple: s.tuple, InLink: c.hosts.layer3(s.link), LocalAddress: s.space.has,
		Length: s.h.Length, Time: s.time, TCPFlags: s.h.TCPFlags, TCPFlagsKnown: s.h.Layers.Has(packet.LayerTCP),
	}
	if s.link.master != (netinfo.LinkKey{}) {
		p.InPort = s.link.name
	}
	return p
}

// trackedAs returns the flow of a packet where it was seen. A packet that a rule
// takes out of connection tracking has none, though its tuple can be that of one:
// what answers it may be tracked.
func (c *Correlator) trackedAs(s *sighting) flowRef {
	var r flowRef
	if c.choosesZones(s) {
		r = c.flowInZone(s)
	} else {
		r = c.flowOf(s.point.Namespace, s.h, s.time)
	}
	if r.flow != nil && c.exempts[s.point.Namespace] && c.exempted(s) == netfilter.True {
		return flowRef{}
	}
	return r
}

// Heard returns up to when connection tracking has been read; math.MaxInt64 where
// nobody waits for it. It is before Now where its word came too late.
func (c *Correlator) Heard() int64 {
	switch {
	case c.hasConntrack:
		return c.flowThrough
	case c.replayed != 0:
		return c.replayed
	}
	return math.MaxInt64
}

// SetHeard says, to who plays what was recorded, up to when connection tracking had
// been read when what follows was judged. 0 is as far as the packets.
func (c *Correlator) SetHeard(through int64) { c.replayed = through }

// hearAgain looks for the flows of a journey whose packets were judged before
// connection tracking had been read up to their time: on a busy host it can come
// later than packets may wait for it.
func (c *Correlator) hearAgain(e *entry) {
	known := true
	for i := range e.hops() {
		s := &e.hops()[i]
		if s.flow.flow == nil || s.flow.flow.gone(s.time) {
			s.flow = c.trackedAs(s)
			c.underWay(e, s)
			if r := s.flow; r.mayBegin(s.time) {
				r.flow.begin(e.id, s.h)
			}
		}
		known = known && (s.flow.flow != nil || !c.tracks(s))
	}
	if known {
		e.inferred = false
	}
}
