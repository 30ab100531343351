package capture

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/bpf"

	"natlens/netinfo/netns"
)

// Rings captures in any number of network namespaces at once: one ring in each,
// on all its links, read by one goroutine (Run). Namespaces may be attached and
// detached at any time; a ring keeps its namespace alive until it is detached.
//
// Attach, Detach, Attached and Since are safe for concurrent use. It needs
// Linux 3.2, CAP_NET_RAW, and for namespaces other than the caller's own
// CAP_SYS_ADMIN over each.
type Rings struct {
	snaplen int
	filter  []bpf.Instruction
	own     netns.ID // the namespace of this process
	epoll   *epoll

	mu      sync.Mutex
	entries map[netns.ID]*entry
	budget  budget
	// members are the rings to read. The slice is replaced, never changed, so
	// that the reader can walk over it without holding mu.
	members []*member
	state   state
}

type state uint8

const (
	idle    state = iota // before Run
	running              // in Run
	ended                // after Run or Close
)

// entry is the life of one ring in the set. Exactly one party closes the ring:
// whoever set leaving, else the end of the set.
type entry struct {
	namespace netns.ID
	shape     geometry
	opened    chan struct{} // closed at the end of Attach, which sets what follows
	member    *member
	since     int64
	err       error
	leaving   bool          // guarded by Rings.mu
	closed    chan struct{} // closed by who set leaving
}

// NewRings returns an empty set. It opens one descriptor; Run or Close releases
// it and every ring.
func NewRings(cfg Config) (*Rings, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("rings: %w", err)
	}
	own, err := netns.Current()
	if err != nil {
		return nil, fmt.Errorf("rings: %w", err)
	}
	defer own.Close()
	epoll, err := newEpoll()
	if err != nil {
		return nil, fmt.Errorf("rings: %w", err)
	}
	return &Rings{
		snaplen: cfg.Snaplen,
		filter:  filterProgram(cfg.Protocols, cfg.Snaplen),
		own:     own.ID(),
		epoll:   epoll,
		entries: make(map[netns.ID]*entry),
		budget:  budget{left: cfg.Budget},
	}, nil
}

// Attach opens a ring in ns and returns when it captures. It does not keep ns,
// which may be closed afterwards. Opening takes some 10 ms, during which the
// other rings are read as ever. A namespace that is attached already is left as
// it is.
//
// Errors match os.ErrPermission where a capability is missing, ErrNoRoom when
// the rings' memory is used up, and os.ErrClosed after Run or Close.
func (s *Rings) Attach(ns *netns.Handle) error {
	e, created, err := s.reserve(ns.ID())
	if err != nil {
		return s.wrap(ns.ID(), err)
	}
	if !created {
		<-e.opened
		return e.err
	}
	if err := s.open(ns, e); err != nil {
		e.err = s.wrap(ns.ID(), err)
	}
	close(e.opened)
	return e.err
}

// reserve returns the entry of a namespace, which it makes if there is none. An
// entry that is leaving is waited for: its last packets come first.
func (s *Rings) reserve(id netns.ID) (e *entry, created bool, err error) {
	for {
		s.mu.Lock()
		if s.state == ended {
			s.mu.Unlock()
			return nil, false, os.ErrClosed
		}
		e, ok := s.entries[id]
		if !ok {
			defer s.mu.Unlock()
			shape, err := s.budget.take(s.snaplen)
			if err != nil {
				return nil, false, err
			}
			e = &entry{namespace: id, shape: shape, opened: make(chan struct{}), closed: make(chan struct{})}
			s.entries[id] = e
			return e, true, nil
		}
		leaving := e.leaving
		s.mu.Unlock()
		if !leaving {
			return e, false, nil
		}
		<-e.closed
	}
}

// open opens e's ring and has it read.
//
// The reader gets the ring before packets do. The other way round, a Batch could
// go out in between whose Through covers packets that wait in a ring which the
// reader has not heard of.
func (s *Rings) open(ns *netns.Handle, e *entry) error {
	r, err := openRingIn(ns, s.own, s.filter, e.shape)
	if err != nil {
		s.forget(e)
		return err
	}
	e.member = newMember(r, ns.ID())
	if err := s.join(e.member); err != nil {
		s.forget(e)
		return errors.Join(err, r.close())
	}
	if err := r.start(); err != nil {
		s.mu.Lock()
		e.leaving = true
		s.mu.Unlock()
		return errors.Join(err, s.retire(e))
	}
	e.since = time.Now().UnixNano()
	return nil
}

