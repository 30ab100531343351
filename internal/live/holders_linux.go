package live

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"natlens/netinfo"
	"natlens/trace"
)

const (
	// holderQueue is how many questions about sockets may wait. One that finds
	// no room is not asked: the pairing then rests on what fits.
	holderQueue = 256
	// holderRest bounds what asking costs: after a look that took t, the next
	// one waits that many times t.
	holderRest = 4
	// tooEarly is when a socket is asked for again that no program had got yet.
	tooEarly = 10 * time.Millisecond
)

// findHolders answers questions about sockets, until ctx ends.
func findHolders(ctx context.Context, questions <-chan trace.SocketQuery, answers chan<- trace.Socket) error {
	for {
		var q trace.SocketQuery
		select {
		case <-ctx.Done():
			return nil
		case q = <-questions:
		}
		began := time.Now()
		answer, err := holder(q)
		took := time.Since(began)
		if errors.Is(err, fs.ErrNotExist) && pause(ctx, tooEarly) {
			answer, err = holder(q)
		}
		if err == nil {
			select {
			case answers <- answer:
			case <-ctx.Done():
				return nil
			}
		} // else it has ended, or this user may not look
		pause(ctx, holderRest*took)
	}
}

func holder(q trace.SocketQuery) (s trace.Socket, err error) {
	s = trace.Socket{Namespace: q.Namespace, Connection: q.Connection}
	if len(q.Containers) > 0 {
		s.Hosted = true
		s.Container, s.PID, err = netinfo.HoldingContainer(q.Connection, q.Containers)
		return s, err
	}
	s.PID, err = netinfo.Holder(q.Connection, q.Processes)
	return s, err
}

// pause waits, and reports whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
