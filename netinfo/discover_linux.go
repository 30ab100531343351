package netinfo

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"natlens/netinfo/netns"
)

// sighting is how a namespace was found.
type sighting struct {
	mounts      []string
	pids        []int // lowest first
	descriptors []string
}

// paths are the ways to open the namespace, the lasting ones first; a
// descriptor of some process only where there is nothing better.
func (s *sighting) paths() []string {
	paths := slices.Clone(s.mounts)
	for _, pid := range s.pids[:min(maxPIDs, len(s.pids))] {
		paths = append(paths, processPath(pid))
	}
	if len(paths) == 0 {
		return s.descriptors
	}
	return paths
}

// fleeting says that only open descriptors keep the namespace alive.
func (s *sighting) fleeting() bool { return len(s.mounts) == 0 && len(s.pids) == 0 }

func processPath(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/ns/net" }

// discovery is one look at everything that keeps a namespace alive and that
// this user may see: processes, bind mounts, open descriptors (ip-netns(8),
// namespaces(7)).
type discovery struct {
	found map[netns.ID]*sighting
	// namespaceOf is each process's namespace.
	namespaceOf map[int]netns.ID
	hidden      int // processes that this user may not look into
	unsearched  int // processes whose descriptors there was no time for
}

func (d *discovery) at(id netns.ID) *sighting {
	s := d.found[id]
	if s == nil {
		s = &sighting{}
		d.found[id] = s
	}
	return s
}

func newDiscovery() *discovery {
	return &discovery{found: map[netns.ID]*sighting{}, namespaceOf: map[int]netns.ID{}}
}

// processes reads /proc/PID/ns/net of every process: about 2 µs each.
func (d *discovery) processes() error {
	dir, err := os.Open("/proc")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	for _, pid := range pids {
		target, err := os.Readlink(processPath(pid))
		if errors.Is(err, fs.ErrPermission) {
			d.hidden++
			continue
		}
		// A process that ended meanwhile, or is a zombie, has no namespace.
		if id, ok := parseNamespace(target); err == nil && ok {
			s := d.at(id)
			s.pids = append(s.pids, pid)
			d.namespaceOf[pid] = id
		}
	}
	return nil
}

// parseNamespace reads the form net:[4026531840].
func parseNamespace(s string) (netns.ID, bool) {
	digits, ok := strings.CutPrefix(s, "net:[")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(digits, "]"), 10, 64)
	return netns.ID(n), err == nil && n != 0
}

// mounts reads the bind mounts of namespaces out of /proc/self/mountinfo
// (proc_pid_mountinfo(5)). That sees the folders of ip netns and of every
// engine alike, wherever they are, and only what is really mounted: in the
// folders there are files too that are no namespaces yet, or no longer.
func (d *discovery) mounts(mountinfo []byte) {
	lines := bufio.NewScanner(bytes.NewReader(mountinfo))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		before, after, ok := bytes.Cut(lines.Bytes(), []byte(" - "))
		if !ok || !bytes.HasPrefix(after, []byte("nsfs ")) {
			continue
		}
		fields := bytes.Fields(before)
		if len(fields) < 5 {
			continue
		}
		if id, ok := parseNamespace(string(fields[3])); ok {
			s := d.at(id)
			// A folder that is mounted on itself, as /run/netns is, shows
			// its mounts several times.
			if p := unescapeMount(string(fields[4])); !slices.Contains(s.mounts, p) {
				s.mounts = append(s.mounts, p)
			}
		}
	}
	for _, s := range d.found {
		slices.SortFunc(s.mounts, func(a, b string) int {
			return cmp.Or(cmp.Compare(mountRank(a), mountRank(b)), cmp.Compare(a, b))
		})
	}
}

// mountRank prefers the folder that people know.
func mountRank(path string) int {
	switch filepath.Dir(path) {
	case "/run/netns":
		return 0
	case "/var/run/netns":
		return 1
	}
	return 2
}

// unescapeMount undoes the octal escapes of /proc/PID/mountinfo.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mount adds a path that an engine names, if a namespace is really there. The
// engine's /var/run may be /run here.
func (d *discovery) mount(path string) {
	for _, p := range []string{path, strings.TrimPrefix(path, "/var")} {
		h, err := netns.Open(p)
		if err != nil {
			continue
		}
		s := d.at(h.ID())
		if !slices.ContainsFunc(s.mounts, func(m string) bool { return samePath(m, p) }) {
			s.mounts = append(s.mounts, p)
		}
		// A read-only descriptor that closes with an error is closed as well.
		_ = h.Close()
		return
	}
}

// descriptors looks for namespaces that only an open descriptor keeps alive.
// It is the one costly look, a readlink for every open file of the host, and
// ends at the deadline. natlens's own descriptors do not count.
func (d *discovery) descriptors(deadline time.Time) {
	self := os.Getpid()
	pids := slices.Sorted(maps.Keys(d.namespaceOf))
	for i, pid := range pids {
		if time.Now().After(deadline) {
			d.unsearched = len(pids) - i
			return
		}
		if pid == self {
			continue
		}
		folder := "/proc/" + strconv.Itoa(pid) + "/fd/"
		dir, err := os.Open(folder)
		if err != nil {
			continue
		}
		names, err := dir.Readdirnames(-1)
		_ = dir.Close() // as above
		if err != nil {
			continue
		}
		for _, name := range names {
			target, err := os.Readlink(folder + name)
			if err != nil {
				continue
			}
			if id, ok := parseNamespace(target); ok {
				s := d.at(id)
				if len(s.descriptors) < maxPIDs {
					s.descriptors = append(s.descriptors, folder+name)
				}
			}
		}
	}
}

// readProcessFile reads a small file of a process; empty when it is gone.
func readProcessFile(pid int, name string) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + name)
	if err != nil {
		return ""
	}
	return string(b)
}
