package capture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

type holdings struct{ descriptors, mappings, goroutines int }

// possessions counts what the process holds of the kinds that rings need.
func possessions(t *testing.T) holdings {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	return holdings{len(fds), strings.Count(string(maps), "socket:"), runtime.NumGoroutine()}
}

func TestNothingIsLeftBehind(t *testing.T) {
	c := newCable(t)
	run := func() {
		rings, err := NewRings(Config{})
		must(t, err)
		must(t, rings.Attach(c.left))
		ctx, cancel := context.WithCancel(context.Background())
		out := make(chan Batch)
		var group sync.WaitGroup
		group.Go(func() {
			if err := rings.Run(ctx, out); err != nil {
				t.Error(err)
			}
			close(out)
		})
		group.Go(func() {
			for range out {
			}
		})
		must(t, rings.Attach(c.right))
		must(t, rings.Detach(c.right.ID()))
		must(t, rings.Attach(c.right))
		cancel()
		group.Wait()
		must(t, rings.Detach(c.left.ID()))
		must(t, rings.Close())

		unread, err := NewRings(Config{})
		must(t, err)
		must(t, unread.Attach(c.left))
		must(t, unread.Attach(c.right))
		must(t, unread.Detach(c.left.ID()))
		if now := possessions(t); now.mappings != 1 {
			t.Errorf("with one ring open: %+v", now)
		}
		must(t, unread.Close())

		s, err := OpenSource(c.left, Config{})
		must(t, err)
		must(t, s.Close())
	}
	run() // what the runtime opens once and keeps
	before := possessions(t)
	for range 5 {
		run()
	}
	if before.mappings != 0 {
		t.Errorf("rings are left already: %+v", before)
	}
	waitFor(t, fmt.Sprintf("no more than %+v", before), func() bool { // goroutines on their way out
		now := possessions(t)
		return now.descriptors <= before.descriptors && now.mappings == 0 && now.goroutines <= before.goroutines
	})
}

func TestDetachLetsTheNamespaceGo(t *testing.T) {
	c := newCable(t)
	r := record(t, Config{}, c.left)
	ns, err := netns.New()
	must(t, err)
	// A veth is gone when the namespace of its other end is.
	h := handleAt(t, c.left)
	must(t, addPair(h, "witness", ns))
	must(t, r.Attach(ns))
	must(t, ns.Close())
	if _, err := h.LinkByName("witness"); err != nil {
		t.Fatalf("the ring does not keep its namespace: %v", err)
	}
	must(t, r.Detach(ns.ID()))
	waitFor(t, "the namespace to go", func() bool {
		_, err := h.LinkByName("witness")
		return err != nil
	})
}

func TestManyComeAndGoAtOnce(t *testing.T) {
	c := newCable(t)
	r := record(t, Config{}, c.left, c.right)
	conn := c.dial(t)
	const namespaces, sent = 12, 2000
	var group sync.WaitGroup
	for range namespaces {
		ns := newNamespace(t)
		for range 2 { // the same one twice
			group.Go(func() {
				for range 3 {
					if err := r.Attach(ns); err != nil {
						t.Error(err)
					}
					if err := r.Detach(ns.ID()); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	for n := range sent {
		_, err := conn.Write(payload(n))
		must(t, err)
	}
	group.Wait()
	if got := len(r.Attached()); got != 2 {
		t.Errorf("%d namespaces attached, want 2", got)
	}
	r.stop(t)
	if got := len(r.sightings()); got != 2*sent || len(r.lostIn) != 0 {
		t.Errorf("%d sightings and %v lost of %d", got, r.lostIn, 2*sent)
	}
}

func TestNoRoomIsSaid(t *testing.T) {
	c := newCable(t)
	rings, err := NewRings(Config{Budget: minimalGeometry(DefaultSnaplen).size()})
	must(t, err)
	defer rings.Close()
	must(t, rings.Attach(c.left))
	err = rings.Attach(c.right)
	if !errors.Is(err, ErrNoRoom) || !strings.HasPrefix(err.Error(), "open ring "+c.right.ID().String()) {
		t.Errorf("attaching the second: %v, want ErrNoRoom", err)
	}
	must(t, rings.Detach(c.left.ID()))
	must(t, rings.Attach(c.right))
}

func TestMissingCapabilityIsSaid(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs capabilities to take away: run as root")
	}
	own, err := netns.Current()
	must(t, err)
	defer own.Close()
	rings, err := NewRings(Config{})
	must(t, err)
	defer rings.Close()
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread has lost its capabilities
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&hdr, &none[0]); err != nil {
			t.Error(err)
		}
		result <- rings.Attach(own)
	}()
	if err := <-result; !errors.Is(err, os.ErrPermission) || err.Error() != "open ring host: operation not permitted" {
		t.Errorf("without capabilities: %v", err)
	}
	if got := rings.Attached(); len(got) != 0 {
		t.Errorf("attached: %v", got)
	}
}
