package live

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/netinfo"
	"natlens/trace"
)

// holdings is what a process has that must not grow.
type holdings struct {
	descriptors, threads, rings, goroutines int
	heap                                    uint64
}

func held(t *testing.T) (h holdings) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	h.descriptors = len(entries)
	if entries, err = os.ReadDir("/proc/self/task"); err != nil {
		t.Fatal(err)
	}
	h.threads = len(entries)
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	h.rings = bytes.Count(maps, []byte("socket:"))
	h.goroutines = runtime.NumGoroutine()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	h.heap = m.HeapAlloc
	return h
}

// exceeds says what is more than it was.
func (h holdings) exceeds(was holdings) string {
	// The runtime keeps threads that wait for work: as many as were busy at
	// once. A thread left behind by every container would be twice that.
	const idleThreads, idleHeap = 30, 16 << 20
	var more []string
	add := func(what string, now, then, slack int) {
		if now > then+slack {
			more = append(more, fmt.Sprintf("%d %s, were %d", now, what, then))
		}
	}
	add("descriptors", h.descriptors, was.descriptors, 0)
	add("threads", h.threads, was.threads, idleThreads)
	add("rings", h.rings, was.rings, 0)
	add("goroutines", h.goroutines, was.goroutines, 0)
	add("bytes of heap", int(h.heap), int(was.heap), idleHeap)
	return strings.Join(more, "; ")
}

// TestContainersThatComeAndGo starts and stops containers while another one
// pings as fast as it can. Each new one must be watched, and each old one let
// go, so that it really ends.
func TestContainersThatComeAndGo(t *testing.T) {
	const lanes, rounds = 4, 15
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	s, err := Open(t.Context(), Config{Host: netinfo.Options{NoEngine: true}})
	if err != nil {
		t.Fatal(err)
	}
	w := runWatch(t, s, func(j *trace.Journey) bool { return j.From.Name != "back" && j.To.Name != "back" })

	flooding, stopFlood := context.WithCancel(t.Context())
	var flood, work sync.WaitGroup
	defer flood.Wait()
	defer stopFlood()
	pinged := 0
	flood.Go(func() {
		for seq := uint16(0); flooding.Err() == nil; seq++ {
			if _, err := lab.Ping(flooding, back.Namespace(), lab.ServerAddress, lab.Echo{ID: 0xf100, Seq: seq, Payload: []byte("flood")}); err == nil {
				pinged++
			}
			time.Sleep(500 * time.Microsecond) // the machine has other work, too
		}
	})
	w.until("the first ping", func() bool { return s.Summary().Journeys > 0 })
	// The watcher's first topology opens what the first scan let go of again.
	time.Sleep(2 * time.Second)
	before := held(t)

	var mu sync.Mutex
	var longest time.Duration
	for lane := range lanes {
		work.Go(func() {
			for round := range rounds {
				n := 10 + lane*rounds + round
				vanished, err := comeAndGo(t.Context(), w, fmt.Sprintf("box%d", n), n)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				longest = max(longest, vanished)
				mu.Unlock()
			}
		})
	}
	work.Wait()
	t.Logf("a container's namespace was gone %v after its end at the latest", longest)

	var more string
	for deadline := time.Now().Add(liveness); ; time.Sleep(100 * time.Millisecond) {
		w.mu.Lock()
		w.journeys, w.changes = nil, nil
		w.mu.Unlock()
		if more = held(t).exceeds(before); more == "" || time.Now().After(deadline) {
			break
		}
	}
	if more != "" {
		t.Errorf("after %d containers came and went: %s", lanes*rounds, more)
	}
	stopFlood()
	flood.Wait()
	if n := w.end(); n.RingDrops+n.QueueDrops+n.ConntrackLost+n.Evicted != 0 {
		t.Errorf("lost: %+v", n)
	}
	if pinged == 0 {
		t.Error("nothing flooded")
	}
	if len(w.warnings) != 0 {
		t.Errorf("warnings: %q", w.warnings)
	}
}

// comeAndGo makes a box, pings from it until its own hop has been seen, removes
// it, and returns how long it then took to vanish.
func comeAndGo(ctx context.Context, w *watch, name string, n int) (time.Duration, error) {
	b, err := newBox(name, n)
	if err != nil {
		return 0, err
	}
	want := name + "/eth0:out host/" + b.link + ":in host/docker0:in host/eth0:out"
	seen := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, j := range w.journeys {
			if pathOf(j) == want && j.Verdict.Result == trace.Left && j.From.Name == name {
				return true
			}
		}
		return false
	}
	deadline := time.Now().Add(liveness)
	for seq := uint16(0); !seen(); seq++ {
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("%s: its own hop was never seen", name)
		}
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		// The first may be lost while the link comes up.
		_, _ = lab.Ping(short, b.ns, lab.ServerAddress, lab.Echo{ID: uint16(n), Seq: seq, Payload: []byte(name)})
		cancel()
		time.Sleep(10 * time.Millisecond)
	}
	if err := b.remove(); err != nil {
		return 0, err
	}
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if !b.there() {
			return time.Since(began), nil
		}
		if time.Since(began) > liveness {
			return 0, fmt.Errorf("%s: its namespace is held", name)
		}
	}
}
