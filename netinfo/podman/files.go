package podman

import (
	"cmp"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"natlens/netinfo/docker"
)

// again is after how long the files are read anew while the same containers run:
// a network can be made or removed meanwhile.
const again = 10 * time.Second

// Files makes an Inventory of what Podman left in the file system. Its zero value
// is ready; one goroutine at a time may use it.
type Files struct {
	monitors  []Monitor
	read      time.Time
	inventory *docker.Inventory
}

// Inventory returns what the monitors and Podman's files tell of the running
// containers: nil when there is no monitor. The monitors must be sorted. What a
// file does not tell, or this user may not read, is left out; ports, labels and
// endpoints always are, because they stand in Podman's database alone. It is
// immutable; the same one is returned while nothing can have changed.
func (f *Files) Inventory(monitors []Monitor, now time.Time) *docker.Inventory {
	if len(monitors) == 0 {
		*f = Files{}
		return nil
	}
	if f.inventory == nil || !slices.Equal(f.monitors, monitors) || now.Sub(f.read) > again {
		f.monitors, f.read = slices.Clone(monitors), now
		f.inventory = read(monitors)
	}
	return f.inventory
}

func read(monitors []Monitor) *docker.Inventory {
	inventory := &docker.Inventory{Engine: docker.Engine{Name: "Podman", OSType: "linux", Rootless: true, Unasked: true}}
	images := map[string]map[string]string{} // by store
	var folders []os.FileInfo
	ways := make([]way, len(monitors))
	for i, m := range monitors {
		c := docker.Container{ID: m.Container, Name: m.Name, PID: m.firstProcess(), Unasked: true, PortsUnknown: true}
		if store, ok := m.store(); ok {
			store = m.path(store)
			if images[store] == nil {
				images[store] = parseImages(readFile(filepath.Join(store, "containers.json")))
			}
			c.Image = images[store][m.Container]
		}
		ways[i], _ = parseBundle(readFile(m.path(filepath.Join(m.Bundle, "config.json"))))
		c.Mode = ways[i].mode
		if c.Mode == "private" {
			c.SandboxKey = ways[i].path
		}
		inventory.Containers = append(inventory.Containers, c)
		inventory.Engine.Rootless = inventory.Engine.Rootless && m.UID != 0
		for _, n := range m.networks(&folders) {
			if !slices.ContainsFunc(inventory.Networks, func(o docker.Network) bool { return o.ID == n.ID }) {
				inventory.Networks = append(inventory.Networks, n)
			}
		}
	}
	for i, w := range ways {
		for _, other := range inventory.Containers {
			if w.mode == "joined" && other.PID == w.pid {
				inventory.Containers[i].Mode = "container:" + other.ID
			}
		}
	}
	slices.SortFunc(inventory.Containers, func(a, b docker.Container) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(inventory.Networks, func(a, b docker.Network) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return inventory
}

// path leads to a file as the monitor sees it: Podman without root, and one that
// is tested, have mounts of their own.
func (m Monitor) path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(m.PID), "root", name)
}

// firstProcess reads the process id that the runtime left; 0 when it is not known.
func (m Monitor) firstProcess() int {
	pid, err := strconv.Atoi(strings.TrimSpace(string(readFile(m.path(m.PIDFile)))))
	if err != nil {
		return 0
	}
	return pid
}

// networks reads the networks of Podman as root, each folder once; without root
// they are not the host's, and CNI has files of another form.
func (m Monitor) networks(folders *[]os.FileInfo) (all []docker.Network) {
	if m.UID != 0 || m.Backend != "netavark" {
		return nil
	}
	folder := m.path(cmp.Or(m.Networks, "/etc/containers/networks"))
	info, err := os.Stat(folder)
	if err != nil || slices.ContainsFunc(*folders, func(o os.FileInfo) bool { return os.SameFile(o, info) }) {
		return nil
	}
	*folders = append(*folders, info)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	changed := false
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".json" {
			continue
		}
		if n, ok := parseNetwork(readFile(filepath.Join(folder, e.Name()))); ok {
			all = append(all, n)
			changed = changed || n.Name == "podman"
		}
	}
	if !changed {
		all = append(all, defaultNetwork())
	}
	return all
}

// mostBytes is more than any of these files has; what is larger is something else.
const mostBytes = 16 << 20

// readFile returns nothing for what can't be read: it may have just gone, or be
// another user's. Who runs a monitor chooses the paths, so that a file that would
// make natlens wait, or that never ends, is not read.
func readFile(name string) []byte {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(f, mostBytes))
	if err != nil {
		return nil
	}
	return text
}
