package trace

import (
	"slices"
	"time"

	"natlens/netinfo/netfilter"
)

// cutReach is how long after it began a walk can go on in a namespace that nothing
// delays. What waits longer waits for a program, or for its turn on a processor.
const cutReach = 50e6

// TracePaused takes in what a HitBatch about all namespaces tells of pauses, which
// AddHits does by itself.
func (c *Correlator) TracePaused(took time.Duration, at int64) {
	c.counters.TracePaused += took
	if at != 0 {
		c.walks.pauses = append(c.walks.pauses, at)
	}
}

// forgetPauses forgets those before which all walks ended that are kept or may still be
// told.
func (c *Correlator) forgetPauses() {
	if len(c.walks.pauses) == 0 {
		return
	}
	since := c.now - 2*c.keepWalk()
	for _, s := range c.walks.spaces {
		if len(s.queue) > 0 {
			since = min(since, s.queue[0].after)
		}
	}
	c.walks.pauses = slices.DeleteFunc(c.walks.pauses, func(at int64) bool { return at < since })
}

// mayBeCut reports whether the end of a walk may not have been told, because the
// tracer paused. The kernel asks no packet any more then; but it waits, before it
// ceases, for all that is being received (synchronize_rcu in
// nf_tables_trans_destroy_work), and a packet that comes in meets the rules of all
// its hooks as it is received. One that a program sends meets them in that program's
// time, and one that a rule hands to a program goes on when that likes.
func (c *Correlator) mayBeCut(w *walk) bool {
	reach := int64(cutReach)
	if w.queued() {
		reach = c.keepWalk()
	} else if w.start != netfilter.Output {
		return false
	}
	return slices.ContainsFunc(c.walks.pauses, func(at int64) bool { return at >= w.after && at <= w.before+reach })
}

// queued reports whether a rule handed the packet to a program.
func (w *walk) queued() bool {
	for _, v := range w.visits {
		if slices.ContainsFunc(v.hits, func(h netfilter.Hit) bool { return h.Verdict == netfilter.Queue }) {
			return true
		}
	}
	return false
}
