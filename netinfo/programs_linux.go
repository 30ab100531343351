package netinfo

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"natlens/netinfo/netns"
	"natlens/netinfo/podman"
)

// youth is how long a process may still become another program: between fork
// and exec it bears its parent's name.
const youth = 2 * time.Second

// programScan finds the programs that tell of containers by their command lines:
// docker-proxies, the monitors that Podman leaves beside its containers, and what
// carries packets for those without root. It
// looks at every process while that is young, and then no more: a look costs two
// files.
type programScan struct {
	since    map[int]time.Time // when a process was first seen
	proxies  map[int]Proxy
	monitors map[int]podman.Monitor
	gates    map[int]gate
}

func newProgramScan() programScan {
	return programScan{since: map[int]time.Time{}, proxies: map[int]Proxy{}, monitors: map[int]podman.Monitor{}, gates: map[int]gate{}}
}

// look takes in a discovery.
func (s *programScan) look(d *discovery, now time.Time) {
	for pid := range s.since {
		if _, lives := d.namespaceOf[pid]; !lives {
			delete(s.since, pid)
			s.forget(pid)
		}
	}
	for pid := range d.namespaceOf {
		first, seen := s.since[pid]
		if !seen {
			s.since[pid] = now
		} else if now.Sub(first) > youth {
			continue
		}
		switch comm := strings.TrimSuffix(readProcessFile(pid, "comm"), "\n"); {
		case comm == "docker-proxy":
			s.proxy(d, pid)
		case comm == "conmon":
			s.monitor(pid)
		case isGate(comm):
			s.gate(d, pid)
		default:
			s.forget(pid)
		}
	}
}

func (s *programScan) forget(pid int) {
	delete(s.proxies, pid)
	delete(s.monitors, pid)
	delete(s.gates, pid)
}

func (s *programScan) proxy(d *discovery, pid int) {
	p, ok := parseProxy([]byte(readProcessFile(pid, "cmdline")))
	p.PID, p.Namespace = pid, d.namespaceOf[pid]
	switch {
	case !ok:
		s.forget(pid)
	case s.proxies[pid] != p && listens(p):
		s.proxies[pid] = p
	}
}

func (s *programScan) monitor(pid int) {
	m, ok := podman.ParseMonitor([]byte(readProcessFile(pid, "cmdline")))
	uid, known := userOf(pid)
	if !ok || !known {
		s.forget(pid)
		return
	}
	m.PID, m.UID = pid, uid
	s.monitors[pid] = m
}

// userOf returns whose process it is; false when it has gone.
func userOf(pid int) (uint32, bool) {
	info, err := os.Stat("/proc/" + strconv.Itoa(pid))
	if err != nil {
		return 0, false
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return owner.Uid, true
}

// listGates returns the gates of natlens's own namespace, by process.
func (s *programScan) listGates(d *discovery, self netns.ID) []gate {
	var all []gate
	for pid, g := range s.gates {
		if d.namespaceOf[pid] == self {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b gate) int { return cmp.Compare(a.pid, b.pid) })
	return all
}

// listens reports whether the process holds the socket that its command line
// speaks of: a name is soon given, and between exec and bind the port is another's.
// Where that can't be told, the command line is believed.
func listens(p Proxy) bool {
	if p.Protocol != "tcp" && p.Protocol != "udp" {
		return true
	}
	pid, err := Holder(Connection{Protocol: p.Protocol, Local: p.Listen}, []int{p.PID})
	return pid == p.PID || err != nil && !errors.Is(err, fs.ErrNotExist)
}

// listProxies returns the docker-proxies by process.
func (s *programScan) listProxies() []Proxy {
	var all []Proxy
	for _, p := range s.proxies {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Proxy) int { return cmp.Compare(a.PID, b.PID) })
	return all
}

// listMonitors returns Podman's monitors by container, one for each: conmon forks
// before it is what it stays, and what root's says of a container counts.
func (s *programScan) listMonitors() []podman.Monitor {
	var all []podman.Monitor
	for _, m := range s.monitors {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b podman.Monitor) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.UID, b.UID), cmp.Compare(b.PID, a.PID))
	})
	return slices.CompactFunc(all, func(a, b podman.Monitor) bool { return a.Container == b.Container })
}
