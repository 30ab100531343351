package trace

import (
	"fmt"
	"net/netip"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
)

// A container on the host's own network has neither a namespace nor an address of
// its own: its packets look like the host's. Whose they are only the socket tells,
// and only while it is there; a ping has none that could be found by its packets.

// maxHosted bounds the connections whose socket is asked for; the oldest are
// forgotten first.
const maxHosted = 4096

// hostedIdle is the silence after which a connection's ends may be another one's.
const hostedIdle = 60e9

// hosted are the containers on natlens's own network, and the connections of that
// namespace.
type hosted struct {
	containers []*netinfo.Container
	conns      map[connKey]*hostedConn
	order      []connKey
}

// hostedConn is a connection by its two ends, as the socket sees it.
type hostedConn struct {
	answered  bool
	container string // whose process holds the socket; empty: none of theirs does
	pid       int
	first     uint64 // the journey of its first packet
	last      int64  // when a packet of it was seen last
	// shown are the first journeys, which were shown before there was an answer.
	shown []shownEntry
}

// shownEntry is an entry in one of its lives.
type shownEntry struct {
	*entry
	as    uint32 // its generation
	noted bool   // it was said that nothing tells whose it is
}

// maxUnanswered bounds the journeys of one connection that are shown anew when its
// socket was found.
const maxUnanswered = 32

func newHosted() hosted { return hosted{conns: map[connKey]*hostedConn{}} }

func (x *hosted) set(t *netinfo.Topology) {
	x.containers = nil
	if n := t.Namespace(t.Self); n != nil {
		x.containers = n.Containers
	}
	if len(x.containers) == 0 {
		x.forget()
	}
}

// forget lets go of all connections.
func (x *hosted) forget() {
	clear(x.conns)
	x.order = nil
}

func (x *hosted) names() (names []string) {
	for _, c := range x.containers {
		names = append(names, c.Name)
	}
	return names
}

// askHosted asks for the socket of a packet that the host sends, or, at its end, gets:
// s is its first sighting there. It returns what is known of the connection; nil when
// nothing can be.
func (c *Correlator) askHosted(e *entry, s *sighting, sent bool) *hostedConn {
	x := &c.hosted
	protocol := ""
	for name, p := range proxyProtocols {
		if p == s.tuple.Protocol {
			protocol = name
		}
	}
	if protocol == "" {
		return nil
	}
	t := s.tuple
	if !sent {
		t = t.Inverse()
	}
	key := connKey{s.point.Namespace, t}
	old := x.conns[key]
	if old != nil && !old.ended(e, s) {
		old.last = max(old.last, s.time)
		return old
	}
	if c.sink.Socket == nil {
		return nil
	}
	k := &hostedConn{first: e.id, last: s.time}
	x.conns[key] = k
	if old == nil {
		x.order = append(x.order, key)
	}
	if len(x.order) > maxHosted {
		delete(x.conns, x.order[0])
		x.order = x.order[1:]
	}
	q := SocketQuery{Namespace: s.point.Namespace, Connection: netinfo.Connection{
		Protocol: protocol,
		Local:    netip.AddrPortFrom(t.Source(), t.SourcePort),
		Remote:   netip.AddrPortFrom(t.Destination(), t.DestinationPort),
	}}
	for _, one := range x.containers {
		q.Containers = append(q.Containers, one.ID)
	}
	c.sink.Socket(q)
	return k
}

// ended reports whether a packet is of another connection with the same ends.
func (k *hostedConn) ended(e *entry, s *sighting) bool {
	opens := s.h.Layers.Has(packet.LayerTCP) && begins(s.h) && k.first != e.id && s.time > k.last
	return opens || s.time > k.last+hostedIdle
}

// answerHosted takes in whose socket it is, and has what was shown of it shown anew.
func (c *Correlator) answerHosted(s Socket) {
	k := c.hosted.conns[connKey{s.Namespace, tupleOf(s.Connection)}]
	if k == nil || k.answered {
		return
	}
	k.answered, k.pid = true, s.PID
	for _, one := range c.hosted.containers {
		if one.ID == s.Container && s.Container != "" {
			k.container = one.Name
		}
	}
	for _, e := range k.shown {
		if e.generation == e.as && e.state == stateShown && (e.noted || k.container != "") {
			c.reopen(e.entry)
		}
	}
	k.shown = nil
}

// nameHosted says whose the host's end of a journey is, where containers share the
// host's network.
func (c *Correlator) nameHosted(j *Journey, e *entry, hops []sighting) {
	if len(c.hosted.containers) == 0 {
		return
	}
	first, last := &hops[0], &hops[len(hops)-1]
	if first.space.self && first.point.Direction == capture.Out && j.From.Name == first.space.name && !e.has().proxied.byProxy(true) {
		c.nameHostedEnd(j, &j.From, "sent", e, c.askHosted(e, first, true))
	}
	if last.space.self && last.point.Direction == capture.In && j.To.Name == last.space.name && j.Verdict.Result == Delivered && !e.has().proxied.byProxy(false) {
		c.nameHostedEnd(j, &j.To, "got", e, c.askHosted(e, last, false))
	}
}

func (c *Correlator) nameHostedEnd(j *Journey, end *Endpoint, did string, e *entry, k *hostedConn) {
	first := j.Hops[0].Headers
	opens := begins(&first) && (k == nil || j.Protocol == packet.TCP || k.first == e.id)
	if k != nil && !k.answered && len(k.shown) < maxUnanswered {
		k.shown = append(k.shown, shownEntry{e, e.generation, opens})
	}
	switch {
	case k != nil && k.answered && k.container != "":
		end.Name, end.Containers = k.container, []string{k.container}
		if opens {
			j.Notes = append(j.Notes, fmt.Sprintf("%s by %s, which is on the host's own network: process %d holds the socket", did, k.container, k.pid))
		}
	case k != nil && k.answered:
	case opens:
		j.Notes = append(j.Notes, fmt.Sprintf("%s by the host or a host-network container (%s): %s", did, list(c.hosted.names()), unproven(j.Protocol)))
	}
}

// unproven says why nothing tells whose a packet is.
func unproven(p packet.Protocol) string {
	if p == packet.ICMP || p == packet.ICMPv6 {
		return "a ping's socket can't be found"
	}
	return "no socket of it was found"
}

// asksHosted reports whether the packet may be one that the host sends by itself and
// whose socket has to be asked for at once, because it may be gone soon.
func (c *Correlator) asksHosted(s *sighting) bool {
	return len(c.hosted.containers) > 0 && s.space.self && s.point.Direction == capture.Out &&
		slices.Contains([]packet.Protocol{packet.TCP, packet.UDP}, s.tuple.Protocol) && s.space.has(s.tuple.Source())
}
