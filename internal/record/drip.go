package record

import (
	"context"
	"time"

	"natlens/capture/pcapng"
)

// dripWait is how long what came by a pipe waits for more before it is told.
const dripWait = 100 * time.Millisecond

// liveWithin is by how much the time of a packet that comes as it is captured differs
// from this machine's clock: by what it was on its way, and what clocks differ by.
const liveWithin = 5 * time.Second

// drip reads a file that comes piece by piece, as tcpdump writes it to a pipe: what is
// there is told while the reader waits for more. It is not safe for concurrent use.
type drip struct {
	blocks  chan dripped
	ended   chan struct{}
	arrived time.Time // when the last block was taken
}

type dripped struct {
	block pcapng.Block
	err   error
}

// newDrip begins to read with next; close ends it.
func newDrip(next func() (pcapng.Block, error)) *drip {
	d := &drip{blocks: make(chan dripped, foreignBatch), ended: make(chan struct{}), arrived: time.Now()}
	go func() {
		defer close(d.blocks)
		for {
			b, err := next()
			select {
			case d.blocks <- dripped{b, err}:
			case <-d.ended:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return d
}

// next returns the next block; ok is false when none came in time.
func (d *drip) next(ctx context.Context) (b pcapng.Block, ok bool, err error) {
	select {
	case one := <-d.blocks:
		d.arrived = time.Now()
		return one.block, true, one.err
	default:
	}
	more := time.NewTimer(dripWait)
	defer more.Stop()
	select {
	case one := <-d.blocks:
		d.arrived = time.Now()
		return one.block, true, one.err
	case <-more.C:
	case <-ctx.Done():
	}
	return nil, false, nil
}

// live reports whether a packet of that time, the last that was taken, came as it was
// captured.
func (d *drip) live(last int64) bool {
	return d.arrived.Sub(time.Unix(0, last)).Abs() <= liveWithin
}

// silent is for how long nothing came.
func (d *drip) silent() time.Duration {
	if len(d.blocks) > 0 {
		return 0
	}
	return time.Since(d.arrived)
}

// close ends the reading. Where in can't be told to stop, as a pipe that was handed
// to the program, what reads it ends when in does.
func (d *drip) close(in any) {
	close(d.ended)
	if pipe, ok := in.(interface{ SetReadDeadline(t time.Time) error }); ok && pipe.SetReadDeadline(time.Now()) == nil {
		for range d.blocks {
		}
	}
}
