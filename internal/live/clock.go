package live

import "time"

// smallestStep is what tells a clock that was set from one that is slewed:
// adjtime(3) and NTP move it by less than a millisecond a second.
const smallestStep = 250 * time.Millisecond

// wallClock notices when the clock in which the kernel stamps packets is set,
// by comparing it with the one that only ever goes on. A machine that slept
// looks the same: its packets' times jump, too.
type wallClock struct {
	start  time.Time
	offset time.Duration // of the wall clock's way to the monotonic one's
}

func newWallClock() wallClock { return wallClock{start: time.Now()} }

// stepped returns by how much the clock was set since the last call; 0 when it
// was not.
func (c *wallClock) stepped() time.Duration {
	now := time.Now()
	// Round strips the monotonic reading, so that the first difference is the
	// wall clock's.
	return c.compare(now.Round(0).Sub(c.start.Round(0)), now.Sub(c.start))
}

// compare takes in how far both clocks went since the start.
func (c *wallClock) compare(wall, monotonic time.Duration) time.Duration {
	by := wall - monotonic - c.offset
	c.offset += by
	if by.Abs() < smallestStep {
		return 0
	}
	return by
}
