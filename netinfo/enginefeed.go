package netinfo

import (
	"context"
	"errors"
	"sync"
	"time"

	"natlens/netinfo/docker"
)

const (
	// engineSearch is how often a missing engine is looked for again.
	engineSearch = 2 * time.Second
	// engineRefresh is how often an engine is asked without an event: those
	// of an old Podman do not tell everything.
	engineRefresh = 10 * time.Second
	// engineRetry is the wait after an answer that failed.
	engineRetry = time.Second
)

// engineNews is an engine's newest inventory, or why there is none.
type engineNews struct {
	inventory *docker.Inventory
	err       error
}

// engineFeed follows one engine.
type engineFeed struct {
	host string
	// news holds the newest answer only.
	news chan engineNews

	mu     sync.Mutex
	client *docker.Client // nil before it is found
}

func newEngineFeed(host string) *engineFeed {
	return &engineFeed{host: host, news: make(chan engineNews, 1)}
}

// run finds the engine and asks it after each of its events, until ctx ends.
func (e *engineFeed) run(ctx context.Context) {
	client := e.find(ctx)
	if client == nil {
		return
	}
	defer client.Close()
	e.mu.Lock()
	e.client = client
	e.mu.Unlock()
	due := make(chan struct{}, 1)
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		// It ends with ctx and with nothing else.
		_ = client.Watch(ctx, func() {
			select {
			case due <- struct{}{}:
			default:
			}
		})
	})
	for ctx.Err() == nil {
		began := time.Now()
		inventory, err := client.Inventory(ctx)
		e.tell(ctx, engineNews{inventory, err})
		wait := engineRefresh
		if err != nil {
			wait = engineRetry
		}
		// A busy engine is given as much rest as its answer took.
		if !sleep(ctx, time.Since(began)) {
			return
		}
		select {
		case <-ctx.Done():
		case <-due:
		case <-time.After(wait):
		}
	}
}

// named returns the containers that the engine's events were about.
func (e *engineFeed) named() []docker.Named {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client == nil {
		return nil
	}
	return e.client.Named()
}

// find opens the engine, however long it takes to appear.
func (e *engineFeed) find(ctx context.Context) *docker.Client {
	for {
		client, err := docker.Open(ctx, e.host)
		if client != nil {
			if err != nil {
				e.tell(ctx, engineNews{nil, err})
			}
			return client
		}
		e.tell(ctx, engineNews{nil, err})
		if !sleep(ctx, engineSearch) {
			return nil
		}
	}
}

// tell replaces what the reader has not taken yet.
func (e *engineFeed) tell(ctx context.Context, n engineNews) {
	if errors.Is(n.err, context.Canceled) || ctx.Err() != nil {
		return
	}
	select {
	case <-e.news:
	default:
	}
	// There is room: this goroutine alone fills the channel.
	e.news <- n
}

// sleep waits and reports whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
