package live

import (
	"context"
	"sync"
	"time"

	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// A container's first packet leaves some 50 ms after the engine has mounted its
// namespace. The engine tells of the container later than that, so the namespace is
// attached to before it is known whose it is; the topology then confirms it.

const (
	// earlyWorkers is how many namespaces are attached to at once.
	earlyWorkers = 4
	// sandboxQueue is how many may wait. One that finds no room is attached to
	// when the topology tells of it.
	sandboxQueue = 64
	// unclaimed is how long a namespace stays attached that no topology wants.
	unclaimed = 10 * time.Second
)

// early are the namespaces that were attached to and that no topology has wanted
// yet. It is safe for concurrent use.
type early struct {
	mu    sync.Mutex
	since map[netns.ID]time.Time
}

func (e *early) add(id netns.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.since[id] = time.Now()
}

// forget reports whether it was there.
func (e *early) forget(id netns.ID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, there := e.since[id]
	delete(e.since, id)
	return there
}

// overdue takes out those that were attached to before that time.
func (e *early) overdue(before time.Time) (ids []netns.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, since := range e.since {
		if since.Before(before) {
			ids = append(ids, id)
			delete(e.since, id)
		}
	}
	return ids
}

// attachEarly attaches to what the engine mounts, until ctx ends.
func (s *Session) attachEarly(ctx context.Context, notices chan<- notice) error {
	for {
		var b netinfo.Sandbox
		select {
		case <-ctx.Done():
			return nil
		case b = <-s.sandboxes:
		}
		n := notice{namespace: b.ID}
		switch {
		case b.Gone && s.placed.early.forget(b.ID):
			n.until = time.Now().UnixNano()
			_ = s.placed.release(b.ID) // what is gone has nothing more to say
		case !b.Gone && s.placed.attachEarly(b):
			n.since = s.rings.Since(b.ID)
		default:
			continue
		}
		select {
		case notices <- n:
		case <-ctx.Done():
			return nil
		}
	}
}

// attachEarly reports whether packets are captured there from now on. Where they
// can't be, the topology's turn says why.
func (p *placement) attachEarly(b netinfo.Sandbox) bool {
	h, err := netns.Open(b.Path)
	if err != nil {
		return false
	}
	defer h.Close()
	if h.ID() != b.ID {
		return false
	}
	s := p.session
	// As in attach: without it translations are inferred.
	_ = s.tracking.Attach(h)
	// What no topology wants is let go of, be it only connection tracking.
	defer p.early.add(b.ID)
	return s.rings.Attach(h) == nil
}

// dropUnclaimed lets go of what no topology has wanted for long.
func (p *placement) dropUnclaimed() (notices []notice) {
	for _, id := range p.early.overdue(time.Now().Add(-unclaimed)) {
		if !p.attached[id] {
			notices = append(notices, notice{namespace: id, until: time.Now().UnixNano()})
			_ = p.release(id) // what is gone has nothing more to say
		}
	}
	return notices
}
