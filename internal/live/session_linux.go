package live

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/internal/record"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// Config says what to watch. The zero Config watches the namespace of this
// process and those of the engine's containers.
type Config struct {
	Host          netinfo.Options
	AllNamespaces bool
	Also          []netns.ID        // namespaces to watch beside those
	Protocols     []packet.Protocol // nil means all
	Snaplen       int               // 0 means capture.DefaultSnaplen
	// RingBudget bounds the bytes of all rings together; 0 means
	// capture.DefaultBudget.
	RingBudget int
	// OpenJourneys bounds the correlator; 0 means trace.DefaultOpen.
	OpenJourneys int
	// Patience is how long a journey waits for its next hop; 0 means the
	// correlator's own 3.5 s.
	Patience time.Duration
	// Trace asks the kernel to tell of the rules that packets meet. It writes a
	// table of nf_tables in each namespace, which is gone when the Session ends.
	Trace bool
	// Restorer is a command that calls netfilter.RestoreLoggers; without it the
	// rules of iptables-legacy are not traced.
	Restorer []string
}

// Session is one watch over a host. Open starts it, Run carries it out.
type Session struct {
	config   Config
	rings    *capture.Rings
	tracking *netfilter.Conntrack
	rules    *netfilter.Rulesets
	tracer   *netfilter.Tracer // nil unless rules are traced
	watcher  *netinfo.Watcher

	first    *netinfo.Topology
	placed   placement
	watching Watching
	told     []notice // of Open
	tape     *record.Tape

	questions chan trace.SocketQuery // of the correlator, and what was found
	sockets   chan trace.Socket
	hits      chan netfilter.HitBatch // of the tracer
	sandboxes chan netinfo.Sandbox    // of the watcher

	out        chan<- Record
	last       <-chan time.Time // ends the wait for a slow reader at the end; nil before
	queueDrops atomic.Uint64
	counters   atomic.Pointer[trace.Counters]
	started    time.Time
	judged     atomic.Int64  // see Judged
	informed   chan struct{} // see Informed
}

// Open looks at the host and attaches to everything that is to be watched. When
// it returns, packets are being captured; Run must follow, or Close. Errors
// match os.ErrPermission where a capability is missing.
func Open(ctx context.Context, config Config) (_ *Session, err error) {
	if config.OpenJourneys == 0 {
		config.OpenJourneys = trace.DefaultOpen
	}
	s := &Session{config: config, started: time.Now(), informed: make(chan struct{})}
	s.counters.Store(&trace.Counters{})
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	s.watcher = netinfo.NewWatcher(config.Host)
	s.sandboxes = make(chan netinfo.Sandbox, sandboxQueue)
	s.watcher.OnSandbox(func(b netinfo.Sandbox) {
		select {
		case s.sandboxes <- b:
		default:
		}
	})
	if s.rings, err = capture.NewRings(capture.Config{Snaplen: config.Snaplen, Protocols: config.Protocols, Budget: config.RingBudget}); err != nil {
		return nil, err
	}
	if s.tracking, err = netfilter.NewConntrack(netfilter.ConntrackConfig{}); err != nil {
		return nil, err
	}
	if s.rules, err = netfilter.NewRulesets(); err != nil {
		return nil, err
	}
	if config.Trace {
		if s.tracer, err = netfilter.NewTracer(netfilter.TracerConfig{Protocols: config.Protocols, Restorer: config.Restorer}); err != nil {
			return nil, err
		}
	}
	if s.first, err = netinfo.Scan(ctx, config.Host); err != nil {
		return nil, err
	}
	s.placed = newPlacement(s)
	if s.told, err = s.placed.follow(s.first); err != nil {
		return nil, err
	}
	s.watching = s.placed.watching
	for _, n := range s.told {
		if n.untraced != "" {
			s.watching.Untraced = append(s.watching.Untraced, n.untraced)
		}
		s.watching.Logged = append(s.watching.Logged, n.logged...)
	}
	return s, nil
}

// Close releases a Session whose Run was never called. Run does it by itself.
func (s *Session) Close() error {
	var errs []error
	if s.rings != nil {
		errs = append(errs, s.rings.Close())
	}
	if s.tracking != nil {
		errs = append(errs, s.tracking.Close())
	}
	if s.rules != nil {
		errs = append(errs, s.rules.Close())
	}
	if s.tracer != nil {
		errs = append(errs, s.tracer.Close())
	}
	return errors.Join(errs...)
}

// Topology is the host as it was when the Session was opened.
func (s *Session) Topology() *netinfo.Topology { return s.first }

// Record writes what the Session captures to a Tape, which Run closes. It must be
// called before Run.
func (s *Session) Record(t *record.Tape) { s.tape = t }

// Watching says what the Session attached to when it was opened.
func (s *Session) Watching() Watching { return s.watching }

