package probe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"natlens/capture/packet"
	"natlens/internal/live"
	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// Config says how to probe.
type Config struct {
	Timeout  time.Duration // how long to wait for an answer
	Interval time.Duration // between the beginnings of two probes
	// Count is how often all requests are made; 0 is once.
	Count int
	// Predict works out what is to be expected; nil expects nothing.
	Predict func(Source, Destination, Request) *Expectation
}

// atOnce is how many probes are under way at a time: a policy of many lines is
// done in seconds, and no table fills.
const atOnce = 16

// Prober sends probes and watches them. It is safe for concurrent use.
type Prober struct {
	config   Config
	topology *netinfo.Topology
	session  *live.Session
	judged   func() time.Time // the session's

	mu       sync.Mutex
	underWay map[*observed]bool
}

// observed is a probe that is under way.
type observed struct {
	journeys Journeys
	changed  chan struct{} // has room for one
}

// Open attaches to the host. Run must follow, or Close.
func Open(ctx context.Context, watch live.Config, config Config) (*Prober, error) {
	watch.Patience = config.Timeout
	session, err := live.Open(ctx, watch)
	if err != nil {
		return nil, err
	}
	return &Prober{config: config, topology: session.Topology(), session: session, judged: session.Judged, underWay: map[*observed]bool{}}, nil
}

// Topology is the host as it was when the Prober was opened.
func (p *Prober) Topology() *netinfo.Topology { return p.topology }

// Close releases a Prober whose Run was never called.
func (p *Prober) Close() error { return p.session.Close() }

// Run makes the probes and reports each Outcome as it ends, in the order of the
// requests. It returns when all have ended, or ctx has.
func (p *Prober) Run(ctx context.Context, requests []Request, report func(*Outcome) error) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	records := make(chan live.Record, 1<<12)
	ended := make(chan error, 1)
	go func() { ended <- p.session.Run(watching, records) }()
	dispatched := make(chan struct{})
	go func() {
		defer close(dispatched)
		for r := range records {
			p.dispatch(r)
		}
	}()
	err := p.probeAll(ctx, requests, report)
	stop()
	err = errors.Join(err, <-ended)
	<-dispatched
	return err
}

// Predict works out what is expected of each request and sends nothing. A name
// that only a DNS query could resolve stays unknown. The Prober is released.
func (p *Prober) Predict(ctx context.Context, requests []Request, report func(*Outcome) error) error {
	for _, r := range requests {
		o := &Outcome{Request: r}
		var known bool
		if known, o.Failed = p.findHere(o); o.Failed == nil && !known {
			o.Result, o.Cause.Reason = Unresolved, "nothing here is called that, and no question was sent"
		}
		if o.Failed == nil && o.Result == "" && p.config.Predict != nil {
			o.Expected = p.config.Predict(o.Source, o.Destination, r)
		}
		if err := report(o); err != nil {
			return errors.Join(err, p.Close())
		}
	}
	return errors.Join(ctx.Err(), p.Close())
}

// Summary is what the watch has done so far.
func (p *Prober) Summary() live.Summary { return p.session.Summary() }

func (p *Prober) dispatch(r live.Record) {
	if r.Journey == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for o := range p.underWay {
		if o.journeys.Add(r.Journey) {
			select {
			case o.changed <- struct{}{}:
			default:
			}
		}
	}
}

func (p *Prober) probeAll(ctx context.Context, requests []Request, report func(*Outcome) error) error {
	select {
	case <-p.session.Informed():
	case <-time.After(mostLag): // something can't be read: what is unknown then is told
	case <-ctx.Done():
	}
	// In the order of the requests; no more is kept than are under way.
	ordered := make(chan chan *Outcome, atOnce)
	group, all := errgroup.WithContext(ctx)
	group.SetLimit(atOnce + 1)
	group.Go(func() error {
		for outcome := range ordered {
			select {
			case o := <-outcome:
				if err := report(o); err != nil {
					return err
				}
			case <-all.Done():
				return all.Err()
			}
		}
		return nil
	})
	p.begin(all, requests, func(r Request, seq uint16) {
		outcome := make(chan *Outcome, 1)
		select {
		case ordered <- outcome:
		case <-all.Done():
			return
		}
		group.Go(func() error {
			outcome <- p.probe(all, r, seq)
			return nil
		})
	})
	close(ordered)
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err() // interrupted between two probes
}

// begin begins each probe at its time, until ctx is done.
func (p *Prober) begin(ctx context.Context, requests []Request, one func(r Request, seq uint16)) {
	total := max(1, p.config.Count) * len(requests)
	for i := range total {
		if i > 0 {
			select {
			case <-time.After(p.config.Interval):
			case <-ctx.Done():
				return
			}
		}
		one(requests[i%len(requests)], uint16(i+1))
	}
}

// probe makes one probe.
func (p *Prober) probe(ctx context.Context, r Request, seq uint16) *Outcome {
	o := &Outcome{Request: r}
	o.Failed = p.find(ctx, o)
	if o.Failed != nil || o.Result != "" {
		return o
	}
	if p.config.Predict != nil {
		o.Expected = p.config.Predict(o.Source, o.Destination, o.Request)
	}
	in, err := o.Source.Namespace.Open()
	if err != nil {
		o.Failed = fmt.Errorf("enter %s: %w", o.Source.Name, err)
		return o
	}
	defer in.Close()
	p.send(ctx, o, in, seq)
	if err := ctx.Err(); err != nil { // it was not waited for as long as is said
		o.Failed = err
	}
	return o
}

