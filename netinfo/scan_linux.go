package netinfo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
	"natlens/netinfo/podman"
)

// Limits of the search in open descriptors, which costs a readlink for every
// open file of the host.
const (
	descriptorTime  = 500 * time.Millisecond
	descriptorShare = 20 // of the time that passes, at most one part in so many
)

// Scan looks at the host once. It fails only when not even its own namespace
// can be read; whatever else is missing is said in the Topology's Notes.
func Scan(ctx context.Context, o Options) (*Topology, error) {
	s, err := newScanner()
	if err != nil {
		return nil, err
	}
	defer s.close()
	if o.Patience > 0 {
		s.nextDescriptors = time.Now().Add(time.Hour) // longer than any scan
	}
	s.noPodman = o.NoEngine
	if !o.NoEngine {
		s.askEngine(ctx, o)
	}
	return s.scan(ctx)
}

// askEngine asks the engine once.
func (s *scanner) askEngine(ctx context.Context, o Options) {
	if o.Patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Patience)
		defer cancel()
	}
	e, err := docker.Open(ctx, o.EngineHost)
	if e != nil {
		defer e.Close()
	}
	if err == nil {
		s.asked, err = e.Inventory(ctx)
	}
	s.engineError = err
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

	asked       *docker.Inventory // what the engine said last
	engineError error             // why that is missing or stale
	named       []docker.Named    // those that its events were about
	// inventory is that, with the containers that no engine was asked about.
	inventory *docker.Inventory
	noPodman  bool
	files     podman.Files
	found     *docker.Inventory // what they told last
	ways      *waysIn           // read when they did

	nextDescriptors time.Time
	descriptors     map[netns.ID][]string // found by the last search
	unsearched      int
	// cgroupsDue asks for a search of all processes for containers that the
	// engine's process ids did not prove.
	cgroupsDue bool
	cgroups    map[string]processFact
	// unresolved are namespace ids that no namespace found here has.
	unresolved map[nsidKey]bool
	// known are the namespaces that were open before.
	known map[netns.ID]bool
	// texts are the cgroup and the command of each namespace's first process.
	texts    map[netns.ID]processTexts
	programs programScan
}

// nsidKey is a namespace id as seen from a namespace.
type nsidKey struct {
	namespace netns.ID
	nsid      int32
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
		known:      map[netns.ID]bool{},
		texts:      map[netns.ID]processTexts{},
		programs:   newProgramScan(),
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
	defer s.releaseFleeting()
	s.openNew()
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
	s.programs.look(d, time.Now())
	s.takeInventory(d, time.Now())
	if s.inventory != nil {
		for _, c := range s.inventory.Containers {
			if c.SandboxKey != "" {
				d.mount(c.SandboxKey)
			}
		}
	}
	s.searchDescriptors(d)
	s.seen = d

	for id := range s.probes {
		if d.found[id] == nil {
			s.release(id)
			clear(s.unresolved)
		}
	}
	gone := func(id netns.ID) bool { return d.found[id] == nil }
	maps.DeleteFunc(s.refused, func(id netns.ID, _ error) bool { return gone(id) })
	maps.DeleteFunc(s.texts, func(id netns.ID, _ processTexts) bool { return gone(id) })
	maps.DeleteFunc(s.known, func(id netns.ID, _ bool) bool { return gone(id) })
	s.openNew()
	s.readTexts()
	s.proveByCgroup()
	return nil
}

// openNew opens the namespaces that were found and are not open.
func (s *scanner) openNew() {
	for id, sighting := range s.seen.found {
		// What this user may not do now it may not do later either; other
		// refusals (no descriptors left) may pass.
		if s.probes[id] != nil || errors.Is(s.refused[id], os.ErrPermission) {
			continue
		}
		p, err := openProbe(id, sighting.paths(), id == s.inside, s.subscribed != nil && !sighting.fleeting())
		switch {
		case err == nil:
			s.probes[id] = p
			delete(s.refused, id)
			if p.events != nil {
				s.subscribed(id, p.events)
			}
			if !s.known[id] {
				// A new namespace may be the one an id stands for.
				s.known[id] = true
				clear(s.unresolved)
			}
		case errors.Is(err, errVanished):
			delete(s.seen.found, id)
		default:
			s.refused[id] = err
		}
	}
}

// release closes a namespace and drops what the others resolved to it: when it
// is gone, the kernel may give its id there to another.
func (s *scanner) release(id netns.ID) {
	s.probes[id].close()
	delete(s.probes, id)
	for _, p := range s.probes {
		maps.DeleteFunc(p.peers, func(_ int32, to netns.ID) bool { return to == id })
	}
}

// releaseFleeting closes the namespaces that only descriptors of others keep
// alive. Such a descriptor may be that of another natlens, which sees this
// one's in turn: if both waited for the other, neither would let go.
func (s *scanner) releaseFleeting() {
	for id, sighting := range s.seen.found {
		if s.probes[id] != nil && sighting.fleeting() && id != s.self {
			s.release(id)
		}
	}
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
			p.links, p.routes, p.routing, p.defaults = nil, nil, nil, nil
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

// facts gathers what was read.
func (s *scanner) facts() *hostFacts {
	f := &hostFacts{
		self: s.self, inventory: s.inventory, named: s.named, stale: s.engineError != nil,
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
		nf.cgroup, nf.command, nf.firstPID = s.texts[id].cgroup, s.texts[id].command, s.texts[id].pid
		f.namespaces = append(f.namespaces, nf)
	}
	slices.SortFunc(f.namespaces, func(a, b *namespaceFacts) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	f.proxies = s.programs.listProxies()
	f.ways, f.gates = s.ways, s.programs.listGates(s.seen, s.self)
	f.notes = s.notes()
	return f
}