const (
	// batchQueue is how many Batches may wait for the correlator. What piles
	// up beyond them waits in the rings, whose size is bounded in bytes.
	batchQueue = 8
	// engineAnswer is how long a topology is not believed that has lost the
	// engine which Open had found: a Watcher that has just begun asks anew.
	engineAnswer = 3 * time.Second
	// patience is how long a reader may take for the last records, when no
	// ring is waiting any more.
	patience = time.Second
)

// Run watches until ctx ends, then settles what is open, releases everything and
// returns nil. Records go to out, which Run closes; a record for which out has
// no room is dropped and counted, so that no ring ever waits for a screen. Only
// the last ones, when the rings are closed, wait for a reader, a second together.
// Run may be called once; when it returns, nothing of the Session is left.
func (s *Session) Run(ctx context.Context, out chan<- Record) error {
	s.out = out
	defer close(out)
	batches := make(chan capture.Batch, batchQueue)
	flows := make(chan netfilter.Batch, 256)
	rulesets := make(chan *netfilter.Ruleset, 16)
	counts := make(chan netfilter.Counts, 16)
	topologies := make(chan *netinfo.Topology)

	// The rings end first: their last packets still need flows and names.
	// finish ends the rest.
	finish, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, failed := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer end()
		return s.rings.Run(failed, batches)
	})
	group.Go(func() error { return s.tracking.Run(finish, flows) })
	group.Go(func() error { return s.rules.Run(finish, rulesets, counts) })
	if s.tracer != nil {
		s.hits = make(chan netfilter.HitBatch, 64)
		group.Go(func() error { return s.tracer.Run(finish, s.hits) })
	}
	group.Go(func() error {
		if err := s.watcher.Run(finish, topologies); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
	known := make(chan *netinfo.Topology)
	notices := make(chan notice)
	s.questions, s.sockets = make(chan trace.SocketQuery, holderQueue), make(chan trace.Socket, holderQueue)
	group.Go(func() error { return findHolders(finish, s.questions, s.sockets) })
	group.Go(func() error {
		err := s.correlate(finish, batches, flows, rulesets, counts, known, notices)
		stop()
		if err != nil {
			discard(finish, batches)
		}
		return err
	})
	newest := make(chan *netinfo.Topology, 1)
	group.Go(func() error { return s.hear(finish, topologies, known, newest) })
	group.Go(func() error { return s.place(finish, newest, notices) })
	for range earlyWorkers {
		group.Go(func() error { return s.attachEarly(finish, notices) })
	}
	return errors.Join(group.Wait(), s.Close())
}

// discard takes what the rings deliver, until they have ended: they wait for somebody
// who does.
func discard(ctx context.Context, batches <-chan capture.Batch) {
	for {
		select {
		case <-batches:
		case <-ctx.Done():
			return
		}
	}
}

// hear hands each topology on, to the correlator and, the newest, to place.
func (s *Session) hear(ctx context.Context, topologies <-chan *netinfo.Topology, known chan<- *netinfo.Topology, newest chan *netinfo.Topology) error {
	answer := time.NewTimer(engineAnswer)
	defer answer.Stop()
	asking := answered(s.first)
	var t *netinfo.Topology
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-answer.C:
			asking = false
		case t = <-topologies:
			asking = asking && !answered(t)
		}
		if t == nil || asking {
			continue
		}
		select {
		case known <- t:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-newest:
		default:
		}
		newest <- t // there is room: nobody else fills it
		t = nil
	}
}

// place attaches to what comes and lets go of what went. That takes milliseconds,
// and on a busy host much longer, so it has a goroutine of its own.
func (s *Session) place(ctx context.Context, newest <-chan *netinfo.Topology, notices chan<- notice) error {
	round := time.NewTicker(unclaimed / 4)
	defer round.Stop()
	for {
		var told []notice
		select {
		case <-ctx.Done():
			return nil
		case <-round.C:
			told = s.placed.dropUnclaimed()
		case t := <-newest:
			// What can't be attached to is told; it does not end the watch.
			var err error
			if told, err = s.placed.follow(t); errors.Is(err, os.ErrClosed) {
				return nil
			}
		}
		if !tell(ctx, told, notices) {
			return nil
		}
	}
}

// answered reports whether an engine was asked and told what it runs.
func answered(t *netinfo.Topology) bool { return t.Engine != nil && !t.Engine.Unasked }

