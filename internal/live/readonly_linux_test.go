package live

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/netinfo/netns"
)

// runningTimers are what a bridge counts down, whoever looks.
var runningTimers = regexp.MustCompile(`"[a-z_]+_timer":[0-9.]+,`)

// settings is everything of a namespace that a tool could change: what nft(8)
// and ip(8) list, and all its sysctls.
func settings(t *testing.T, ns *netns.Handle) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := ns.Do(func() error {
		for _, line := range []string{
			"nft -j list ruleset", "ip -d -j link", "ip -j address", "ip -j route show table all", "ip -j rule", "ip -j maddress",
		} {
			words := strings.Fields(line)
			b, err := exec.Command(words[0], words[1:]...).Output()
			if err != nil {
				return err
			}
			found[line] = runningTimers.ReplaceAllString(string(b), "")
		}
		// A thread of its own sees its own namespace's values.
		return filepath.WalkDir("/proc/sys/net", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			// This one is no setting: a bridge's own search for multicast
			// listeners is tracked like any other traffic.
			if d.Name() == "nf_conntrack_count" {
				return nil
			}
			// Some can't be read (write-only, or not set yet): that they
			// can't is their value.
			b, err := os.ReadFile(path)
			if err != nil {
				b = []byte(err.Error())
			}
			found[path] = string(b)
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// needPrograms skips a test without its oracles.
func needPrograms(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			t.Skipf("needs the program %s", n)
		}
	}
}

func TestWatchingChangesNothing(t *testing.T) {
	needPrograms(t, "nft", "ip")
	h := dockerHost(t)
	namespaces := map[string]*netns.Handle{"host": h.Namespace(), "back": h.Find("back").Namespace(), "internet": h.Internet()}
	all := func() map[string]map[string]string {
		found := map[string]map[string]string{}
		for name, ns := range namespaces {
			found[name] = settings(t, ns)
		}
		return found
	}
	before := all()
	if len(before["host"]) < 100 || !strings.Contains(before["host"]["nft -j list ruleset"], "MASQUERADE") &&
		!strings.Contains(before["host"]["nft -j list ruleset"], "masquerade") {
		t.Fatalf("%d settings: these are not all", len(before["host"]))
	}
	w := startWatch(t, Config{})
	// Until the first topology of the watcher has been followed.
	time.Sleep(1500 * time.Millisecond)
	if diff := cmp.Diff(before, all()); diff != "" {
		t.Errorf("watching changes (-before +meanwhile):\n%s", diff)
	}
	w.end()
	if diff := cmp.Diff(before, all()); diff != "" {
		t.Errorf("watching changed (-before +after):\n%s", diff)
	}
}

// TestWatchingTracksNothing: a namespace whose rules don't ask for connection
// tracking must not begin with it.
func TestWatchingTracksNothing(t *testing.T) {
	h := dockerHost(t)
	back := h.Find("back")
	tracked := func(ns *netns.Handle) (n string) {
		err := ns.Do(func() error {
			b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
			n = strings.TrimSpace(string(b))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	w := startWatch(t, Config{})
	for seq := range uint16(3) {
		if _, err := lab.Ping(t.Context(), back.Namespace(), lab.ServerAddress, lab.Echo{ID: 9, Seq: seq}); err != nil {
			t.Fatal(err)
		}
	}
	w.until("three pings and their replies", func() bool { return len(w.journeys) >= 6 })
	if n := tracked(h.Namespace()); n == "0" {
		t.Error("nothing is tracked where masquerade needs it: this test sees nothing")
	}
	for name, ns := range map[string]*netns.Handle{"back": back.Namespace(), "internet": h.Internet()} {
		if n := tracked(ns); n != "0" {
			t.Errorf("%s flows are tracked in %s, which has no rules", n, name)
		}
	}
}

// packetSockets returns the inodes of what captures in a namespace: other programs may.
func packetSockets(t *testing.T, ns *netns.Handle) (inodes []string) {
	t.Helper()
	err := ns.Do(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/packet")
		for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n")[1:] {
			fields := strings.Fields(line)
			inodes = append(inodes, fields[len(fields)-1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return inodes
}

// socketsOf returns the inodes of a process's sockets.
func socketsOf(t *testing.T, pid int) (inodes []string) {
	t.Helper()
	opened, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range opened {
		to, err := os.Readlink(name)
		if inode, ok := strings.CutPrefix(to, "socket:["); err == nil && ok {
			inodes = append(inodes, strings.TrimSuffix(inode, "]"))
		}
	}
	return inodes
}

func TestKilledWatchLeavesNothing(t *testing.T) {
	needPrograms(t, "nft", "ip")
	leak.CheckHost(t)
	h := dockerHost(t)
	namespaces := []*netns.Handle{h.Namespace(), h.Find("back").Namespace(), h.Find("database").Namespace()}
	before := settings(t, h.Namespace())
	w := startWatcher(t, Config{}, false)
	own := socketsOf(t, w.cmd.Process.Pid)
	rings := func(ns *netns.Handle) (n int) {
		for _, inode := range packetSockets(t, ns) {
			if slices.Contains(own, inode) {
				n++
			}
		}
		return n
	}
	for _, ns := range namespaces {
		if n := rings(ns); n != 1 {
			t.Errorf("%d rings in %v, want one", n, ns.ID())
		}
	}
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Wait(); err == nil {
		t.Fatal("it ended by itself")
	}
	eventually(t, "its rings are gone", func() bool {
		for _, ns := range namespaces {
			if rings(ns) != 0 {
				return false
			}
		}
		return true
	})
	after := settings(t, h.Namespace())
	maps.DeleteFunc(after, func(k, v string) bool { return before[k] == v })
	if len(after) != 0 {
		t.Errorf("changed for ever: %v", after)
	}
}

// eventually waits for what only a hang delays so long.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(liveness); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
