package netinfo

import (
	"context"
	"sync"
	"time"

	"natlens/netinfo/cost"
	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
)

const (
	// settle gathers what belongs together: a container's start is some
	// twenty announcements in a row.
	settle = 20 * time.Millisecond
	// rest bounds what watching costs: after a look that took t of a processor's
	// time, the next one waits at least rest×t, though not longer than longestRest.
	rest        = 4
	longestRest = 2 * time.Second
	// patrol is how often processes are looked through for namespaces that
	// nothing announces.
	patrol = time.Second
	// engineGrace is how long the first Topology waits for the engine, so
	// that it has names.
	engineGrace = time.Second
)

// Watcher follows the host and makes a new Topology when it changes.
type Watcher struct {
	options   Options
	onSandbox func(Sandbox) // may be nil
}

// NewWatcher returns a Watcher. It looks at nothing before Run.
func NewWatcher(o Options) *Watcher { return &Watcher{options: o} }

// Run sends a first Topology and then a new one after each change, until ctx
// ends; it returns ctx's error, or why not even natlens's own namespace can be
// read. Numbers begin above the one that Scan gives, so that a Scan may come
// first. A reader that is slow gets the newest, not all: out should have no
// buffer. Links, named namespaces and those that an engine made, or that a
// veth leads to from a watched one, show within 100 ms, other namespaces
// within 2 s. Notice that natlens keeps the namespaces open meanwhile; it lets
// go of one as soon as no process, mount or descriptor of others holds it.
// When Run returns, its goroutines and descriptors are gone.
func (w *Watcher) Run(ctx context.Context, out chan<- *Topology) error {
	s, err := newScanner()
	if err != nil {
		return err
	}
	guard, err := newSentry()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &run{
		scanner: s, guard: guard, out: out,
		moved: make(chan struct{}, 1),
		heard: make(chan struct{}, 1),
		dirty: map[netns.ID]bool{},
	}
	s.subscribed, s.noPodman = r.subscribed, w.options.NoEngine
	defer func() {
		cancel()
		guard.stop()
		// Closing the probes ends the goroutines that listen to them.
		s.close()
		r.group.Wait()
	}()
	if w.onSandbox != nil {
		r.sandboxes = newSandboxes(w.onSandbox)
	}
	r.group.Go(func() {
		guard.run(func() {
			if r.sandboxes != nil {
				r.sandboxes.look()
			}
			poke(r.moved)
		})
	})
	if !w.options.NoEngine {
		feed := newEngineFeed(w.options.EngineHost)
		r.news, r.named = feed.news, feed.named
		r.group.Go(func() { feed.run(ctx) })
	}
	return r.loop(ctx)
}

// run is the state of one Watcher.Run; its loop owns the scanner.
type run struct {
	scanner *scanner
	guard   *sentry
	out     chan<- *Topology
	group   sync.WaitGroup

	sandboxes *sandboxes // nil when nobody asked

	moved chan struct{}   // something that keeps namespaces alive came or went
	heard chan struct{}   // dirty has something
	news  chan engineNews // nil without an engine
	// named asks for containers that may be about to start; nil without an engine.
	named func() []docker.Named

	mu    sync.Mutex
	dirty map[netns.ID]bool // changed namespaces; true if ids changed, too
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// subscribed listens to a namespace that the scanner has just opened.
func (r *run) subscribed(id netns.ID, s *subscription) {
	r.group.Go(func() {
		s.listen(func(ids bool) {
			r.mu.Lock()
			r.dirty[id] = r.dirty[id] || ids
			r.mu.Unlock()
			poke(r.heard)
		})
	})
}

// markDirty tells the scanner what the subscriptions heard.
func (r *run) markDirty() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, ids := range r.dirty {
		r.scanner.markDirty(id, ids)
	}
	clear(r.dirty)
}

// absorb takes what the engine said.
func (r *run) absorb(n engineNews) {
	if n.inventory != nil {
		r.scanner.asked = n.inventory
		r.scanner.cgroupsDue = true
		if r.sandboxes != nil {
			r.sandboxes.learn(n.inventory)
		}
	}
	r.scanner.engineError = n.err
}

func (r *run) loop(ctx context.Context) error {
	if r.news != nil {
		select {
		case n := <-r.news:
			r.absorb(n)
		case <-time.After(engineGrace):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var (
		last    *Topology // the newest
		pending *Topology // the newest, until it is sent
		number  uint64    = 1
		out     chan<- *Topology
		look    = time.NewTimer(0) // when to look again
		due     time.Time          // when that is; zero for not at all
		wide    = true             // the look must be a discovery
		free    time.Time          // not before that
	)
	defer look.Stop()
	rounds := time.NewTicker(patrol)
	defer rounds.Stop()
	// want asks for a look soon.
	want := func(discover bool) {
		wide = wide || discover
		if due.IsZero() {
			due = time.Now().Add(settle)
			if due.Before(free) {
				due = free
			}
			look.Reset(time.Until(due))
		}
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case out <- pending:
			pending, out = nil, nil
		case <-r.heard:
			want(false)
		case <-r.moved:
			want(true)
		case <-rounds.C:
			want(true)
		case n := <-r.news:
			r.absorb(n)
			want(true)
		case <-look.C:
			due = time.Time{}
			var t *Topology
			var err error
			spent := cost.Of(func() { t, err = r.look(ctx, wide) })
			if err != nil {
				return err
			}
			wide = false
			free = time.Now().Add(min(rest*spent, longestRest))
			if !sameHost(last, t) {
				number++
				t.Number = number
				last, pending, out = t, t, r.out
			}
		}
	}
}

// look makes a Topology of what changed since the last one.
func (r *run) look(ctx context.Context, discover bool) (*Topology, error) {
	r.markDirty()
	if r.named != nil {
		r.scanner.named = r.named()
	}
	var t *Topology
	var err error
	if discover {
		t, err = r.scanner.scan(ctx)
	} else {
		t, err = r.scanner.refresh(ctx)
	}
	if err != nil {
		return nil, err
	}
	r.guard.lookAt(r.scanner.lonely())
	return t, nil
}
