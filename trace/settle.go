package trace

import "math"

// A journey is settled when nothing can come any more: it is shown, and kept for
// hops that come late.

// letGo drops an entry before its time, and settles it first if it was not.
func (c *Correlator) letGo(i int32, e *entry) {
	if e.state == statePending {
		c.counters.Evicted++
	}
	c.parts.forsake(e)
	if e.state != stateShown {
		c.settle(i, e, "too many journeys were open to wait for its next hop")
	}
	c.drop(i)
}

// evict makes room: first by letting go of what was already shown, else by
// settling the oldest open journey as it stands.
func (c *Correlator) evict() { c.evictOf(stateShown, stateTerminal, statePending) }

// evictOpen settles the oldest open journey as it stands; false when none is open.
func (c *Correlator) evictOpen() bool { return c.evictOf(stateTerminal, statePending) }

func (c *Correlator) evictOf(states ...state) bool {
	t, e := c.dueOf(math.MaxInt64, states...)
	if e != nil {
		c.letGo(t.index, e)
	}
	return e != nil
}

// schedule sets the time at which the journey is settled, whose newest hop was seen at
// that time, and can be its end or not.
func (c *Correlator) schedule(i int32, e *entry, at int64, ends bool) {
	if at = max(at, c.now); e.state != statePending || ends {
		c.queue(i, e, at, ends)
		return
	}
	// Small moves are not worth a second turn in the queue.
	if deadline := at + c.patience; deadline > e.deadline+c.patience/8 {
		c.await(i, e, deadline)
	}
}

// queue gives the journey its turn.
func (c *Correlator) queue(i int32, e *entry, at int64, ends bool) {
	// A branch that has not ended does not reopen a journey that has.
	switch ends = ends || e.state != stateFree; {
	case !ends:
		c.await(i, e, at+c.patience)
	case e.state != stateTerminal:
		// What comes behind it waits, too: an answer is shown after its question.
		deadline := max(at+e.grace(), min(e.openedBefore(), at+c.patience))
		e.state, e.deadline = stateTerminal, deadline
		c.settling[stateTerminal-1].push(timer{i, e.generation, e.deadline})
	}
}

// await has the journey wait for its next hop until then. Where it waited already that
// is another turn, and the one before comes to nothing.
func (c *Correlator) await(i int32, e *entry, until int64) {
	e.state, e.deadline = statePending, until
	c.passOver()
	c.settling[statePending-1].push(timer{i, e.generation, until})
}

// grace is how long it is kept from now that its end was seen.
func (e *entry) grace() int64 {
	switch {
	case e.state == stateShown:
		return settleTerminal
	case e.rare != nil && e.rare.proxied.dialled():
		return settleDialled
	case e.counted:
		return settleCounted
	}
	return settleTerminal
}

// turn returns the entry whose turn it is; nil when it has moved on since, to another
// state or to a later turn.
func (c *Correlator) turn(st state, t timer) *entry {
	if e := c.live(handle{t.index, t.generation}); e != nil && e.state == st && e.deadline <= t.due {
		return e
	}
	return nil
}

// passOver takes the youngest turns back that pending entries do not need any more: most
// see their end soon after they began, and none of them should be kept for as long as
// others wait.
func (c *Correlator) passOver() {
	q := &c.settling[statePending-1]
	for turns := q.all(); len(turns) > 0; turns = q.all() {
		if c.turn(statePending, turns[len(turns)-1]) != nil {
			return
		}
		q.queue = q.queue[:len(q.queue)-1]
	}
}

// due takes the next entry in that state whose turn has come; nil when there is
// none.
func (c *Correlator) due(st state, now int64) (timer, *entry) {
	for {
		t, ok := c.settling[st-1].pop(now)
		if !ok {
			return timer{}, nil
		}
		if e := c.turn(st, t); e != nil {
			return t, e
		}
	}
}

// dueOf is due for the first of several states that has one.
func (c *Correlator) dueOf(now int64, states ...state) (timer, *entry) {
	for _, st := range states {
		if t, e := c.due(st, now); e != nil {
			return t, e
		}
	}
	return timer{}, nil
}

// expire settles what is due, and lets go of what was shown long enough.
func (c *Correlator) expire() {
	for _, st := range []state{stateTerminal, statePending, stateShown} {
		for t, e := c.due(st, c.now); e != nil; t, e = c.due(st, c.now) {
			if c.awaits(st, e) {
				c.settling[st-1].push(timer{t.index, e.generation, e.deadline})
				continue
			}
			switch {
			case st == stateShown:
				c.drop(t.index)
			case st == stateTerminal && c.halts(e):
				c.await(t.index, e, c.now+c.patience)
			default:
				c.settle(t.index, e, "")
			}
		}
	}
}

// settle emits a journey and keeps it for hops that come late. early says why
// it had to be settled before its time; empty when it was not.
func (c *Correlator) settle(i int32, e *entry, early string) {
	steps := e.steps
	e.lost = e.lost || e.state == statePending || e.rare != nil && e.rare.refusal != nil
	if e.state == statePending {
		c.strange(&e.hops()[len(e.hops())-1])
		c.lookAgain(e)
	}
	if c.unheard > 0 && e.began() < c.unheard {
		c.hearAgain(e)
	}
	if e.tied && c.undoubted(e) {
		c.doubts(e)
	}
	var j *Journey
	if c.sink.Journey != nil {
		j = c.build(e, early)
		e.shownAs = j.ID
	}
	e.state, e.deadline, e.identity = stateShown, c.now+keepShown, c.identify(e)
	c.settling[stateShown-1].push(timer{i, e.generation, e.deadline})
	c.counters.Journeys++
	c.counters.Hops += uint64(e.length())
	if c.keep {
		c.told(e)
	}
	e.fold(steps)
	if j != nil {
		c.sink.Journey(j)
	}
}

// drop forgets an entry.
func (c *Correlator) drop(i int32) {
	c.byPrint.remove(i)
	c.slab.release(i)
}

// settleAll ends every open journey as it stands, for that reason.
func (c *Correlator) settleAll(reason string) {
	c.release(math.MaxInt64)
	for t, e := c.dueOf(math.MaxInt64, stateTerminal, statePending); e != nil; t, e = c.dueOf(math.MaxInt64, stateTerminal, statePending) {
		c.settle(t.index, e, reason) // which can open another again, that was shown
	}
	for t, e := c.due(stateShown, math.MaxInt64); e != nil; t, e = c.due(stateShown, math.MaxInt64) {
		c.drop(t.index)
	}
	c.settleWalks(true)
}
