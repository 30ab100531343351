package netfilter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// How long changes are gathered before rules are read again: engines change
// them in many small steps.
const (
	rulesetInterval = 50 * time.Millisecond
	rulesetPatience = 500 * time.Millisecond // but no longer than this
	rulesetRetry    = time.Second            // after a read that failed
	legacyInterval  = time.Second            // between two looks at iptables-legacy
)

// groupNFTables is the bit of NFNLGRP_NFTABLES, where the kernel announces each
// change of the ruleset.
const groupNFTables = 1 << 6

// Rulesets keeps the rulesets of many namespaces up to date: it reads each when
// it is attached and again after the kernel has announced a change there, and
// does little in between. What iptables-legacy and ipset do is announced nowhere: it is
// looked for every second, by the list of legacy's tables, and where there are any by
// reading them; and by reading the sets that rules ask for.
//
// Attach and Detach may be called at any time, from any goroutine.
type Rulesets struct {
	epoll int
	in    *receiver     // of Run's goroutine
	wake  chan struct{} // something was attached

	asked askedCounts

	mu       sync.Mutex
	watched  map[netns.ID]*watchedRules
	bySocket map[int32]*watchedRules
	ready    []unix.EpollEvent
}

// watchedRules is one namespace. Guarded by Rulesets.mu.
type watchedRules struct {
	handle  *netns.Handle // our own
	notices *socket
	changed time.Time // first unread change; zero: none
	quiet   bool      // nothing new came since the last look
	retry   time.Time // not to be read before
	looked  time.Time // for iptables-legacy
	setsDue time.Time // members of sets of ipset are not to be read before
	last    *Ruleset  // as it was read last
	counts  counting
}

// NewRulesets watches nothing yet. Close releases it.
func NewRulesets() (*Rulesets, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll: %w", err)
	}
	return &Rulesets{
		epoll: epoll, in: newReceiver(16, dumpDatagramSize), wake: make(chan struct{}, 1),
		watched: map[netns.ID]*watchedRules{}, bySocket: map[int32]*watchedRules{},
	}, nil
}

// Attach begins to watch a namespace; Run will read it. ns is not kept, the
// namespace is, until Detach. Attaching twice does nothing. It needs
// CAP_NET_ADMIN there.
func (r *Rulesets) Attach(ns *netns.Handle) error {
	if err := r.attach(ns); err != nil {
		return fmt.Errorf("watch rules of %v: %w", ns.ID(), err)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return nil
}

func (r *Rulesets) attach(ns *netns.Handle) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.watched[ns.ID()] != nil {
		return nil
	}
	own, err := netns.Open(ns.Path())
	if err != nil {
		return err
	}
	s, err := openSocket(own, groupNFTables, 0)
	if err != nil {
		return errors.Join(err, own.Close())
	}
	w := &watchedRules{handle: own, notices: s, changed: time.Now(), quiet: true}
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(s.fd)}); err != nil {
		return errors.Join(err, w.close())
	}
	r.watched[own.ID()], r.bySocket[int32(s.fd)] = w, w
	r.ready = make([]unix.EpollEvent, len(r.watched))
	return nil
}

func (w *watchedRules) close() error { return errors.Join(w.notices.close(), w.handle.Close()) }

// Detach ends watching a namespace. It is not an error if it is not attached.
func (r *Rulesets) Detach(id netns.ID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.watched[id]
	if w == nil {
		return nil
	}
	delete(r.watched, id)
	delete(r.bySocket, int32(w.notices.fd))
	r.asked.take(id)
	if err := w.close(); err != nil {
		return fmt.Errorf("close rules of %v: %w", id, err)
	}
	return nil
}

// Attached returns how many namespaces are watched.
func (r *Rulesets) Attached() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.watched)
}

// Close detaches every namespace and releases the rest. Run must have
// returned, and nothing may be called afterwards.
func (r *Rulesets) Close() error {
	var errs []error
	for id := range r.watched {
		errs = append(errs, r.Detach(id))
	}
	return errors.Join(append(errs, unix.Close(r.epoll))...)
}

