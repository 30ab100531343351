package netinfo

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// youth is how long a process may still become another program: between fork
// and exec it bears its parent's name.
const youth = 2 * time.Second

// proxyScan finds docker-proxies by their command lines. It looks at every
// process while that is young, and then no more: a look costs two files.
type proxyScan struct {
	since map[int]time.Time // when a process was first seen
	found map[int]Proxy
}

func newProxyScan() proxyScan {
	return proxyScan{since: map[int]time.Time{}, found: map[int]Proxy{}}
}

// look takes in a discovery.
func (s *proxyScan) look(d *discovery, now time.Time) {
	for pid := range s.since {
		if _, lives := d.namespaceOf[pid]; !lives {
			delete(s.since, pid)
			delete(s.found, pid)
		}
	}
	for pid, id := range d.namespaceOf {
		first, seen := s.since[pid]
		if !seen {
			s.since[pid] = now
		} else if now.Sub(first) > youth {
			continue
		}
		if strings.TrimSuffix(readProcessFile(pid, "comm"), "\n") != "docker-proxy" {
			delete(s.found, pid)
			continue
		}
		p, ok := parseProxy([]byte(readProcessFile(pid, "cmdline")))
		p.PID, p.Namespace = pid, id
		switch {
		case !ok:
			delete(s.found, pid)
		case s.found[pid] != p && listens(p):
			s.found[pid] = p
		}
	}
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

// list returns them by process.
func (s *proxyScan) list() []Proxy {
	var all []Proxy
	for _, p := range s.found {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Proxy) int { return cmp.Compare(a.PID, b.PID) })
	return all
}