// join gives a ring to the reader.
func (s *Rings) join(m *member) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == ended {
		return os.ErrClosed
	}
	if err := s.epoll.add(m.fd); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	s.members = append(slices.Clone(s.members), m)
	return nil
}

// part takes a ring from the reader. While Run is running only Run may call it.
// The caller holds mu.
func (s *Rings) part(m *member) {
	// An error could only say that the ring is not watched, which is the aim.
	_ = s.epoll.remove(m.fd)
	s.members = slices.DeleteFunc(slices.Clone(s.members), func(o *member) bool { return o == m })
}

// Detach closes the ring of a namespace and so lets the namespace go. While Run
// is running, the packets that the ring holds are delivered first. Detach
// returns when the ring is closed, after some 50 ms; it waits for a receiver
// that makes Run wait. A namespace that is not attached is no error.
func (s *Rings) Detach(id netns.ID) error {
	s.mu.Lock()
	e := s.entries[id]
	s.mu.Unlock()
	if e == nil {
		return nil
	}
	<-e.opened
	s.mu.Lock()
	gone, leaving := s.entries[id] != e, e.leaving
	if !gone {
		e.leaving = true
	}
	s.mu.Unlock()
	switch {
	case gone:
		return nil
	case leaving:
		<-e.closed
		return nil
	}
	if err := s.retire(e); err != nil {
		return fmt.Errorf("close ring %s: %w", s.label(id), err)
	}
	return nil
}

// retire has the ring of a leaving entry read to its end, and closes it.
func (s *Rings) retire(e *entry) error {
	m := e.member
	var err error
	s.mu.Lock()
	switch s.state {
	case idle:
		s.part(m)
		close(m.drained)
	case running:
		err = m.mute()
		now := time.Now()
		m.leaving.Store(&now)
	case ended: // which has closed m.drained
	}
	s.mu.Unlock()
	<-m.drained
	err = errors.Join(err, m.close())
	s.forget(e)
	close(e.closed)
	return err
}

// forget takes an entry whose ring is closed, or was never opened, off the
// books.
func (s *Rings) forget(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.budget.give(e.shape)
	if s.entries[e.namespace] == e {
		delete(s.entries, e.namespace)
	}
}

// Attached returns the namespaces that have a ring, in no particular order.
func (s *Rings) Attached() []netns.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]netns.ID, 0, len(s.entries))
	for id, e := range s.entries {
		if e.live() && !e.leaving {
			ids = append(ids, id)
		}
	}
	return ids
}

// Since returns from when on every packet in a namespace is captured, in
// nanoseconds since the Unix epoch; 0 when it is not attached.
func (s *Rings) Since(id netns.ID) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[id]; e != nil && e.live() {
		return e.since
	}
	return 0
}

// live reports whether Attach has ended well.
func (e *entry) live() bool {
	select {
	case <-e.opened:
		return e.err == nil
	default:
		return false
	}
}

// Close closes every ring of a set that Run was never called on. After Run it
// does nothing, for Run leaves nothing open. It must not be called during Run.
func (s *Rings) Close() error {
	s.mu.Lock()
	state := s.state
	s.mu.Unlock()
	switch state {
	case running:
		return errors.New("close rings: they are being read")
	case ended:
		return nil
	}
	return s.end()
}

// end closes every ring and the set. No reader runs any more.
func (s *Rings) end() error {
	s.mu.Lock()
	s.state = ended
	for _, m := range s.members {
		s.part(m)
		close(m.drained)
	}
	var rest []*entry
	for _, e := range s.entries {
		if !e.leaving {
			rest = append(rest, e)
		}
	}
	clear(s.entries)
	s.mu.Unlock()

	// Closing one ring takes the kernel 20 to 30 ms, most of it waiting.
	errs := make([]error, len(rest))
	var closing sync.WaitGroup
	for i, e := range rest {
		closing.Go(func() {
			if <-e.opened; e.err == nil {
				errs[i] = e.member.close()
			}
		})
	}
	closing.Wait()
	return errors.Join(append(errs, s.epoll.close())...)
}

func (s *Rings) wrap(id netns.ID, err error) error {
	return fmt.Errorf("open ring %s: %w", s.label(id), err)
}

// label names a namespace in an error: "host" is the one natlens runs in.
func (s *Rings) label(id netns.ID) string {
	if id == s.own {
		return "host"
	}
	return id.String()
}
