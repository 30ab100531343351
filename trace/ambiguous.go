package trace

import (
	"fmt"
	"slices"
	"strings"

	"natlens/capture"
)

// Packets can look the same: pings and datagrams without an identification,
// sent again with the same bytes. Queues keep order, so that each is joined with
// the next sighting that fits. Once one of them is lost, order tells no more which
// of them a later sighting shows, and all that were under way together are in
// doubt.

const (
	// comesOn is how soon the next hop is expected while nothing waits for an
	// address or a processor. A packet without one by then may be lost.
	comesOn = settleTerminal
	// overtaken is how long a packet is taken to be ahead of one that looks the
	// same. What was silent for longer is passed over, in favour of a newer one.
	overtaken = 100e6
	// maxTwins is how many of those that look the same are named.
	maxTwins = 4
)

// doubt is what several journeys share whose hops may be each other's.
type doubt struct {
	ids   []uint64
	why   string
	more  int  // journeys that are not among ids
	bytes bool // what they have in common is the bytes that they carry; not all of how they look
}

// choose returns which of several journeys a sighting belongs to that fit it
// equally well, and notes that there were several.
func (c *Correlator) choose(head int32, s *sighting, best fit) (chosen int32, found *entry) {
	var passedOver []*entry
	for i := head; i >= 0; i = c.slab.at(i).next {
		e := c.slab.at(i)
		if f, used := c.fits(e, s); used || f != best {
			continue
		}
		e.tied = true
		switch silent := s.time-e.lastSeen() > overtaken; {
		case found == nil:
			chosen, found = i, e
		case len(passedOver) == 0 && !silent && s.time-found.lastSeen() > overtaken:
			passedOver = append(passedOver, found)
			chosen, found = i, e
		}
	}
	for _, old := range passedOver {
		c.mark([]*entry{old, found}, old.silent(s))
	}
	return chosen, found
}

// silent says since when the journey was seen nowhere, as another sighting shows it or
// one like it.
func (e *entry) silent(s *sighting) string {
	return fmt.Sprintf("%s was last seen at %s, %d ms before this one came on: it is lost, or this one is",
		name(e.id), e.hops()[len(e.hops())-1].linkName(), (s.time-e.lastSeen())/1e6)
}

// doubts looks, when a journey is to be shown, at those that look the same and
// were under way with it, directly or by way of others. If any of them did not
// come on where another did, which it was can't be told.
func (c *Correlator) doubts(e *entry) {
	var group []*entry
	begin, end := e.began(), e.lastSeen()
	for grown := true; grown; {
		grown = false
		for i, _ := c.byPrint.oldest(e.fingerprint); i >= 0; i = c.slab.at(i).next {
			o := c.slab.at(i)
			if !o.tied { // one that is being opened has no hops yet
				continue
			}
			first, last := o.began(), o.lastSeen()
			if slices.Contains(group, o) || last+comesOn < begin || first > end+comesOn || !o.looksLike(e) {
				continue
			}
			group = append(group, o)
			begin, end, grown = min(begin, first), max(end, last), true
		}
	}
	if len(group) < 2 {
		return
	}
	if lost := c.lostRing.since(begin); lost > 0 {
		c.mark(group, fmt.Sprintf("a ring lost %d packets meanwhile", lost))
		return
	}
	for _, o := range group {
		last := &o.hops()[len(o.hops())-1]
		if o.state != statePending && !o.lost || last.time+comesOn > c.now {
			continue
		}
		if slices.ContainsFunc(group, func(p *entry) bool { return p.beyond(o) }) {
			c.mark(group, fmt.Sprintf("not all of them came on behind %s", last.linkName()))
			return
		}
	}
}

// undoubted reports whether one of those that look the same is not in doubt: that can be
// one that came when the others were already, and was joined with what is one of theirs.
func (c *Correlator) undoubted(e *entry) bool {
	for i, _ := c.byPrint.oldest(e.fingerprint); i >= 0; i = c.slab.at(i).next {
		if o := c.slab.at(i); o.tied && o.has().doubt == nil {
			return true
		}
	}
	return false
}

// looksLike reports whether both packets were seen at one point with the same
// addresses.
func (e *entry) looksLike(o *entry) bool {
	return slices.ContainsFunc(e.hops(), func(s sighting) bool { return o.seenAt(s.point, &s) })
}

func (e *entry) seenAt(p capture.Point, s *sighting) bool {
	for i := range e.hops() {
		if h := &e.hops()[i]; h.point == p && (s == nil || h.tuple == s.tuple) {
			return true
		}
	}
	return false
}

// beyond reports whether e was seen somewhere that o was not.
func (e *entry) beyond(o *entry) bool {
	return slices.ContainsFunc(e.hops(), func(s sighting) bool { return !o.seenAt(s.point, nil) })
}

// mark says of journeys that their hops may be each other's. Those that were shown
// are shown again.
func (c *Correlator) mark(group []*entry, why string) { c.share(group, &doubt{why: why}) }

// share is mark for a doubt of which all but the journeys is known.
func (c *Correlator) share(group []*entry, d *doubt) {
	for _, e := range group {
		if len(d.ids) <= maxTwins {
			d.ids = append(d.ids, e.id)
		} else {
			d.more++
		}
	}
	for _, e := range group {
		if e.has().doubt != nil {
			continue
		}
		e.also().doubt = d
		c.counters.Ambiguous++
		if e.state == stateShown {
			c.reopen(e)
		}
	}
}

// reopen shows a journey anew in a while.
func (c *Correlator) reopen(e *entry) {
	for _, t := range slices.Backward(c.settling[stateShown-1].all()) {
		if c.slab.at(t.index) == e && t.generation == e.generation {
			e.state, e.deadline = stateTerminal, c.now+settleTerminal
			c.settling[stateTerminal-1].push(timer{t.index, e.generation, e.deadline})
			return
		}
	}
}

// says names the others, for one of them.
func (d *doubt) says(own uint64) string {
	var names []string
	more := d.more
	for _, id := range d.ids {
		if id != own && len(names) < maxTwins {
			names = append(names, name(id))
		} else if id != own {
			more++
		}
	}
	if !slices.Contains(d.ids, own) {
		more--
	}
	if more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	verb := "look the same"
	switch {
	case d.bytes && len(names) == 1:
		verb = "carries the same bytes"
	case d.bytes:
		verb = "carry the same bytes"
	case len(names) == 1:
		verb = "looks the same"
	}
	return fmt.Sprintf("ambiguous: %s %s as this packet, and %s. Hops and end may be another's", strings.Join(names, ", "), verb, d.why)
}

func name(id uint64) string { return fmt.Sprintf("#%d", id) }
