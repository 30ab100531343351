package capture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"natlens/netinfo/netns"
)

// patience is how long a receiver may take for each of the last Batches after the
// context has ended: one that takes longer is gone, one that is only slow is not.
const patience = 5 * time.Second

// Run reads the rings and sends what they held to out, until ctx ends; it may be
// called once. A Batch with packets is sent as soon as they are read, an empty
// one every RetireTimeout or so, for its Through. While out is full nothing is
// read: the rings fill up, and what the kernel then drops is in Lost.
//
// When ctx ends, Run delivers what was captured until then, closes all rings and
// returns nil. The receiver must go on receiving until Run has returned; one
// that takes nothing for some seconds is given up with an error. Run does not close
// out.
func (s *Rings) Run(ctx context.Context, out chan<- Batch) error {
	s.mu.Lock()
	state := s.state
	if state == idle {
		s.state = running
	}
	s.mu.Unlock()
	if state != idle {
		return errors.New("read rings: they have been run or closed")
	}
	r := &reader{set: s, ctx: ctx, out: out, sent: time.Now()}
	err := r.run()
	if err = errors.Join(err, s.end()); err != nil {
		return fmt.Errorf("read rings: %w", err)
	}
	return nil
}

// reader is the state of one Run.
type reader struct {
	set *Rings
	ctx context.Context
	out chan<- Batch

	batch Batch
	sent  time.Time // when the last Batch was
}

func (r *reader) run() error {
	for r.ctx.Err() == nil {
		if err := r.set.epoll.wait(RetireTimeout); err != nil {
			return err
		}
		if _, err := r.scan(time.Time{}); err != nil {
			return err
		}
	}
	// What was stamped until now is in the rings by then.
	end := time.Now().Add(latency)
	for {
		done, err := r.scan(end)
		if done || err != nil {
			return err
		}
		time.Sleep(RetireTimeout / 2)
	}
}

// scan looks at every ring once and sends what it found. With an end it reports
// whether everything that was captured before it has been delivered, and then
// also asks for the last losses.
func (r *reader) scan(end time.Time) (done bool, err error) {
	s := r.set
	s.mu.Lock()
	members := s.members
	s.mu.Unlock()

	// The clock is read before any ring is looked at: what is not found
	// afterwards was not there by then.
	now := time.Now().UnixNano()
	through := now
	done = !end.IsZero()
	for _, m := range members {
		var unsent error
		m.drain(now, func(block []byte) {
			if err := r.add(m, block); err != nil && unsent == nil {
				unsent = err
			}
		})
		if unsent != nil {
			return false, unsent
		}
		through = min(through, m.through)
		done = done && m.readTo(end)
	}
	for _, m := range members {
		if err := r.settle(m, done); err != nil {
			return false, err
		}
	}
	r.batch.Through = through - int64(latency)
	if len(r.batch.Observations) == 0 && r.batch.Lost == nil && !done && time.Since(r.sent) < RetireTimeout {
		return done, nil
	}
	return done, r.send()
}

// settle counts the losses of a ring that was drained, and lets it go when it
// is to leave and has been read to its end.
func (r *reader) settle(m *member, final bool) error {
	since := m.leaving.Load()
	left := since != nil && m.readTo(*since)
	lost, err := m.lost(final || left)
	if err != nil {
		return fmt.Errorf("ring %s: %w", r.set.label(m.namespace), err)
	}
	r.lose(m.namespace, lost)
	if left {
		r.set.mu.Lock()
		r.set.part(m)
		r.set.mu.Unlock()
		close(m.drained)
	}
	return nil
}

// add makes a Batch of a block's packets, and sends the one before. That covers no
// more time than its predecessor: other rings have not been looked at. A Batch
// for each block is never copied to make room for another, and what piled up
// while the receiver was busy need not fit into memory twice.
func (r *reader) add(m *member, block []byte) error {
	if len(r.batch.Observations) > 0 {
		if err := r.send(); err != nil {
			return err
		}
	}
	var unread uint64
	r.batch.Observations, unread = readBlock(m.namespace, block, r.set.snaplen)
	r.lose(m.namespace, unread)
	return nil
}

func (r *reader) lose(id netns.ID, n uint64) {
	if n == 0 {
		return
	}
	if r.batch.Lost == nil {
		r.batch.Lost = make(map[netns.ID]uint64)
	}
	r.batch.Lost[id] += n
}

// send delivers the Batch and begins the next.
func (r *reader) send() error {
	b := r.batch
	r.batch = Batch{Through: b.Through}
	defer func() { r.sent = time.Now() }()
	select {
	case r.out <- b:
		return nil
	case <-r.ctx.Done():
	}
	select {
	case r.out <- b:
		return nil
	case <-time.After(patience):
		return errors.New("deliver the last packets: nobody receives")
	}
}
