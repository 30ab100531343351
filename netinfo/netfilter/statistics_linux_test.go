package netfilter

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// conntrackSays is the sum over all processors of a field that conntrack -S prints.
func conntrackSays(t *testing.T, h *netns.Handle, field string) (sum uint64) {
	t.Helper()
	for _, m := range regexp.MustCompile(` `+field+`=(\d+)`).FindAllStringSubmatch(run(t, h, "conntrack -S"), -1) {
		n, _ := strconv.ParseUint(m[1], 10, 64)
		sum += n
	}
	return sum
}

// What connection tracking failed at is told, and conntrack(8) says the same. Two
// datagrams of one new flow at once make two entries, of which one can stay.
func TestConntrackTellsOfFailures(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "conntrack")
	h := newNamespace(t)
	// Many rules between the look into the table and the confirmation: so the two are
	// under way together.
	rules := strings.Repeat("ct state new counter; ", 2000)
	runWords(t, h, "nft", "table ip x { chain y { type filter hook output priority 0; "+rules+" }; }")
	c, err := NewConntrack(ConntrackConfig{Host: h.ID()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Attach(h); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan Batch, 1024)
	var mu sync.Mutex
	var told Failures
	last := now()
	var group sync.WaitGroup
	group.Go(func() {
		if err := c.Run(ctx, out); err != nil {
			t.Error(err)
		}
		close(out)
	})
	group.Go(func() {
		for b := range out {
			f := b.Failures
			if f == nil {
				continue
			}
			mu.Lock()
			if b.Namespace != h.ID() || f.Since >= f.Until || f.Until < last || f.MaxEntries == 0 {
				t.Errorf("%+v of %v", f, b.Namespace)
			}
			last = f.Until
			told.Resolved += f.Resolved
			told.Dropped += f.Dropped
			told.InsertFailed += f.InsertFailed
			mu.Unlock()
		}
	})
	defer func() {
		cancel()
		group.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	time.Sleep(1500 * time.Millisecond) // the first reading is what the others are compared with
	for until := time.Now().Add(20 * time.Second); conntrackSays(t, h, "clash_resolve") == 0; {
		if time.Now().After(until) {
			t.Skip("needs two processors that meet: no two datagrams clashed in 20 s")
		}
		pairs(t, h, 500)
	}
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		want := Failures{
			Resolved: conntrackSays(t, h, "clash_resolve"), Dropped: conntrackSays(t, h, "drop"), InsertFailed: conntrackSays(t, h, "insert_failed"),
		}
		mu.Lock()
		got := told
		mu.Unlock()
		if got == want {
			t.Logf("%+v", got)
			return
		}
		if time.Now().After(until) {
			t.Fatalf("told %+v, conntrack -S says %+v", got, want)
		}
	}
}

// pairs sends pairs of datagrams at once, each from a socket of its own. Go's own
// connections would send one after the other.
func pairs(t *testing.T, h *netns.Handle, n int) {
	t.Helper()
	for range n {
		fd := -1
		if err := h.Do(func() (err error) {
			fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		var ready atomic.Int32
		for range 2 {
			both.Go(func() {
				for ready.Add(1); ready.Load() < 2; {
				}
				_, _ = unix.Write(fd, []byte("x")) // refused, once the first was
			})
		}
		both.Wait()
		if err := unix.Close(fd); err != nil {
			t.Fatal(err)
		}
	}
}
