package netinfo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
)

// Limits of the search in open descriptors, which costs a readlink for every
// open file of the host.
const (
	descriptorTime  = 500 * time.Millisecond
	descriptorShare = 20 // of the time that passes, at most one part in so many
)

// Options say what to look at.
type Options struct {
	// EngineHost is the engine's address as in DOCKER_HOST; empty means the
	// first that is found (see docker.Candidates).
	EngineHost string
	NoEngine   bool // ask no engine
}

// Scan looks at the host once. It fails only when not even its own namespace
// can be read; whatever else is missing is said in the Topology's Notes.
func Scan(ctx context.Context, o Options) (*Topology, error) {
	s, err := newScanner()
	if err != nil {
		return nil, err
	}
	defer s.close()
	if !o.NoEngine {
		e, err := docker.Open(ctx, o.EngineHost)
		if e != nil {
			defer e.Close()
		}
		if err == nil {
			s.inventory, err = e.Inventory(ctx)
		}
		s.engineError = err
	}
	return s.scan(ctx)
}

// scanner reads the host into Topologies. Between two scans it keeps the
// namespaces open and what was read of them, and reads again only what is
// marked dirty. One goroutine at a time may use it.
type scanner struct {
	self   netns.ID // the namespace to look from
	inside netns.ID // the one this process is in, which it need not enter
	probes map[netns.ID]*probe
	// refused are namespaces that can't be opened or entered, and why.
	refused map[netns.ID]error
	names   map[netns.ID]string
	seen    *discovery

	// subscribed, if set, is told of every namespace that was opened and of
	// the subscription there, which ends when the namespace is closed.
	subscribed func(netns.ID, *subscription)

	inventory   *docker.Inventory
	engineError error // why the inventory is missing or stale

	nextDescriptors time.Time
	descriptors     map[netns.ID][]string // found by the last search
	unsearched      int
	// cgroupsDue asks for a search of all processes for containers that the
	// engine's process ids did not prove.
	cgroupsDue bool
	cgroups    map[string]processFact
	// unresolved are namespace ids that no namespace found here has.
	unresolved map[nsidKey]bool
	// texts are the cgroup and the command of each namespace's first process.
	texts map[netns.ID]processTexts
}

// nsidKey is a namespace id as seen from a namespace.
type nsidKey struct {
	namespace netns.ID
	nsid      int32
}

type processTexts struct {
	pid             int
	cgroup, command string
}

func newScanner() (*scanner, error) {
	h, err := netns.Current()
	if err != nil {
		return nil, fmt.Errorf("scan host: %w", err)
	}
	defer h.Close()
	return &scanner{
		self:       h.ID(),
		inside:     h.ID(),
		probes:     map[netns.ID]*probe{},
		refused:    map[netns.ID]error{},
		names:      map[netns.ID]string{},
		cgroupsDue: true,
		unresolved: map[nsidKey]bool{},
		texts:      map[netns.ID]processTexts{},
	}, nil
}

func (s *scanner) close() {
	for _, p := range s.probes {
		p.close()
	}
	s.probes = nil
}

// scan discovers namespaces, reads those that are new or dirty and assembles.
func (s *scanner) scan(ctx context.Context) (*Topology, error) {
	if err := s.discover(); err != nil {
		return nil, err
	}
	return s.refresh(ctx)
}

