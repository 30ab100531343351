package record

import (
	"context"
	"errors"
	"sync"
	"time"

	"natlens/netinfo"
	"natlens/trace"
)

// origin is what the files of one host tell, or those of other programs, on its
// way to the merge.
type origin struct {
	host    uint32 // its number; see netns.ID.On
	label   string // in a sentence
	name    string // what journeys call the host; empty where there is one only
	foreign bool
	session int // which of its watches is played
	clock   clock
	play    func(context.Context, *origin, Listener, *Account) error

	player  *player // of the watch that is played
	now     int64   // how far it has come, by its own clock
	told    chan news
	head    news // what it told last
	account Account
	err     error
}

// news is one thing that an origin told when its time was at; nothing but the time
// when all is nil.
type news struct {
	at      int64
	session int
	journey *trace.Journey
	arp     *trace.ARP
	change  *netinfo.Change
	when    time.Time
	known   *netinfo.Topology
	warning string
}

// newsAhead is how many news of one origin wait for the others.
const newsAhead = 1 << 8

// merge plays several hosts side by side, by time, and joins what is one packet.
func (r *Recording) merge(ctx context.Context, open int, to Listener) (Account, error) {
	ctx, stop := context.WithCancel(ctx)
	origins := r.origins(open)
	compareClocks(origins, r, to.Warning)
	var playing sync.WaitGroup
	defer playing.Wait()
	defer stop()
	for _, o := range origins {
		playing.Go(func() {
			defer close(o.told)
			o.err = o.play(ctx, o, o.listener(ctx, to.All), &o.account)
		})
	}
	w := newWeaver(to.Journey)
	for _, o := range origins {
		o.next()
	}
	for o := earliestOrigin(origins); o != nil; o = earliestOrigin(origins) {
		n := o.head
		at := n.at - o.clock.ahead
		switch {
		case n.journey != nil:
			w.take(o, n.session, o.mark(n.journey), at)
		case n.arp != nil:
			n.arp.Namespace = o.qualify(n.arp.Namespace)
			to.ARP(*n.arp)
		case n.change != nil && to.Change != nil:
			n.change.NamespaceName = o.qualify(n.change.NamespaceName)
			to.Change(*n.change, n.when)
		case n.known != nil && to.Topology != nil:
			to.Topology(n.known)
		case n.warning != "" && to.Warning != nil:
			to.Warning(n.warning)
		}
		o.next()
		if least := earliestOrigin(origins); least != nil {
			w.release(least.head.at - least.clock.ahead)
		}
	}
	w.flush()
	playing.Wait()
	var account Account
	errs := r.errs
	for _, o := range origins {
		account.add(&o.account)
		errs = append(errs, o.err)
	}
	account.Journeys -= w.joined
	return account, errors.Join(errs...)
}

// next waits for what an origin tells next.
func (o *origin) next() {
	n, ok := <-o.told
	if !ok {
		o.told = nil
	}
	o.head = n
}

// earliestOrigin returns the origin whose news are next; nil when all is told.
func earliestOrigin(origins []*origin) (first *origin) {
	for _, o := range origins {
		if o.told != nil && (first == nil || o.head.at-o.clock.ahead < first.head.at-first.clock.ahead) {
			first = o
		}
	}
	return first
}

// listener passes on what a player tells.
func (o *origin) listener(ctx context.Context, all bool) Listener {
	pass := func(n news) {
		o.now = max(o.now, o.player.c.Now())
		if n.journey != nil {
			o.now = max(o.now, n.journey.Time) // what is told at the end is told at no time
		}
		n.at, n.session = o.now, o.session
		select {
		case o.told <- n:
		case <-ctx.Done():
		}
	}
	return Listener{
		Journey:  func(j *trace.Journey) { pass(news{journey: j}) },
		ARP:      func(a trace.ARP) { pass(news{arp: &a}) },
		Change:   func(c netinfo.Change, at time.Time) { pass(news{change: &c, when: at}) },
		Topology: func(t *netinfo.Topology) { pass(news{known: t}) },
		Warning:  func(s string) { pass(news{warning: s}) },
		All:      all,
		advanced: func() { pass(news{}) },
	}
}

// mark writes on a journey which host saw it.
func (o *origin) mark(j *trace.Journey) *trace.Journey {
	if o.name == "" {
		return j
	}
	for i := range j.Hops {
		j.Hops[i].Host = o.name
	}
	for i := range j.Translations {
		j.Translations[i].Host = o.name
	}
	remeet(j, func(m *trace.Met) { m.Host = o.name })
	for _, e := range []*trace.Endpoint{&j.From, &j.To} {
		if e.Name != "" {
			e.Host = o.name
		}
	}
	return j
}

func (o *origin) qualify(namespace string) string {
	if o.name == "" {
		return namespace
	}
	return o.name + "/" + namespace
}

// origins are the hosts, and other programs' files.
func (r *Recording) origins(open int) (all []*origin) {
	for i, h := range r.hosts {
		name := h.name
		if len(r.hosts) == 1 {
			name = ""
		}
		all = append(all, &origin{host: uint32(i), label: h.name, name: name, play: func(ctx context.Context, o *origin, to Listener, a *Account) error {
			var errs []error
			for n, files := range h.sessions {
				o.player, o.session = newPlayer(open, to, a), n
				o.player.host = o.host
				errs = append(errs, o.player.session(ctx, files))
			}
			return errors.Join(errs...)
		}})
	}
	if len(r.foreign) > 0 {
		all = append(all, &origin{foreign: true, label: "other programs' files", host: uint32(len(r.hosts)), play: func(ctx context.Context, o *origin, to Listener, a *Account) error {
			o.player = newPlayer(open, to, a)
			o.player.host = o.host
			return o.player.foreign(ctx, r.foreign)
		}})
	}
	for _, o := range all {
		o.told = make(chan news, newsAhead)
	}
	return all
}

// add adds up what was played.
func (a *Account) add(b *Account) {
	a.Observations += b.Observations
	a.Journeys += b.Journeys
	a.Hops += b.Hops
	a.RingDrops += b.RingDrops
	a.ConntrackLost += b.ConntrackLost
	a.Evicted += b.Evicted
	a.Unpaired += b.Unpaired
	a.Ambiguous += b.Ambiguous
	a.Malformed += b.Malformed
	a.Cut += b.Cut
	a.Undecoded += b.Undecoded
	a.Ignored += b.Ignored
	a.Traced += b.Traced
	a.TraceLost += b.TraceLost
	a.TracePaused += b.TracePaused
	if a.Start == 0 || b.Start != 0 && b.Start < a.Start {
		a.Start = b.Start
	}
	a.End = max(a.End, b.End)
}