// tell hands notices on, and reports whether ctx has not ended.
func tell(ctx context.Context, told []notice, notices chan<- notice) bool {
	for _, n := range told {
		select {
		case notices <- n:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// correlate owns the correlator. It ends with ctx, or when the tape can't be written.
func (s *Session) correlate(ctx context.Context, batches <-chan capture.Batch, flows <-chan netfilter.Batch,
	rulesets <-chan *netfilter.Ruleset, counts <-chan netfilter.Counts, known <-chan *netinfo.Topology, notices <-chan notice) error {
	sink := trace.Sink{
		Journey: func(j *trace.Journey) { s.put(Record{Journey: j}) },
		ARP:     func(a trace.ARP) { s.put(Record{ARP: &a}) },
		Socket: func(q trace.SocketQuery) {
			select {
			case s.questions <- q:
			default:
			}
		},
		Count: s.rules.Count,
	}
	if s.tape != nil {
		sink.Journey = func(j *trace.Journey) { s.tape.Journey(j); s.put(Record{Journey: j}) }
		sink.Other = s.tape.Other
	}
	correlator := trace.New(s.config.OpenJourneys, sink)
	if s.config.Patience > 0 {
		correlator.SetPatience(s.config.Patience)
	}
	c := feed(correlator)
	if s.tape != nil {
		s.tape.AttachTo(correlator)
		c = s.tape
	}
	last := s.first
	c.SetTopology(last)
	c.AwaitFlows()
	if s.tracer != nil {
		c.AwaitHits()
	}
	for _, n := range s.told {
		n.tell(c)
	}
	first := newFirstWords(s.rules.Attached(), s.started, s.informed)
	note := func() {
		n := correlator.Counters()
		s.counters.Store(&n)
		s.judged.Store(correlator.Now())
		first.tracked(correlator.Heard())
	}
	rules := ruleMemory{}
	for _, n := range s.told {
		rules.hear(n)
	}
	warn := warnings{say: func(text string) { s.put(Record{Warning: text, At: time.Now()}) }}
	clock := newWallClock()
	observe := func(b capture.Batch) {
		if by := clock.stepped(); by != 0 {
			c.Interrupt("the clock was set meanwhile")
			warn.clock(by)
		}
		// What connection tracking has said already comes first: packets
		// wait for it only so long.
		for told := true; told; {
			select {
			case b := <-flows:
				c.AddFlows(&b)
				warn.flows(&b, last)
			default:
				told = false
			}
		}
		c.Observe(&b)
		note()
	}
	for ended := false; !ended; ended = ended || s.tape != nil && s.tape.Err() != nil {
		select {
		case b := <-batches:
			observe(b)
		case b := <-flows:
			c.AddFlows(&b)
			warn.flows(&b, last)
			note()
		case r := <-rulesets:
			c.SetRuleset(r)
			first.ruled(r.Namespace)
			if change := rules.see(r, last); change != nil {
				s.put(Record{Change: change, At: time.Now()})
			}
			warn.rules(r, last)
		case n := <-counts:
			c.AddCounts(n)
		case k := <-s.sockets:
			c.AddSocket(k)
		case b := <-s.hits:
			c.AddHits(&b)
			warn.hits(&b)
			note()
		case n := <-notices:
			n.tell(c)
			rules.hear(n)
			for _, sentence := range append([]string{n.refused, n.untraced}, n.logged...) {
				if sentence != "" {
					warn.say(sentence)
				}
			}
		case t := <-known:
			c.SetTopology(t)
			for _, change := range netinfo.Diff(last, t) {
				s.put(Record{Change: &change, At: t.Time})
			}
			warn.topology(last, t)
			rules.keep(t)
			last = t
			// On a busy host that changes all the time another one is there already,
			// and what is written of each takes long: the rings are not to wait
			// for one after the other.
			for range len(batches) {
				observe(<-batches)
			}
		case <-ctx.Done():
			ended = true
		}
	}
	s.last = time.After(patience)
	for ctx.Err() != nil && len(batches)+len(flows)+len(s.hits) > 0 { // else more comes
		select {
		case b := <-batches:
			c.Observe(&b)
		case b := <-flows:
			c.AddFlows(&b)
		case b := <-s.hits:
			c.AddHits(&b)
		}
	}
	c.Flush()
	note()
	if s.tape != nil {
		return s.tape.Err()
	}
	return nil
}

// put hands a record to the reader. While packets are captured it waits for
// nobody.
func (s *Session) put(r Record) {
	select {
	case s.out <- r:
		return
	default:
	}
	if s.last != nil {
		select {
		case s.out <- r:
			return
		case <-s.last:
			ended := make(chan time.Time)
			close(ended)
			s.last = ended
		}
	}
	s.queueDrops.Add(1)
}

// Summary is what a Session has done so far. It is safe for concurrent use with
// Run.
func (s *Session) Summary() Summary {
	n := *s.counters.Load()
	n.QueueDrops = s.queueDrops.Load()
	return Summary{Counters: n, Duration: time.Since(s.started)}
}

// Judged returns the time up to which packets have been judged, on their own clock: of
// journeys whose last packet is older than that by what they wait for their next hop
// (Config.Patience), the record is in the queue. It lags behind where the machine is
// busy, and may be called from any goroutine.
func (s *Session) Judged() time.Time { return time.Unix(0, s.judged.Load()) }

// Informed is closed when the rules and the flows of every namespace that Open attached
// to have been read once, which Run does. A packet that is sent sooner may be judged
// without them.
func (s *Session) Informed() <-chan struct{} { return s.informed }
