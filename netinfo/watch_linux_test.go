package netinfo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// patience bounds how long a test waits for a Topology that must come. It is
// generous: what is tested is that it comes at all.
const patience = 20 * time.Second

// follower reads what a Watcher sends.
type follower struct {
	t    *testing.T
	out  chan *Topology
	last *Topology
	stop func()
}

// follow runs a Watcher until the test ends.
func follow(t *testing.T, o Options) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{t: t, out: make(chan *Topology)}
	done := make(chan error, 1)
	go func() { done <- NewWatcher(o).Run(ctx, f.out) }()
	ended := false
	f.stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v, want canceled", err)
		}
	}
	t.Cleanup(f.stop)
	return f
}

// until reads Topologies until one fulfils the condition.
func (f *follower) until(what string, condition func(*Topology) bool) *Topology {
	f.t.Helper()
	deadline := time.After(patience)
	for f.last == nil || !condition(f.last) {
		select {
		case next := <-f.out:
			if f.last != nil && next.Number <= f.last.Number {
				f.t.Fatalf("number %d after %d", next.Number, f.last.Number)
			}
			f.last = next
		case <-deadline:
			f.t.Fatalf("no topology shows %s", what)
		}
	}
	return f.last
}

func TestWatcherShowsWhatChanges(t *testing.T) {
	needRoot(t)
	host := newNetns(t)
	f := follow(t, Options{NoEngine: true})
	hostID := idOf(t, host)
	f.until("a namespace that was there", func(top *Topology) bool { return top.Namespace(hostID) != nil })

	link := func(top *Topology, namespace, name string) *Link {
		for _, n := range top.Namespaces {
			if n.Name == namespace {
				return n.LinkByName(name)
			}
		}
		return nil
	}
	child := newNetns(t)
	connect(t, child, "eth0", host, "v0")
	f.until("a new namespace and both ends of a veth", func(top *Topology) bool {
		l := link(top, host, "v0")
		return l != nil && l.Peer != nil && l.Peer.Mutual && l.Peer.Name == "eth0" && top.PeerNamespace(l.Key).Name == child
	})
	ip(t, "-n", child, "addr", "add", "10.9.0.2/24", "dev", "eth0")
	f.until("an address", func(top *Topology) bool {
		l := link(top, child, "eth0")
		return l != nil && len(l.Addresses) > 0 && l.Addresses[0].String() == "10.9.0.2/24"
	})
	ip(t, "-n", child, "route", "add", "default", "via", "10.9.0.1")
	f.until("a route", func(top *Topology) bool {
		for _, r := range top.Namespace(idOf(t, child)).Routes {
			if r.Default() {
				return true
			}
		}
		return false
	})
	ip(t, "-n", host, "link", "set", "v0", "name", "v1")
	f.until("a new name at both ends", func(top *Topology) bool {
		l := link(top, child, "eth0")
		return link(top, host, "v0") == nil && link(top, host, "v1") != nil && l.Peer.Name == "v1"
	})
	// A namespace that nothing mounts is found by the veth that leads there.
	pid := holdProcess(t)
	ip(t, "-n", host, "link", "add", "v2", "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(pid))
	f.until("a veth into a process's namespace", func(top *Topology) bool {
		l := link(top, host, "v2")
		return l != nil && top.PeerNamespace(l.Key) != nil && strings.HasPrefix(top.PeerNamespace(l.Key).Name, "sleep")
	})
	ip(t, "netns", "del", child) // its number may be another one's at once
	f.until("no namespace that was deleted, nor the veth to it", func(top *Topology) bool {
		named := func(n *Namespace) bool { return n.Name == child }
		return !slices.ContainsFunc(top.Namespaces, named) && link(top, host, "v1") == nil
	})
}

// TestWatcherLetsGo checks that watching a namespace does not keep it: its
// veths end with the process that made it.
func TestWatcherLetsGo(t *testing.T) {
	needRoot(t)
	host := newNetns(t)
	f := follow(t, Options{NoEngine: true})
	c := exec.Command("unshare", "--net", "sleep", "1000")
	if err := c.Start(); err != nil {
		t.Skip("needs unshare of util-linux: ", err)
	}
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}()
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for {
		now, err := os.Readlink(processPath(c.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if now != own {
			break
		}
		time.Sleep(time.Millisecond)
	}
	ip(t, "-n", host, "link", "add", "v0", "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(c.Process.Pid))
	f.until("the veth", func(top *Topology) bool {
		n := top.Namespace(idOf(t, host))
		return n != nil && n.LinkByName("v0") != nil && top.PeerNamespace(n.LinkByName("v0").Key) != nil
	})
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // says that it was killed
	f.until("no veth", func(top *Topology) bool { return top.Namespace(idOf(t, host)).LinkByName("v0") == nil })
	if out := ip(t, "-n", host, "link"); strings.Contains(string(out), "v0") {
		t.Errorf("the veth is still there:\n%s", out)
	}
}

// TestWatcherDoesNotHoldByDescriptor checks the same for a namespace that only
// a descriptor of another process keeps.
func TestWatcherDoesNotHoldByDescriptor(t *testing.T) {
	needRoot(t)
	h, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(h.Path())
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("sleep", "1000")
	c.ExtraFiles = []*os.File{file}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}()
	file.Close()
	h.Close()
	f := follow(t, Options{NoEngine: true})
	f.until("the namespace", func(top *Topology) bool { return top.Namespace(h.ID()) != nil })
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		held := false
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			target, err := os.Readlink("/proc/self/fd/" + e.Name())
			held = held || (err == nil && target == h.ID().String())
		}
		if !held {
			return
		}
	}
	t.Error("natlens keeps a descriptor of a namespace that may be gone any moment")
}

