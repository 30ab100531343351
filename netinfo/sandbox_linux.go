package netinfo

import (
	"os"
	"path/filepath"
	"strings"
	"sync"

	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
)

// Sandbox is a network namespace that an engine has just mounted for a container,
// or, Gone, has let go of.
type Sandbox struct {
	ID   netns.ID
	Path string // where it is mounted
	Gone bool
}

// OnSandbox has the Watcher call f for each namespace that its engine mounts or
// unmounts, at once: before links are moved there, and long before a Topology tells
// of it. So whoever wants a container's first packet is in time. f is called by one
// goroutine at a time and must not block. OnSandbox must be called before Run.
func (w *Watcher) OnSandbox(f func(Sandbox)) { w.onSandbox = f }

// sandboxes follows the mounts in the folders of one engine. Others use the same
// mount namespace, so a folder is the engine's when a container's is in it.
type sandboxes struct {
	tell func(Sandbox)

	mu      sync.Mutex
	folders map[string]bool
	mounted map[netns.ID]string
}

func newSandboxes(tell func(Sandbox)) *sandboxes {
	return &sandboxes{tell: tell, folders: map[string]bool{}, mounted: map[netns.ID]string{}}
}

// usualFolders are where an engine at its usual address mounts namespaces: then its
// first container is known, too.
var usualFolders = map[string]string{
	"unix:///var/run/docker.sock":    "/run/docker/netns",
	"unix:///run/docker.sock":        "/run/docker/netns",
	"unix:///run/podman/podman.sock": "/run/netns",
}

// learn takes in where the engine's containers have their mounts. What is in a
// folder that is new is no news: the Topology has it.
func (s *sandboxes) learn(inventory *docker.Inventory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.folders)
	if usual := usualFolders[inventory.Engine.Host]; usual != "" {
		s.folders[usual] = true
	}
	for i := range inventory.Containers {
		if key := inventory.Containers[i].SandboxKey; key != "" {
			s.folders[folderOf(key)] = true
		}
	}
	if len(s.folders) > before {
		s.compare(func(Sandbox) {})
	}
}

// look tells what changed since the last look.
func (s *sandboxes) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.folders) > 0 {
		s.compare(s.tell)
	}
}

func (s *sandboxes) compare(tell func(Sandbox)) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return // a discovery says so
	}
	d := newDiscovery()
	d.mounts(mountinfo)
	for id, path := range s.mounted {
		if d.found[id] == nil {
			delete(s.mounted, id)
			tell(Sandbox{id, path, true})
		}
	}
	for id, found := range d.found {
		if s.mounted[id] != "" {
			continue
		}
		for _, path := range found.mounts {
			// ip netns has the same folder as Podman, and other names in it.
			if shared := mountRank(path) < 2; s.folders[folderOf(path)] && (!shared || randomName.MatchString(filepath.Base(path))) {
				s.mounted[id] = path
				tell(Sandbox{id, path, false})
				break
			}
		}
	}
}

// folderOf is the folder of a mount; /var/run is a link to /run.
func folderOf(path string) string { return strings.TrimPrefix(filepath.Dir(path), "/var") }
