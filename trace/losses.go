package trace

import "natlens/netinfo/netns"

// losses remembers when things were lost, so that a journey can say whether
// something it lacks may be among them.
type losses struct {
	total uint64
	log   []loss // in the order they were told
}

// loss is what was lost up to a time.
type loss struct {
	begun  int64  // when the first of it was told
	told   int64  // all of it was lost before this
	before uint64 // the total before it
}

const (
	// lossDelay is how much later than its Batch's Through a loss can have
	// happened: rings are asked after they are read.
	lossDelay = 50e6
	// lossGrain is how long losses are kept as one.
	lossGrain = 50e6
	// keepLosses is longer than any journey stays open.
	keepLosses = 60e9
)

// AddLost takes in what rings lost up to a time, as Observe does with what a Batch
// says, for who plays what was recorded: there it is known before the packets of that
// time are.
func (c *Correlator) AddLost(packets map[netns.ID]uint64, through int64) {
	var n uint64
	for _, lost := range packets {
		n += lost
	}
	if n > 0 {
		c.lostRing.add(through, n)
	}
}

// add takes in a loss that was told at a source's watermark.
func (l *losses) add(through int64, n uint64) {
	told := through + lossDelay
	if last := len(l.log) - 1; last >= 0 && told < l.log[last].begun+lossGrain {
		l.log[last].told = max(l.log[last].told, told)
	} else {
		l.log = append(l.log, loss{told, told, l.total})
	}
	l.total += n
}

// since returns how much may have been lost at that time or later.
func (l *losses) since(at int64) uint64 {
	for i := len(l.log) - 1; i >= 0; i-- {
		if l.log[i].told < at {
			if i == len(l.log)-1 {
				return 0
			}
			return l.total - l.log[i+1].before
		}
	}
	if len(l.log) == 0 {
		return 0
	}
	return l.total - l.log[0].before
}

// sweep forgets what is too old to matter.
func (l *losses) sweep(now int64) {
	n := 0
	for n < len(l.log) && l.log[n].told < now-keepLosses {
		n++
	}
	l.log = append(l.log[:0], l.log[n:]...)
}

// forgetTimes drops all but the total: the clock was set.
func (l *losses) forgetTimes() { l.log = nil }