// Run sends to out the ruleset of each namespace after Attach and after each
// change, until ctx ends; then it returns nil. A ruleset that could not be read
// is sent with Unreadable set, and tried again. Where there are rules that
// drop, all counters are read every second or so, where there are rules of NAT when
// Count asks, and sent to counts; nil: they are not.
// Run must not be called twice at once.
func (r *Rulesets) Run(ctx context.Context, out chan<- *Ruleset, counts chan<- Counts) error {
	tick := time.NewTicker(rulesetInterval)
	defer tick.Stop()
	for {
		rulesets, counted, err := r.turn(counts != nil)
		if err != nil {
			return err
		}
		for _, one := range counted {
			select {
			case counts <- one:
			case <-ctx.Done():
				return nil
			}
		}
		for _, one := range rulesets {
			select {
			case out <- one:
			case <-ctx.Done():
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-r.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// Count asks for a reading of a namespace's counters that begins from now on. It
// comes soon, but not if reading would cost more than a hundredth of a processor. It does
// not block and may be called from any goroutine.
func (r *Rulesets) Count(id netns.ID) {
	if !r.asked.put(id) {
		return // it is coming
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// turn takes in what was announced and reads where it has become quiet.
func (r *Rulesets) turn(count bool) ([]*Ruleset, []Counts, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.takeNotices(); err != nil {
		return nil, nil, err
	}
	var rulesets []*Ruleset
	var counted []Counts
	for id, w := range r.watched {
		if count && w.last != nil && w.counts.wanted(w.last, r.asked.has(id)) {
			r.asked.take(id) // who asks from now on means another reading
			if one, err := w.counts.read(w.handle, w.last); err == nil {
				counted = append(counted, one)
			}
		}
		for _, one := range []*Ruleset{w.lookForLegacy(), w.lookForIPSets()} {
			if one != nil {
				rulesets = append(rulesets, one)
			}
		}
		if w.changed.IsZero() || time.Now().Before(w.retry) {
			continue
		}
		if !w.quiet && time.Since(w.changed) < rulesetPatience {
			w.quiet = true // until the next notice
			continue
		}
		one, err := ReadRuleset(w.handle)
		if err != nil {
			one = &Ruleset{Namespace: id, Time: now(), Unreadable: err}
			w.retry = time.Now().Add(rulesetRetry)
		} else {
			one.rememberIPSets(w.last)
			w.changed, w.last = time.Time{}, one
		}
		rulesets = append(rulesets, one)
	}
	return rulesets, counted, nil
}

// lookForLegacy reads the rules again where iptables-legacy may have changed some,
// and returns them if it has. An error is left to the next look.
func (w *watchedRules) lookForLegacy() *Ruleset {
	if w.last == nil || time.Since(w.looked) < legacyInterval {
		return nil
	}
	w.looked = time.Now()
	tables, err := LegacyTables(w.handle)
	if err != nil || len(tables)+len(w.last.legacy) == 0 {
		return nil
	}
	one, err := ReadRuleset(w.handle)
	if err != nil {
		return nil
	}
	came, went := one.Diff(w.last)
	if len(came)+len(went) == 0 && one.samePolicies(w.last) {
		return nil
	}
	one.rememberIPSets(w.last)
	w.last = one
	return one
}

func (r *Rulesets) takeNotices() error {
	if len(r.ready) == 0 {
		return nil
	}
	n, err := unix.EpollWait(r.epoll, r.ready, 0)
	if err == unix.EINTR {
		return nil // the next turn comes soon
	}
	if err != nil {
		return fmt.Errorf("wait for rule changes: %w", err)
	}
	for _, e := range r.ready[:n] {
		w := r.bySocket[e.Fd]
		if w == nil {
			continue
		}
		if !r.hear(w.notices) {
			continue
		}
		if w.changed.IsZero() {
			w.changed = time.Now()
		}
		w.quiet = false
	}
	return nil
}

// hear reads what was announced and reports whether anything has changed: notices
// that were lost may have said so.
func (r *Rulesets) hear(notices *socket) (changed bool) {
	for range maxReadsPerTurn {
		n, err := r.in.receive(notices)
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			break
		}
		changed = changed || err != nil
		for i := range n {
			data, ok := r.in.datagram(i)
			changed = changed || !ok || announcesChange(data)
		}
	}
	return changed
}
