package trace

import "natlens/netinfo/netns"

// lookEvery is how often it is asked which walks are old: those are compared with all
// open journeys.
const lookEvery = 250e6

// old reports whether a walk has been kept for long enough.
func (c *Correlator) old(w *walk) bool { return max(w.before+c.keepWalk(), w.until) < c.now }

// holdWalks keeps the old walks that may belong to journeys which are open still, until
// these are to be shown. Their wait for the next hop begins anew with each, and a packet
// that waited for a neighbour's address before its first tap is seen late.
func (c *Correlator) holdWalks() {
	type place struct {
		namespace netns.ID
		key       walkKey
	}
	old := map[place][]*walk{}
	for _, s := range c.walks.spaces {
		for _, w := range s.queue {
			if at := (place{w.namespace, w.key}); w.owner == 0 && c.old(w) {
				old[at] = append(old[at], w)
			}
		}
	}
	if len(old) == 0 {
		return
	}
	for _, st := range []state{statePending, stateTerminal} {
		for _, t := range c.settling[st-1].all() {
			e := c.turn(st, t)
			if e == nil {
				continue
			}
			steps, hops := e.steps, e.hops()
			for i := range hops {
				h := &hops[i]
				for _, w := range old[place{h.point.Namespace, walkKeyOf(h.h, h.extent.kind != extentFragment)}] {
					if c.within(w, h) && c.isStart(w, h) {
						w.until = max(w.until, e.deadline)
					}
				}
			}
			e.fold(steps)
		}
	}
}
