package lab_test

import (
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
)

// snapshot is what a lab could leave behind.
type snapshot struct {
	Links, Names, Mounts, Tables []string
	Descriptors                  []string
	Goroutines                   int
	Forwarding                   string
}

func takeSnapshot(t *testing.T) snapshot {
	t.Helper()
	var s snapshot
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		s.Links = append(s.Links, l.Name)
	}
	s.Names = entries(t, "/run/netns")
	for mount := range strings.Lines(read(t, "/proc/self/mountinfo")) {
		// What other programs mount outside shows up in a lab, too; what engines keep to
		// themselves goes with its folder.
		if !strings.Contains(mount, " master:") && !strings.Contains(mount, "/natlens-engine-") {
			s.Mounts = append(s.Mounts, mount)
		}
	}
	s.Forwarding = read(t, "/proc/sys/net/ipv4/ip_forward")
	tables, err := new(nftables.Conn).ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		s.Tables = append(s.Tables, table.Name)
	}
	for _, fd := range entries(t, "/proc/self/fd") {
		// The directory's own descriptor is gone by now.
		if to, err := os.Readlink("/proc/self/fd/" + fd); err == nil {
			s.Descriptors = append(s.Descriptors, to)
		}
	}
	s.Goroutines = runtime.NumGoroutine()
	return s
}

func entries(t *testing.T, folder string) []string {
	t.Helper()
	list, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// compare fails the test when s, taken later, is not before. Goroutines that
// have nothing left to do may take a moment to end; fewer than before are no
// leak.
func (s snapshot) compare(t *testing.T, before snapshot) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); s.Goroutines > before.Goroutines && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
		s.Goroutines = runtime.NumGoroutine()
	}
	s.Goroutines = max(s.Goroutines, before.Goroutines)
	if d := cmp.Diff(before, s); d != "" {
		t.Errorf("something was left behind (-before +after):\n%s", d)
	}
}
