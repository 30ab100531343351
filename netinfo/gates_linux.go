package netinfo

import (
	"os"
	"strconv"
	"strings"

	"natlens/netinfo/netns"
)

// isGate reports whether a command may be that of a gate.
func isGate(comm string) bool {
	return comm == "slirp4netns" || comm == "pasta" || strings.HasPrefix(comm, "pasta.")
}

// gate takes in a process that is called like one.
func (s *programScan) gate(d *discovery, pid int) {
	g, at, ok := parseGate([]byte(readProcessFile(pid, "cmdline")))
	if ok {
		g.namespace, ok = at.find(d, pid)
	}
	uid, known := userOf(pid)
	if !ok || !known {
		s.forget(pid)
		return
	}
	g.pid, g.uid = pid, uid
	s.gates[pid] = g
}

// find finds the namespace; paths are those of the program, which may have mounts of
// its own.
func (a gateTarget) find(d *discovery, pid int) (netns.ID, bool) {
	if a.pid != 0 {
		id, ok := d.namespaceOf[a.pid]
		return id, ok
	}
	for _, name := range []string{"/proc/" + strconv.Itoa(pid) + "/root" + a.path, a.path} {
		info, err := os.Stat(name)
		if err != nil || info.IsDir() {
			continue
		}
		if h, err := netns.Open(name); err == nil {
			id := h.ID()
			_ = h.Close() // nothing was written
			return id, true
		}
	}
	return 0, false
}