// findHere works out who is meant, without asking the network; known is false
// for a name of something that is not on this host.
func (p *Prober) findHere(o *Outcome) (known bool, err error) {
	if o.Source, err = FindSource(p.topology, o.Request.From); err != nil {
		return false, err
	}
	o.Destination, known, err = FindDestination(p.topology, o.Source, o.Request.To)
	var none *NoAddress
	if errors.As(err, &none) {
		o.Result, o.Cause.Reason = NoWay, o.Request.To+" cannot be reached: "+none.Reason
		return true, nil
	}
	return known, err
}

// find works out who is meant. It may ask FROM's DNS servers.
func (p *Prober) find(ctx context.Context, o *Outcome) error {
	if known, err := p.findHere(o); err != nil || known {
		return err
	}
	in, err := o.Source.Namespace.Open()
	if err != nil {
		return fmt.Errorf("enter %s: %w", o.Source.Name, err)
	}
	defer in.Close()
	r := newResolver(o.Source, p.topology.Self, in)
	address, how, err := r.lookUp(ctx, o.Request.To)
	o.Queries = r.sent
	var unknown *NotResolved
	switch {
	case errors.As(err, &unknown):
		o.Result, o.Cause.Reason = Unresolved, unknown.Reason
		return nil
	case err != nil:
		return err
	}
	o.Destination.Address = address
	o.Destination.Lookup = Lookup{Asked: true, Resolves: true, How: how}
	return nil
}

// send sends the packet, waits for the answer, and then for the journeys.
func (p *Prober) send(ctx context.Context, o *Outcome, in *netns.Handle, seq uint16) {
	to := o.plan(in, seq)
	watched := &observed{changed: make(chan struct{}, 1)}
	// No journey can be recognised before the tuple is known, so none is
	// looked at while the packet is being sent.
	p.mu.Lock()
	a, err := send(to)
	if err == nil {
		watched.journeys.Tuple, watched.journeys.From = a.tuple, o.Source.Namespace.ID
		p.underWay[watched] = true
	}
	p.mu.Unlock()
	if err != nil {
		o.Answer = notSent(err)
		o.conclude()
		return
	}
	defer func() {
		p.mu.Lock()
		delete(p.underWay, watched)
		p.mu.Unlock()
	}()
	o.Sent = Sent{Tuple: a.tuple, Time: a.sent, Bytes: len(to.payload)}
	// A connection stays open until it was seen: a docker-proxy has to have the
	// time to make its own.
	defer a.close()
	waiting, cancel := context.WithDeadline(ctx, a.sent.Add(p.config.Timeout))
	o.Answer = a.wait(waiting)
	if a.gaveUp {
		p.awaitAnswer(waiting, o, watched)
	}
	cancel()
	p.awaitJourneys(ctx, o, watched)
	p.mu.Lock()
	delete(p.underWay, watched)
	o.Journeys = watched.journeys
	p.mu.Unlock()
	switch {
	case o.Answer.Result == Replied:
	case len(o.Journeys.There) == 0:
		o.unresolvedNeighbour = o.asksForNeighbour(in)
	default:
		o.noWayOn = noWayFrom(last(o.Journeys.There))
	}
	o.conclude()
}

// awaitAnswer waits on for the answer to a SYN whose socket is closed: the kernel refuses
// one that comes so late, but it was seen.
func (p *Prober) awaitAnswer(waiting context.Context, o *Outcome, w *observed) {
	for {
		p.mu.Lock()
		answer, ok := w.journeys.answer(o.Sent.Time)
		p.mu.Unlock()
		if ok {
			o.Answer = answer
			return
		}
		select {
		case <-w.changed:
		case <-waiting.Done():
			return
		}
	}
}

// plan is what to send for the question.
func (o *Outcome) plan(in *netns.Handle, seq uint16) plan {
	pl := plan{in: in, protocol: o.Request.Protocol, to: netip.AddrPortFrom(o.Destination.Address, o.Request.Port), seq: seq}
	if o.Source.Link != nil {
		pl.link = o.Source.Link.Name
	}
	pl.id = uint16(rand.Uint32())
	pl.payload = fmt.Appendf(nil, "natlens probe %016x ", rand.Uint64())
	switch {
	case pl.protocol == packet.ICMP && pl.to.Addr().Is6():
		pl.protocol = packet.ICMPv6
	case pl.protocol == packet.TCP:
		pl.payload = nil
	}
	for len(pl.payload) < echoSize && (pl.protocol == packet.ICMP || pl.protocol == packet.ICMPv6) {
		pl.payload = append(pl.payload, '.')
	}
	return pl
}

// echoSize is the payload's size that ping(8) sends, so that lengths look
// familiar.
const echoSize = 56

// grace is how long the last journeys may take to be told when their end can be
// waited for no longer; mostLag how much longer when the machine is so busy that packets
// of that time have not been judged.
const (
	grace   = 500 * time.Millisecond
	mostLag = 20 * time.Second
)

// awaitJourneys waits until the packet's journey and, where an answer came, the
// answer's have been told.
func (p *Prober) awaitJourneys(ctx context.Context, o *Outcome, w *observed) {
	due := o.Sent.Time.Add(p.config.Timeout).Add(p.config.Timeout) // an answer's journey waits as long again
	limit := time.NewTimer(time.Until(due) + grace)
	defer limit.Stop()
	late := false
	for {
		p.mu.Lock()
		complete := w.journeys.complete(o.Answer.Result == Silent, p.topology.Proxies)
		p.mu.Unlock()
		if complete {
			return
		}
		select {
		case <-w.changed:
		case <-limit.C:
			// Once judged, a journey has another grace to come here.
			behind := p.judged().Before(due)
			if !behind && !late || time.Since(due) > mostLag {
				return
			}
			late = behind
			limit.Reset(grace)
		case <-ctx.Done():
			return
		}
	}
}
