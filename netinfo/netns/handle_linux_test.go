package netns

import (
	"errors"
	"net"
	"os"
	"testing"
)

func TestOpenRefusesOtherFiles(t *testing.T) {
	for _, path := range []string{"/etc/passwd", "/proc/self/ns/pid"} {
		if h, err := Open(path); err == nil {
			t.Errorf("Open(%q) = %v, want an error", path, h.ID())
		}
	}
	if _, err := Open("/proc/self/ns/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open of a missing file: %v, want ErrNotExist", err)
	}
}

func TestCurrentIsStable(t *testing.T) {
	a, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if a.ID() != b.ID() || a.ID() == 0 {
		t.Errorf("ids %v and %v, want the same", a.ID(), b.ID())
	}
}

func TestDoEntersAndLeavesThisThreadAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN: run as root")
	}
	before, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	h, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if h.ID() == before.ID() {
		t.Fatal("New returned the current namespace")
	}
	err = h.Do(func() error {
		links, err := net.Interfaces()
		if err != nil {
			return err
		}
		if len(links) != 1 || links[0].Name != "lo" {
			t.Errorf("links in a new namespace: %v, want lo alone", links)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	after, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	if after.ID() != before.ID() {
		t.Errorf("the caller moved from %v to %v", before.ID(), after.ID())
	}
}
