package trace

import "natlens/capture"

// A container's first packets are faster than the news of it: of its namespace, of
// its links, of its name. So a journey that came by a place of which little is known
// is shown a little later, and shown anew when more is.

const (
	// youth is how long a namespace may lack a name, or a link that of its other
	// end, until that is how it is.
	youth = 3e9
	// strangeWait is how long a journey whose end was seen waits for that.
	strangeWait = 100e6
	// youngShare is what part of all journeys may be kept for it.
	youngShare = 16
)

// identity is what is known of the places of a journey: another number when that is
// something else.
type identity struct {
	version uint32
	lives   uint32 // another number when a namespace is another one
	young   bool   // some of it is new
	strange bool   // some of it is missing
}

func (c *Correlator) identify(e *entry) (id identity) {
	if !c.anyYoung() {
		return id
	}
	for i := range e.hops() {
		s := &e.hops()[i]
		id.space(s.space, c)
		if s.link == nil {
			id.young, id.strange = true, true
			continue
		}
		id.version += s.link.version
		id.young = id.young || c.now < s.link.since+youth
		// Who is at the other end of a veth sent it, or gets it.
		if s.link.veth && (i == 0 && s.point.Direction == capture.In || i == len(e.hops())-1 && s.point.Direction == capture.Out) {
			id.space(s.link.far, c)
			id.strange = id.strange || s.link.far == nil && c.now < s.link.since+youth
		}
	}
	return id
}

// anyYoung reports whether more may be heard of any place.
func (c *Correlator) anyYoung() bool { return !c.foreign && c.now <= c.hosts.youngUntil }

// space takes a namespace in. It is strange while the engine may be about to tell
// whose it is.
func (id *identity) space(s *space, c *Correlator) {
	if s == nil {
		return
	}
	id.version += s.version
	id.lives += s.lives
	if c.now >= s.born+youth || s.self {
		return
	}
	id.young = true
	engine := c.hosts.topology.Engine
	id.strange = id.strange || s.own == nil || len(s.containers) == 0 && engine != nil && engine.Elsewhere == ""
}

// awaits reports whether it is too early to show a journey, or to forget it, as more
// may be heard of its places; it then has a new deadline.
func (c *Correlator) awaits(st state, e *entry) bool {
	switch {
	case st == stateTerminal && c.anyYoung() && e.shownAs == 0 && c.now < e.lastSeen()+strangeWait && c.identify(e).strange:
		e.deadline = c.now + settleTerminal
	case st == stateShown && c.anyYoung() && e.identity.young && c.now < e.began()+youth && c.slab.used < c.slab.limit/youngShare:
		e.deadline = c.now + keepShown
	default:
		return false
	}
	return true
}

// recognise gives links to hops that were seen before a topology told of them, and
// has journeys shown anew of whose places something else is known now.
func (c *Correlator) recognise() {
	for _, st := range []state{statePending, stateTerminal, stateShown} {
		if st != statePending && c.now > c.hosts.youngUntil {
			break
		}
		for _, t := range c.settling[st-1].all() {
			e := c.live(handle{t.index, t.generation})
			if e == nil || e.state != st || st == stateShown && !e.identity.young {
				continue
			}
			found := false
			if e.steps == 0 { // what is on a trail has links
				for k := range e.written {
					if s := &e.written[k]; s.link == nil {
						s.link = c.hosts.link(s.point)
						found = found || s.link != nil
					}
				}
			}
			if st == statePending && found {
				last := &e.hops()[len(e.hops())-1]
				c.schedule(t.index, e, last.time, c.terminal(last))
			}
			if st != stateShown {
				continue
			}
			if is, was := c.identify(e), e.identity; is.lives == was.lives && is.version != was.version {
				c.reopen(e)
			}
		}
	}
}

// meet notes that a namespace was heard of for the first time, or something in it.
func (h *hosts) meet(s *space, at int64) {
	if s.born == 0 {
		s.born = at
	}
	h.met(at)
}

// met notes that something was heard of for the first time.
func (h *hosts) met(at int64) { h.youngUntil = max(h.youngUntil, at+youth) }
