package trace

import (
	"math"
	"slices"

	"natlens/capture"
	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// waiting holds the observations that something older may still precede.
//
// They come as runs: each ring's are all but sorted, and rings are delivered one
// after the other. So what is only a little late within its ring is moved to its place
// as it comes, and the runs are merged.
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

func (w *waiting) add(observations []capture.Observation) {
	q := slices.Grow(w.queue, len(observations))
	begin := 0 // of the run that is added to
	if n := len(w.runs); n > 0 {
		begin = w.runs[n-1]
	}
	latest, ring := int64(math.MinInt64), netns.ID(0)
	if n := len(q); n > 0 {
		latest, ring = q[n-1].time, q[n-1].o.Namespace
	}
	for i := range observations {
		o := &observations[i]
		last := len(q)
		q = append(q, arrival{o.Time, o})
		if o.Time >= latest {
			latest, ring = o.Time, o.Namespace
			continue
		}
		at := last
		if o.Namespace == ring {
			for at > begin && last-at <= maxLate && q[at-1].time > o.Time {
				at--
			}
		}
		if at == last || last-at > maxLate {
			begin, latest, ring = last, o.Time, o.Namespace
			w.runs = append(w.runs, last)
			continue
		}
		for k := last; k > at; k-- {
			q[k] = q[k-1]
		}
		q[at] = arrival{o.Time, o}
	}
	w.queue = q
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
	q, b := w.queue[begin:end], w.spare
	// What is left are the first i of the one and the first k of the other.
	i, k := middle-begin, len(b)
	for i > 0 && k > 0 {
		// Which of the two is later can't be foretold: no branch depends on it.
		x, y := q[i-1], b[k-1]
		o, fromFirst := y.o, 0
		if x.time > y.time {
			o = x.o
		}
		if x.time > y.time {
			fromFirst = 1
		}
		q[i+k-1] = arrival{max(x.time, y.time), o}
		i -= fromFirst
		k -= 1 - fromFirst
	}
	copy(q, b[:k])
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
	ordered := 0 // of those before that it is known which of one stamp was first
	for i := range due {
		if next := i + 1; next < len(due) && due[next].time == due[i].time && i >= ordered {
			ordered = i + c.parentsFirst(due[i:])
		}
		c.process(due[i].o)
	}
	c.waiting.drop(len(due))
}

// parentsFirst orders the first observations of all that have one stamp, and returns how
// many these are. A buffer has the same on a link and on its parent in another
// namespace, and rings are read in any order: on the way in, the parent saw it first; on
// the way out, last.
func (c *Correlator) parentsFirst(due []arrival) int {
	n, mixed := 1, false
	for n < len(due) && due[n].time == due[0].time {
		mixed = mixed || due[n].o.Namespace != due[0].o.Namespace
		n++
	}
	if mixed {
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
		slices.SortStableFunc(due[:n], func(a, b arrival) int { return standing(a) - standing(b) })
	}
	return n
}