func TestWatcherGivesSlowReaderTheNewest(t *testing.T) {
	needRoot(t)
	host := newNetns(t)
	f := follow(t, Options{NoEngine: true})
	f.until("anything", func(*Topology) bool { return true })
	for i := range 30 {
		ip(t, "-n", host, "addr", "add", fmt.Sprintf("10.9.0.%d/32", i), "dev", "lo")
	}
	// Nobody reads for a while; then at most what was offered already may be
	// old.
	time.Sleep(2 * longestRest)
	reads := 0
	f.until("the last address", func(top *Topology) bool {
		reads++
		return top.Namespace(idOf(t, host)).HasAddress(netip.MustParseAddr("10.9.0.29"))
	})
	if reads > 3 {
		t.Errorf("the newest came as number %d", reads)
	}
}

func TestWatcherLeavesNothing(t *testing.T) {
	needRoot(t)
	newNetns(t)
	once := func() {
		f := follow(t, Options{EngineHost: "unix://" + t.TempDir() + "/none.sock"})
		f.until("anything", func(*Topology) bool { return true })
		f.stop()
	}
	once()
	descriptors, goroutines := openDescriptors(t), runtime.NumGoroutine()
	for range 3 {
		once()
	}
	expectLike(t, descriptors, goroutines)
}

func TestWatcherSurvivesOverrun(t *testing.T) {
	needRoot(t)
	host := newNetns(t)
	f := follow(t, Options{NoEngine: true})
	f.until("the namespace", func(top *Topology) bool { return top.Namespace(idOf(t, host)) != nil })
	// Far more announcements than a socket's buffer holds.
	var batch strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&batch, "addr add 10.9.%d.%d/32 dev lo\naddr del 10.9.%d.%d/32 dev lo\n", i/250, i%250, i/250, i%250)
	}
	batch.WriteString("addr add 10.10.0.1/32 dev lo\n")
	c := exec.Command("ip", "-n", host, "-batch", "-")
	c.Stdin = strings.NewReader(batch.String())
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("ip -batch: %v: %s", err, out)
	}
	f.until("the last address alone", func(top *Topology) bool {
		lo := top.Namespace(idOf(t, host)).LinkByName("lo")
		return len(lo.Addresses) == 1 && lo.Addresses[0].String() == "10.10.0.1/32"
	})
}

func TestSubscriptionCallsOverrunAChange(t *testing.T) {
	needRoot(t)
	h, err := netns.Open("/run/netns/" + newNetns(t))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var s *subscription
	err = h.Do(func() error {
		if s, err = subscribe(); err != nil {
			return err
		}
		raw, err := s.file.SyscallConn()
		if err != nil {
			return err
		}
		return raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	// More than the buffer holds, before anybody listens.
	err = h.Do(func() error {
		for i := range 50 {
			mode := []string{"up", "down"}[i%2]
			if out, err := exec.Command("ip", "link", "set", "lo", mode).CombinedOutput(); err != nil {
				return fmt.Errorf("ip: %w: %s", err, out)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	overrun := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.listen(func(ids bool) {
			// Nobody touched namespace ids: only an overrun says they may
			// have changed.
			if ids {
				poke(overrun)
			}
		})
	}()
	select {
	case <-overrun:
	case <-time.After(patience):
		t.Error("an overrun goes unnoticed")
	}
	s.close()
	<-done
}

// TestWatcherDoesNotWaitForEngine follows links while an engine takes
// connections and says nothing.
func TestWatcherDoesNotWaitForEngine(t *testing.T) {
	needRoot(t)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var held []net.Conn
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			held = append(held, c)
		}
	}()
	defer func() {
		l.Close()
		<-closed
		for _, c := range held {
			c.Close()
		}
	}()
	host := newNetns(t)
	f := follow(t, Options{EngineHost: "unix://" + socket})
	f.until("the namespace", func(top *Topology) bool { return top.Namespace(idOf(t, host)) != nil })
	ip(t, "-n", host, "addr", "add", "10.9.0.1/32", "dev", "lo")
	f.until("an address", func(top *Topology) bool {
		return top.Namespace(idOf(t, host)).HasAddress(netip.MustParseAddr("10.9.0.1"))
	})
	f.until("a note that the engine is slow", func(top *Topology) bool {
		return slices.ContainsFunc(top.Notes, func(n Note) bool {
			return n.About == "engine" && strings.Contains(n.Text, "answers slowly")
		})
	})
}