// refresh reads what is dirty and assembles, without a new discovery, except
// when a link leads to a namespace that was not known before.
func (s *scanner) refresh(ctx context.Context) (*Topology, error) {
	s.readDirty()
	if s.resolve() {
		// A link leads to a namespace that is not known: perhaps it came
		// after the discovery.
		if err := s.discover(); err != nil {
			return nil, err
		}
		s.readDirty()
		s.resolve()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	self := s.probes[s.self]
	if self == nil {
		return nil, fmt.Errorf("scan host: %w", s.refused[s.self])
	}
	if self.err != nil {
		return nil, fmt.Errorf("scan host: %w", self.err)
	}
	t := assemble(s.facts(), time.Now())
	clear(s.names)
	for _, n := range t.Namespaces {
		s.names[n.ID] = n.Name
	}
	t.Number = 1
	return t, nil
}

// discover finds the namespaces that are here now, opens new ones and closes
// those that nothing but natlens keeps alive.
func (s *scanner) discover() error {
	d := newDiscovery()
	if err := d.processes(); err != nil {
		return err
	}
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	d.mounts(mountinfo)
	if s.inventory != nil {
		for _, c := range s.inventory.Containers {
			if c.SandboxKey != "" {
				d.mount(c.SandboxKey)
			}
		}
	}
	s.searchDescriptors(d)
	s.seen = d

	for id, p := range s.probes {
		if d.found[id] == nil {
			p.close()
			delete(s.probes, id)
			s.forget(id)
		}
	}
	maps.DeleteFunc(s.refused, func(id netns.ID, _ error) bool { return d.found[id] == nil })
	maps.DeleteFunc(s.texts, func(id netns.ID, _ processTexts) bool { return d.found[id] == nil })
	for id, sighting := range d.found {
		// What this user may not do now it may not do later either; other
		// refusals (no descriptors left) may pass.
		if s.probes[id] != nil || errors.Is(s.refused[id], os.ErrPermission) {
			continue
		}
		p, err := openProbe(id, sighting.paths(), id == s.inside, s.subscribed != nil)
		switch {
		case err == nil:
			s.probes[id] = p
			delete(s.refused, id)
			if p.events != nil {
				s.subscribed(id, p.events)
			}
			// A new namespace may be the one an id stands for.
			clear(s.unresolved)
		case errors.Is(err, errVanished):
			delete(d.found, id)
		default:
			s.refused[id] = err
		}
	}
	s.readTexts()
	s.proveByCgroup()
	return nil
}

// forget drops what the other probes resolved to a namespace that is gone: the
// kernel may give its id here to another.
func (s *scanner) forget(gone netns.ID) {
	for _, p := range s.probes {
		maps.DeleteFunc(p.peers, func(_ int32, id netns.ID) bool { return id == gone })
	}
	clear(s.unresolved)
}

// searchDescriptors looks for namespaces held by descriptors, not more often
// than its cost allows; in between, what it found last is still taken if the
// descriptor is still there.
func (s *scanner) searchDescriptors(d *discovery) {
	now := time.Now()
	if now.Before(s.nextDescriptors) {
		for id, paths := range s.descriptors {
			for _, path := range paths {
				if target, err := os.Readlink(path); err == nil && target == id.String() {
					d.at(id).descriptors = append(d.at(id).descriptors, path)
				}
			}
		}
		return
	}
	d.descriptors(now.Add(descriptorTime))
	s.unsearched = d.unsearched
	s.descriptors = map[netns.ID][]string{}
	for id, found := range d.found {
		if len(found.descriptors) > 0 {
			s.descriptors[id] = found.descriptors
		}
	}
	s.nextDescriptors = now.Add(max(2*time.Second, descriptorShare*time.Since(now)))
}

// markDirty says that a namespace changed, and whether the meaning of
// namespace ids there may have.
func (s *scanner) markDirty(id netns.ID, ids bool) {
	if p := s.probes[id]; p != nil {
		p.dirty = true
	}
	if ids {
		maps.DeleteFunc(s.unresolved, func(k nsidKey, _ bool) bool { return k.namespace == id })
	}
}

// lonely returns a process of each namespace that only processes keep alive,
// as far as others than natlens go.
func (s *scanner) lonely() []int {
	var pids []int
	for id, sighting := range s.seen.found {
		if id != s.self && len(sighting.mounts) == 0 && len(sighting.pids) > 0 {
			pids = append(pids, sighting.pids[0])
		}
	}
	return pids
}

func (s *scanner) readDirty() {
	for id, p := range s.probes {
		if !p.dirty {
			continue
		}
		p.dirty = false
		p.err = p.read()
		if p.err != nil && id != s.self {
			// Its links are unknown, not gone; the reason is shown.
			p.links, p.routes, p.defaults = nil, nil, nil
		}
	}
}

// resolve matches namespace ids with namespaces, and reports whether there is
// one that stays unknown for the first time.
func (s *scanner) resolve() bool {
	// Most peers are in natlens's own namespace.
	order := append([]netns.ID{s.self}, slices.Sorted(maps.Keys(s.probes))...)
	order = slices.DeleteFunc(order, func(id netns.ID) bool { return s.probes[id] == nil })
	surprise := false
	for id, p := range s.probes {
		wanted := p.wanted()
		known := true
		for nsid := range wanted {
			known = known && s.unresolved[nsidKey{id, nsid}]
		}
		if known {
			continue
		}
		p.resolve(s.probes, order)
		for nsid := range p.wanted() {
			if key := (nsidKey{id, nsid}); !s.unresolved[key] {
				s.unresolved[key] = true
				surprise = true
			}
		}
	}
	return surprise
}

// readTexts reads what names a namespace: the cgroup and the command of its
// first process.
func (s *scanner) readTexts() {
	for id, sighting := range s.seen.found {
		if id == s.self || len(sighting.pids) == 0 {
			continue
		}
		pid := sighting.pids[0]
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

// facts gathers what was read.
func (s *scanner) facts() *hostFacts {
	f := &hostFacts{
		self: s.self, inventory: s.inventory, stale: s.engineError != nil,
		cgroups: s.cgroups, names: s.names, blind: s.seen.hidden > 0 && os.Geteuid() != 0,
	}
	for id, sighting := range s.seen.found {
		var nf *namespaceFacts
		if p := s.probes[id]; p != nil {
			nf = p.facts()
		} else {
			nf = &namespaceFacts{id: id, unreadable: s.refused[id]}
			f.blind = true
		}
		nf.mounts, nf.pids, nf.paths = sighting.mounts, sighting.pids, sighting.paths()
		nf.cgroup, nf.command = s.texts[id].cgroup, s.texts[id].command
		f.namespaces = append(f.namespaces, nf)
	}
	slices.SortFunc(f.namespaces, func(a, b *namespaceFacts) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	f.notes = s.notes()
	return f
}

func (s *scanner) notes() []Note {
	var notes []Note
	if s.seen.hidden > 0 {
		remedy := "run as root: sudo natlens"
		if os.Geteuid() == 0 {
			remedy = "the kernel refuses it to this root (ptrace(2)), as it does without CAP_SYS_PTRACE"
		}
		notes = append(notes, Note{
			About: "namespaces",
			Text: fmt.Sprintf("the namespaces of %s could not be looked up and may be missing; %s",
				count(s.seen.hidden, "process", "processes"), remedy),
		})
	}
	forbidden := 0
	for id, err := range s.refused {
		if errors.Is(err, os.ErrPermission) {
			forbidden++
			continue
		}
		notes = append(notes, Note{About: "namespace " + id.String(), Text: "could not be entered: " + err.Error()})
	}
	if forbidden > 0 {
		notes = append(notes, Note{
			About: "namespaces",
			Text:  count(forbidden, "namespace", "namespaces") + " may not be entered by this user; run as root: sudo natlens",
		})
	}
	for id, p := range s.probes {
		if p.err != nil {
			notes = append(notes, Note{About: "namespace " + id.String(), Text: "could not be read: " + p.err.Error()})
		}
	}
	if s.unsearched > 0 {
		notes = append(notes, Note{
			About: "namespaces",
			Text:  "the open descriptors of " + count(s.unsearched, "process", "processes") + " were not searched, for lack of time",
		})
	}
	return append(notes, engineNotes(s.engineError, s.inventory != nil)...)
}

// engineNotes says why names of containers are missing or old.
func engineNotes(err error, stale bool) []Note {
	var notes []Note
	switch {
	case err == nil:
		return nil
	case errors.Is(err, docker.ErrNone):
		notes = append(notes, Note{About: "engine", Text: "no container engine found: DOCKER_HOST is not set and the sockets of " +
			"Docker and Podman are not there; namespaces are named after what runs in them"})
	case errors.Is(err, os.ErrPermission):
		notes = append(notes, Note{About: "engine", Text: "this user may not ask the container engine (" + err.Error() +
			"); run as root: sudo natlens, or join its group"})
	case stale:
		notes = append(notes, Note{About: "engine", Text: err.Error() + "; container names are from its last answer"})
	default:
		notes = append(notes, Note{About: "engine", Text: err.Error() + "; namespaces are named after what runs in them"})
	}
	for _, host := range docker.RootlessCandidates() {
		notes = append(notes, Note{About: "engine", Text: "a rootless engine listens at " + host + "; to ask it, set DOCKER_HOST=" + host})
	}
	return notes
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
