package netinfo

import (
	"maps"
	"slices"
	"strings"
)

// processTexts is what names a namespace that nobody named.
type processTexts struct {
	pid             int
	cgroup, command string
}

// readTexts reads what names a namespace: the cgroup and the command of its
// first process.
func (s *scanner) readTexts() {
	for id, sighting := range s.seen.found {
		if id == s.self || len(sighting.pids) == 0 {
			continue
		}
		pid := sighting.pids[0]
		// The process that gave the name goes on to do so while it is there:
		// process ids wrap, and one that just came may have a lower one.
		if _, stays := slices.BinarySearch(sighting.pids, s.texts[id].pid); stays {
			pid = s.texts[id].pid
		}
		t := processTexts{
			pid: pid, cgroup: readProcessFile(pid, "cgroup"),
			command: strings.TrimSpace(readProcessFile(pid, "comm")),
		}
		// Kernel threads live in the namespace the machine started with.
		if t.command == "kthreadd" && t.cgroup != "" && readProcessFile(pid, "cmdline") == "" {
			t.command = "init"
		}
		// Between fork and exec a process bears its parent's name: that is
		// right again at the next discovery. One that just ended says nothing.
		if t.cgroup == "" && t.command == "" && s.texts[id].pid != 0 {
			continue
		}
		s.texts[id] = t
	}
}

// proveByCgroup finds for each container a process whose cgroup holds its id.
// The engine's process id is tried first. Where it leads nowhere, because the
// engine counts in another process namespace, all processes are searched, but
// only after something changed.
func (s *scanner) proveByCgroup() {
	proven := map[string]processFact{}
	if s.inventory == nil {
		s.cgroups = proven
		return
	}
	missing := map[string]bool{}
	for _, c := range s.inventory.Containers {
		pid := c.PID
		if old, ok := s.cgroups[c.ID]; ok {
			pid = old.pid
		}
		if id, ok := s.seen.namespaceOf[pid]; ok && cgroupContainer(readProcessFile(pid, "cgroup")) == c.ID {
			proven[c.ID] = processFact{pid, id}
			continue
		}
		missing[c.ID] = true
	}
	if len(missing) > 0 && s.cgroupsDue {
		for _, pid := range slices.Sorted(maps.Keys(s.seen.namespaceOf)) {
			id := cgroupContainer(readProcessFile(pid, "cgroup"))
			if missing[id] {
				proven[id] = processFact{pid, s.seen.namespaceOf[pid]}
				delete(missing, id)
			}
		}
		s.cgroupsDue = false
	}
	s.cgroups = proven
}
