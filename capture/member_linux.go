package capture

import (
	"sync/atomic"
	"time"

	"natlens/netinfo/netns"
)

const (
	// latency bounds the time between a packet's stamp and the moment when it
	// can be found in the ring. The kernel stamps on arrival and counts a few
	// microseconds later; under load, stamps 130 µs out of order were seen. A
	// packet that waits longer between the two, say in an NFQUEUE between a
	// bridge's port and the bridge, which keeps its stamp, is late.
	latency = RetireTimeout
	// statisticsInterval spaces out the questions for losses while nothing
	// hints at any.
	statisticsInterval = 100 * time.Millisecond
)

// member is a ring that is being read. All its fields but leaving belong to the
// reader.
type member struct {
	*ring
	namespace netns.ID
	// through: every packet that entered the ring before this time, in
	// nanoseconds since the Unix epoch, has been read.
	through int64
	// asked is when the statistics were last read.
	asked time.Time
	// suspect is set when the ring may have lost packets that have not been
	// counted yet.
	suspect bool

	// leaving is set once no more packets can enter: to that time.
	leaving atomic.Pointer[time.Time]
	// drained is closed when the reader is done with the ring.
	drained chan struct{}
}

// newMember prepares a ring that has not been started.
func newMember(r *ring, id netns.ID) *member {
	return &member{
		ring: r, namespace: id,
		through: time.Now().UnixNano(),
		asked:   time.Now(),
		drained: make(chan struct{}),
	}
}

// drain reads every block that is ready, at most one lap so that one flooded
// ring can't starve the others, and hands each to consume. now is a time before
// the call.
//
// Afterwards m.through is
//   - now, when the block that the kernel is filling was found empty: all that
//     entered before now had been handed over and has been read;
//   - the time when that block was opened, when it holds packets or is ready
//     already: it can't hold any that entered earlier;
//   - unchanged, when no block was ready and the open one holds packets: they
//     all came after it was last found empty, or opened.
//
// So it does not rest on the kernel's retire timer being punctual: when the
// timer is late, so is m.through.
func (m *member) drain(now int64, consume func(block []byte)) {
	lap := 0
	for ; lap < m.geometry.blocks; lap++ {
		block, losing, ok := m.ready()
		if !ok {
			break
		}
		m.suspect = m.suspect || losing
		consume(block)
		m.release()
	}
	// Only with every block in our hands can the kernel have had no room.
	m.suspect = m.suspect || lap == m.geometry.blocks

	since, held := m.held()
	switch {
	case !held:
		m.through = now
	case lap > 0:
		m.through = min(since, now)
	}
}

// lost returns the packets lost since it was last asked. It asks the kernel
// when a loss is likely, when it has not done so for a while, or at the end.
func (m *member) lost(final bool) (uint64, error) {
	if !final && !m.suspect && time.Since(m.asked) < statisticsInterval {
		return 0, nil
	}
	m.asked, m.suspect = time.Now(), false
	return m.losses()
}

// readTo reports whether everything that entered the ring before t has been
// read. It gives up waiting for the kernel to hand a block over after a
// multiple of the retire timeout.
func (m *member) readTo(t time.Time) bool {
	return m.through >= t.UnixNano() || time.Since(t) > 20*RetireTimeout
}
