package live

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"natlens/netinfo"
	"natlens/trace"
)

// liveness bounds every wait of these tests: only a hang exceeds it.
const liveness = 20 * time.Second

// watch is a Session that runs, and what it has said so far.
type watch struct {
	t       *testing.T
	session *Session
	stop    context.CancelFunc
	keep    func(*trace.Journey) bool // nil keeps all

	mu       sync.Mutex
	journeys []*trace.Journey
	changes  []netinfo.Change
	warnings []string
	arp      int
	more     chan struct{} // something was added

	done chan struct{} // closed when Run has returned
	err  error
}

// startWatch opens and runs a Session without an engine, until stop or the end
// of the test.
func startWatch(t *testing.T, c Config) *watch {
	t.Helper()
	if c.Host.EngineHost == "" {
		c.Host.NoEngine = true
	}
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return runWatch(t, s, nil)
}

// runWatch runs a Session that was opened and collects the journeys that keep
// picks.
func runWatch(t *testing.T, s *Session, keep func(*trace.Journey) bool) *watch {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{t: t, session: s, stop: cancel, keep: keep, more: make(chan struct{}, 1), done: make(chan struct{})}
	records := make(chan Record, 1<<14)
	go func() {
		defer close(w.done)
		read := make(chan struct{})
		go func() {
			defer close(read)
			for r := range records {
				w.take(r)
			}
		}()
		w.err = s.Run(ctx, records)
		<-read
	}()
	t.Cleanup(func() { w.end() })
	return w
}

func (w *watch) take(r Record) {
	w.mu.Lock()
	switch {
	case r.Journey != nil:
		if w.keep == nil || w.keep(r.Journey) {
			w.journeys = append(w.journeys, r.Journey)
		}
	case r.Change != nil:
		w.changes = append(w.changes, *r.Change)
	case r.ARP != nil:
		w.arp++
	default:
		w.warnings = append(w.warnings, r.Warning)
	}
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// end stops the Session, which must be able to.
func (w *watch) end() Summary {
	w.t.Helper()
	w.stop()
	select {
	case <-w.done:
	case <-time.After(liveness):
		w.t.Fatal("the session does not end")
	}
	if w.err != nil {
		w.t.Errorf("run: %v", w.err)
	}
	return w.session.Summary()
}

// until waits until ok, which is called with the lock held.
func (w *watch) until(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.After(liveness)
	for {
		w.mu.Lock()
		found := ok()
		w.mu.Unlock()
		if found {
			return
		}
		select {
		case <-w.more:
		case <-time.After(50 * time.Millisecond): // ok may look at other things, too
		case <-deadline:
			w.t.Fatalf("%s: not seen. What was:\n%s", what, w.account())
		}
	}
}

// journey waits for a journey.
func (w *watch) journey(what string, ok func(*trace.Journey) bool) (found *trace.Journey) {
	w.t.Helper()
	w.until(what, func() bool {
		i := slices.IndexFunc(w.journeys, ok)
		if i >= 0 {
			found = w.journeys[i]
		}
		return i >= 0
	})
	return found
}

// all returns the journeys so far that ok picks.
func (w *watch) all(ok func(*trace.Journey) bool) (picked []*trace.Journey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, j := range w.journeys {
		if ok(j) {
			picked = append(picked, j)
		}
	}
	return picked
}

func (w *watch) account() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for i, j := range w.journeys {
		if i == 40 {
			fmt.Fprintf(&b, "… %d more\n", len(w.journeys)-i)
			break
		}
		fmt.Fprintf(&b, "%s | %s | %s %s | %s\n", j.Hops[0].Headers.Tuple, pathOf(j), j.Verdict.Result, j.Verdict.Reason, changesOf(j))
	}
	for _, s := range w.warnings {
		fmt.Fprintln(&b, "warning:", s)
	}
	fmt.Fprintf(&b, "%+v", w.session.Summary())
	return b.String()
}

// pathOf writes a journey's points: "back/eth0:out host/docker0:in".
func pathOf(j *trace.Journey) string {
	var points []string
	for _, h := range j.Hops {
		points = append(points, fmt.Sprintf("%s/%s:%s", h.Namespace, h.Interface, h.Point.Direction))
	}
	return strings.Join(points, " ")
}

// changesOf writes what was translated, between which hops, by which chain.
func changesOf(j *trace.Journey) string {
	var out []string
	for _, t := range j.Translations {
		chain := "?"
		if t.Rule != nil {
			chain = t.Rule.Chain
		}
		undo := ""
		if t.Undo {
			undo = "undo "
		}
		out = append(out, fmt.Sprintf("%s%s%v by %s [%s]", undo, t.Kind, t.Between, chain, t.Evidence))
	}
	return strings.Join(out, "; ")
}
