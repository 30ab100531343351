package trace

import (
	"slices"

	"natlens/capture"
	"natlens/netinfo"
)

// waiting holds the observations that something older may still precede.
//
// They come as runs: each ring's are all but sorted, and rings are delivered one
// after the other. So what is only a little late is moved to its place as it
// comes, and the runs are merged.
type waiting struct {
	queue []arrival
	runs  []int // where each but the first begins
	spare []arrival
	stack []int // see sort
}

// arrival is an observation, with its time at hand.
type arrival struct {
	time int64
	o    *capture.Observation
}

// maxLate is by how many places an observation can be late within its run; one
// that is later begins another.
const maxLate = 32

func (w *waiting) add(o *capture.Observation) {
	a := arrival{o.Time, o}
	if n := len(w.queue); n > 0 && w.queue[n-1].time <= a.time {
		w.queue = append(w.queue, a)
		return
	}
	first := 0
	if n := len(w.runs); n > 0 {
		first = w.runs[n-1]
	}
	w.queue = append(w.queue, a)
	last := len(w.queue) - 1
	at := last
	for at > first && w.queue[at-1].time > a.time {
		if at--; last-at > maxLate {
			w.runs = append(w.runs, last)
			return
		}
	}
	copy(w.queue[at+1:], w.queue[at:last])
	w.queue[at] = a
}

// sort puts all into the order of their stamps. Equal stamps keep the order in
// which they came: in a ring, that of the taps. Neighbours are merged, short runs
// before they meet long ones, so that one ring's many packets are not moved for
// each of the others.
func (w *waiting) sort() {
	w.runs = append(w.runs, len(w.queue)) // where the last ends
	stack := w.stack[:0]                  // where runs begin that are not merged yet
	begin := 0
	for _, end := range w.runs {
		for n := len(stack); n > 0 && begin-stack[n-1] <= end-begin; n = len(stack) {
			w.merge(stack[n-1], begin, end)
			begin, stack = stack[n-1], stack[:n-1]
		}
		stack = append(stack, begin)
		begin = end
	}
	for n := len(stack); n > 1; n-- {
		w.merge(stack[n-2], stack[n-1], len(w.queue))
	}
	w.runs, w.stack = w.runs[:0], stack[:0]
}

// merge merges two runs that stand side by side, of equals those of the first. What
// is in place already is not moved.
func (w *waiting) merge(begin, middle, end int) {
	w.spare = append(w.spare[:0], w.queue[middle:end]...)
	a, b, to := w.queue[begin:middle], w.spare, end
	for len(a) > 0 && len(b) > 0 {
		to--
		if last := len(a) - 1; a[last].time > b[len(b)-1].time {
			w.queue[to], a = a[last], a[:last]
		} else {
			w.queue[to], b = b[len(b)-1], b[:len(b)-1]
		}
	}
	copy(w.queue[begin:], b)
	clear(w.spare) // or batches could not be freed
}

// before returns those before mark, which stay in place until drop.
func (w *waiting) before(mark int64) []arrival {
	w.sort()
	n, _ := slices.BinarySearchFunc(w.queue, mark, func(a arrival, m int64) int {
		if a.time < m {
			return -1
		}
		return 1
	})
	return w.queue[:n]
}

// drop lets go of the first n, so that their batches can be freed.
func (w *waiting) drop(n int) {
	rest := copy(w.queue, w.queue[n:])
	clear(w.queue[rest:])
	w.queue = w.queue[:rest]
}

// oldest returns the time of the first; false when there is none.
func (w *waiting) oldest() (int64, bool) {
	w.sort()
	if len(w.queue) == 0 {
		return 0, false
	}
	return w.queue[0].time, true
}

// release processes the waiting observations before mark in the order of their
// stamps.
func (c *Correlator) release(mark int64) {
	due := c.waiting.before(mark)
	for i := 0; i < len(due); {
		n := i + 1
		for n < len(due) && due[n].time == due[i].time {
			n++
		}
		if n > i+1 {
			c.parentsFirst(due[i:n])
		}
		for ; i < n; i++ {
			c.process(due[i].o)
		}
	}
	c.waiting.drop(len(due))
}

// parentsFirst orders observations with one stamp. A buffer has the same on a link
// and on its parent in another namespace, and rings are read in any order: on the
// way in, the parent saw it first; on the way out, last.
func (c *Correlator) parentsFirst(equal []arrival) {
	standing := func(a arrival) int {
		p := a.o.Point()
		switch l := c.hosts.at(p).link; {
		case l == nil || l.parent == (netinfo.LinkKey{}):
			return 0
		case p.Direction == capture.In:
			return 1
		}
		return -1
	}
	for _, a := range equal[1:] {
		if a.o.Namespace != equal[0].o.Namespace {
			slices.SortStableFunc(equal, func(a, b arrival) int { return standing(a) - standing(b) })
			return
		}
	}
}
