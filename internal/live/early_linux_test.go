package live

import (
	"os"
	"strings"
	"testing"
	"time"

	"natlens/internal/leak"
	"natlens/netinfo"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// A namespace that an engine mounts has a ring before anybody knows whose it is. It
// loses it when the engine lets go of it, or when nobody wants it for long.
func TestEarlyNamespaceIsLetGo(t *testing.T) {
	leak.Check(t)
	dockerHost(t)
	s, err := Open(t.Context(), Config{Host: netinfo.Options{NoEngine: true}})
	if err != nil {
		t.Fatal(err)
	}
	w := runWatch(t, s, func(*trace.Journey) bool { return false })
	mounted := func() (netinfo.Sandbox, func()) {
		t.Helper()
		h, err := netns.New()
		if err != nil {
			t.Fatal(err)
		}
		b := netinfo.Sandbox{ID: h.ID(), Path: h.Path()}
		s.sandboxes <- b
		w.until("a ring", func() bool { return s.rings.Since(b.ID) != 0 })
		return b, func() { _ = h.Close() }
	}
	gone, closeGone := mounted()
	gone.Gone = true
	s.sandboxes <- gone
	w.until("the ring of what is gone to end", func() bool { return s.rings.Since(gone.ID) == 0 })
	closeGone()

	unwanted, closeUnwanted := mounted()
	w.until("it to be on the books", func() bool {
		s.placed.early.mu.Lock()
		defer s.placed.early.mu.Unlock()
		_, there := s.placed.early.since[unwanted.ID]
		if there {
			s.placed.early.since[unwanted.ID] = time.Now().Add(-2 * unclaimed)
		}
		return there
	})
	w.until("the ring that nobody wants to end", func() bool { return s.rings.Since(unwanted.ID) == 0 })
	closeUnwanted()
	// One whose number is another's by now is left alone.
	s.sandboxes <- netinfo.Sandbox{ID: 1, Path: "/proc/self/ns/net"}
	w.end()
	if s.rings.Since(1) != 0 {
		t.Error("a namespace was attached to by another one's path")
	}
}

// Where there is no room for a ring, nothing else keeps a namespace that is gone.
func TestEarlyNamespaceWithoutRoom(t *testing.T) {
	leak.Check(t)
	dockerHost(t)
	s, err := Open(t.Context(), Config{Host: netinfo.Options{NoEngine: true}, RingBudget: threeRings})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	h, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	before := sockets(t)
	if s.placed.attachEarly(netinfo.Sandbox{ID: h.ID(), Path: h.Path()}) {
		t.Fatal("there was room for a ring")
	}
	if sockets(t) == before {
		t.Fatal("nothing was attached")
	}
	for _, id := range s.placed.early.overdue(time.Now().Add(time.Second)) {
		if err := s.placed.release(id); err != nil {
			t.Error(err)
		}
	}
	if n := sockets(t) - before; n != 0 {
		t.Errorf("%d sockets are left", n)
	}
}

// sockets is how many this process has open.
func sockets(t *testing.T) (n int) {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if to, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}
