package netinfo

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
)

// Only mounts in a folder of the engine's are told, once each, and their end.
func TestSandboxes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN: run as root")
	}
	its, others := t.TempDir(), t.TempDir()
	mount := func(path string) netns.ID {
		t.Helper()
		h, err := netns.New()
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if err := os.WriteFile(path, nil, 0o444); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(h.Path(), path, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
		return h.ID()
	}
	var told []string
	s := newSandboxes(func(b Sandbox) { told = append(told, fmt.Sprint(b.ID, " ", filepath.Base(b.Path), " ", b.Gone)) })
	expect := func(want ...string) {
		t.Helper()
		slices.Sort(told)
		if !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
		told = nil
	}
	first := filepath.Join(its, "first")
	one := mount(first)
	s.look()
	expect() // whose folder it is, nobody has said
	s.learn(&docker.Inventory{Containers: []docker.Container{{SandboxKey: first}, {Mode: "host"}}})
	expect() // it was there before
	two := mount(filepath.Join(its, "second"))
	mount(filepath.Join(others, "third"))
	s.look()
	expect(fmt.Sprint(two, " second false"))
	s.look()
	expect()
	for _, name := range []string{"first", "second"} {
		if err := unix.Unmount(filepath.Join(its, name), unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
	s.look()
	want := []string{fmt.Sprint(one, " first true"), fmt.Sprint(two, " second true")}
	slices.Sort(want)
	expect(want...)
	s.learn(&docker.Inventory{Engine: docker.Engine{Host: "unix:///var/run/docker.sock"}})
	if !s.folders["/run/docker/netns"] {
		t.Error("the usual engine's folder is not known before its first container")
	}
	if got := folderOf("/var/run/docker/netns/abc"); got != "/run/docker/netns" || strings.HasPrefix(got, "/var") {
		t.Errorf("folder %s", got)
	}
}
