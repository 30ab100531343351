package trace

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// Who calls a peer by its name asks a name server first. The answer tells for
// which name the address stands that the connection then goes to; and where the
// server is the engine's, which asks others what it doesn't know, the question
// that it passes on is told from those of the container's programs.

const (
	// maxNames and maxQuestions bound what is remembered of one namespace; the
	// oldest are let go first.
	maxNames, maxQuestions = 256, 32
	// leastLifetime is how long an answer is remembered at least: one with no
	// lifetime is for the use that it was asked for (RFC 1035, section 3.2.1).
	leastLifetime = 10 * time.Second
	// mostLifetime is how long at most, whatever the server says.
	mostLifetime = time.Hour
	// askedBefore is how long a server may take to pass a question on.
	askedBefore = 5e9
)

// names is what the programs of one namespace asked of name servers, and were
// told.
type names struct {
	told  map[netip.Addr]*resolution
	order []*resolution // in the order in which they were told
	asked []asked       // of a server of the same namespace
}

// resolution is the answer of a name server that named an address.
type resolution struct {
	name        string
	address, by netip.Addr // by is the server
	journey     uint64     // of the answer
	time, until int64
}

// asked is a question to a server of the asker's own namespace.
type asked struct {
	packet.DNS
	server  netip.Addr
	journey uint64
	time    int64
}

func (c *Correlator) namesIn(ns netns.ID) *names {
	n := c.names[ns]
	if n == nil {
		n = &names{told: map[netip.Addr]*resolution{}}
		c.names[ns] = n
	}
	return n
}

// resolved learns from messages of name servers, and says of the first packet of a
// connection by which name its program knows the address, and from whom. j is
// complete but for that.
func (c *Correlator) resolved(j *Journey, e *entry, hops []sighting, main flowRef) {
	first := &hops[0]
	h := first.h // e.data() is of it
	talks := h.Tuple.Protocol == packet.UDP || h.Tuple.Protocol == packet.TCP && h.PayloadLength > 0
	if talks && !main.about {
		switch {
		case h.Tuple.SourcePort == packet.DNSPort:
			if main.flow == nil || main.reply { // else nobody had asked
				c.learnNames(j, e, hops)
			}
			return
		case h.Tuple.DestinationPort == packet.DNSPort,
			main.flow != nil && !main.reply && main.flow.Original.DestinationPort == packet.DNSPort:
			c.followQuestion(j, e, hops)
			return
		}
	}
	r := e.has().resolved
	if r == nil && opened(e, hops) {
		if r = c.nameOf(j, first); r != nil {
			e.also().resolved = r
		}
	}
	if r != nil {
		j.Related = append(j.Related, Relation{ID: r.journey, Why: "resolved_by"})
		j.Notes = append(j.Notes, fmt.Sprintf("%s was resolved to %v by %s (#%d)", r.name, r.address, serverName(first.space, r.by), r.journey))
	}
}

// opened reports whether the packet is the first of a connection.
func opened(e *entry, hops []sighting) bool {
	if h := hops[0].h; h.Layers.Has(packet.LayerTCP) {
		return begins(h)
	}
	for i := range hops {
		if r := hops[i].flow; r.flow != nil && !r.reply && !r.about && r.flow.opener == e.id {
			return true
		}
	}
	return false
}

// nameOf returns what the sender was told of the address that it sends to; nil
// when it was told nothing, or when nobody saw it send.
func (c *Correlator) nameOf(j *Journey, first *sighting) *resolution {
	n := c.names[first.point.Namespace]
	if n == nil || first.point.Direction != capture.Out {
		return nil
	}
	if r := n.told[j.calls()]; r != nil && r.time <= first.time && first.time < r.until {
		return r
	}
	return nil
}

// learnNames takes in an answer, where it was delivered.
func (c *Correlator) learnNames(j *Journey, e *entry, hops []sighting) {
	if j.Verdict.Result != Delivered || j.Supersedes != 0 {
		return
	}
	m, ok := hops[0].h.DNS(e.data())
	if !ok || !m.Response || len(m.Addresses) == 0 {
		return
	}
	end := &hops[j.Verdict.Hop]
	r := resolution{name: m.Name, by: j.From.IP, journey: j.ID, time: end.time}
	r.until = end.time + int64(min(max(m.Lifetime, leastLifetime), mostLifetime))
	n := c.namesIn(end.point.Namespace)
	for _, a := range m.Addresses {
		n.tell(r, a)
	}
}

func (n *names) tell(r resolution, a netip.Addr) {
	if len(n.order) >= maxNames {
		n.forget(n.order[0])
		n.order = n.order[1:]
	}
	r.address = a
	n.told[a] = &r
	n.order = append(n.order, &r)
}

func (n *names) forget(r *resolution) {
	if n.told[r.address] == r {
		delete(n.told, r.address)
	}
}

// followQuestion remembers a question to a server of the asker's own namespace, and
// recognises it when that server passes it on: with the same id and content.
func (c *Correlator) followQuestion(j *Journey, e *entry, hops []sighting) {
	first := &hops[0]
	if first.point.Direction != capture.Out {
		return
	}
	a := e.has().passedOn
	if a == nil {
		m, ok := first.h.DNS(e.data())
		if !ok || m.Response {
			return
		}
		n := c.namesIn(first.point.Namespace)
		if j.Verdict.Result == Delivered && hops[j.Verdict.Hop].point.Namespace == first.point.Namespace {
			if j.Supersedes == 0 {
				n.ask(asked{m, j.calls(), j.ID, first.time})
			}
			return
		}
		if a = n.asker(&m, first.time); a == nil {
			return
		}
		e.also().passedOn = a
	}
	j.Related = append(j.Related, Relation{ID: a.journey, Why: "proxied_as"})
	j.Notes = append(j.Notes, fmt.Sprintf("%s passes the question of #%d on to %v (same id and name)", serverName(first.space, a.server), a.journey, j.calls()))
}

func (n *names) ask(a asked) {
	if len(n.asked) >= maxQuestions {
		n.asked = append(n.asked[:0], n.asked[1:]...)
	}
	n.asked = append(n.asked, a)
}

// asker returns the newest question of which m can be the copy; nil when there is
// none.
func (n *names) asker(m *packet.DNS, at int64) *asked {
	for i := len(n.asked) - 1; i >= 0; i-- {
		a := n.asked[i]
		if a.ID == m.ID && a.Type == m.Type && strings.EqualFold(a.Name, m.Name) && a.time <= at && at < a.time+askedBefore {
			return &a
		}
	}
	return nil
}

// calls is the address that the sender itself had in mind, before any translation.
func (j *Journey) calls() netip.Addr {
	for i := range j.Translations {
		if t := &j.Translations[i]; t.Kind != Proxy && t.Between[0] < 0 {
			return t.Before.Destination()
		}
	}
	return j.Hops[0].Headers.Tuple.Destination()
}

// serverName says in words who answers at an address.
func serverName(s *space, at netip.Addr) string {
	if at == packet.DockerResolver && !s.self {
		return "the engine's DNS"
	}
	return "the name server " + at.String()
}

// sweepNames lets go of what nobody may use any more.
func (c *Correlator) sweepNames() {
	for ns, n := range c.names {
		for len(n.order) > 0 && n.order[0].until < c.now {
			n.forget(n.order[0])
			n.order = n.order[1:]
		}
		for len(n.asked) > 0 && n.asked[0].time < c.now-askedBefore {
			n.asked = n.asked[1:]
		}
		if len(n.order)+len(n.asked) == 0 {
			delete(c.names, ns)
		}
	}
}
