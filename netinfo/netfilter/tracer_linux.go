package netfilter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// TracerConfig says what is traced. The zero value is good.
type TracerConfig struct {
	// Protocols are those whose packets are traced; nil means all.
	Protocols []packet.Protocol
	// Rate is how many packets that enter a namespace are traced in a second at
	// most, in all namespaces together, and how many that begin in one; 0 means
	// DefaultTraceRate. Each namespace has its share, one packet at least, of
	// each protocol; when it was quiet it traces up to 100 at once. ICMP, ICMPv6 and
	// the first packets of TCP connections have an eighth of that each beside it.
	//
	// Where so many packets come that asking each costs too much, packets are asked
	// in windows that take a fifth of the time, in all namespaces at once, with five
	// times the rate. HitBatch.Paused tells.
	Rate int
	// Buffer is the bytes of receive buffer of each namespace; 0 means 4 MiB.
	Buffer int
	// Interval between two reads; 0 means 5 ms. It is longer while nothing is asked
	// for.
	Interval time.Duration
	// Restorer is a command that calls RestoreLoggers. With it the rules of
	// iptables-legacy are traced, too, where there are any; that needs the one
	// setting that has to be put back, see Loggers.
	Restorer []string
}

const (
	defaultTraceBuffer = 4 << 20
	// traceBurst is how many packets a namespace may have traced at once: a whole
	// short connection.
	traceBurst = 100
	// groupTrace is the bit of NFNLGRP_NFTRACE.
	groupTrace = 1 << 8
	nftTrace   = 17 // NFT_MSG_TRACE
)

// Tracer asks the kernel to tell which rules packets meet, and listens, in many
// namespaces at once with one goroutine. In each it makes one table of its own
// (see TraceTable), which vanishes with it.
//
// Attach and Detach may be called at any time, from any goroutine.
type Tracer struct {
	config TracerConfig
	epoll  int
	in     *receiver // of Run's goroutine
	names  names     // of Run's goroutine

	mu       sync.Mutex
	spaces   map[netns.ID]*tracedSpace
	bySocket map[int32]*tracedSocket
	ready    []unix.EpollEvent
	pace     tracePace
	pauses   pauses
}

// tracedSpace is one namespace. Guarded by Tracer.mu.
type tracedSpace struct {
	namespace netns.ID
	table     *traceTable
	hits      *tracedSocket
	log       *tracedSocket // of iptables-legacy; nil where there is none
	loggers   *loggers      // likewise
	left      []string      // see LeftLoggers
	// asked is how many packets were traced since the table was looked at, looked;
	// then it had met so many, if that is known.
	asked  int
	looked time.Time
	met    uint64
	known  bool
}

// tracedSocket is where hits come from.
type tracedSocket struct {
	*socket
	space   *tracedSpace
	through int64  // no hit before this waits in it
	dropped uint32 // socket.dropped at the last overrun
}

// NewTracer makes a Tracer that traces nothing yet. Close releases it.
func NewTracer(config TracerConfig) (*Tracer, error) {
	if config.Rate == 0 {
		config.Rate = DefaultTraceRate
	}
	if config.Buffer == 0 {
		config.Buffer = defaultTraceBuffer
	}
	if config.Interval == 0 {
		config.Interval = defaultInterval
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll: %w", err)
	}
	return &Tracer{
		config: config, epoll: epoll, in: newReceiver(eventDatagrams, eventDatagramSize), names: names{},
		spaces: map[netns.ID]*tracedSpace{}, bySocket: map[int32]*tracedSocket{},
		pace: tracePace{enough: busyPackets},
	}, nil
}

// Attach begins to trace in a namespace: it listens, then makes the table. ns is
// not kept; the sockets keep the namespace alive until Detach. Attaching twice
// does nothing. It needs CAP_NET_ADMIN there, and Linux 5.12: nothing is written
// where the kernel would not take it back by itself.
func (t *Tracer) Attach(ns *netns.Handle) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.spaces[ns.ID()] != nil {
		return nil
	}
	s := &tracedSpace{namespace: ns.ID()}
	if err := s.open(t, ns); err != nil {
		return fmt.Errorf("trace rules of %v: %w", ns.ID(), err)
	}
	t.spaces[s.namespace] = s
	t.ready = make([]unix.EpollEvent, len(t.bySocket))
	return t.spread()
}

// share is each namespace's part of the rate, when there are so many. It changes
// when their number doubles, so that containers that come and go cost nothing.
func (t *Tracer) share(namespaces int) int {
	parts := max(1, len(t.config.Protocols))
	for n := 1; n < namespaces; n *= 2 {
		parts *= 2
	}
	return max(1, t.config.Rate/parts)
}

// limit is what each of so many namespaces traces now.
func (t *Tracer) limit(namespaces int) traceLimit {
	return t.pace.limit(t.share(namespaces), min(traceBurst, t.config.Rate))
}

func (s *tracedSpace) open(t *Tracer, ns *netns.Handle) error {
	hits, err := openSocket(ns, groupTrace, t.config.Buffer)
	if err != nil {
		return err
	}
	if s.hits, err = t.listen(s, hits); err != nil {
		return err
	}
	if t.config.Restorer != nil {
		err := ns.Do(func() error { s.left = LeftLoggers(); return nil })
		if err = errors.Join(err, s.openLegacy(t, ns)); err != nil {
			return errors.Join(err, t.release(s))
		}
	}
	if s.table, err = newTraceTable(ns, t.config.Protocols, t.limit(len(t.spaces)+1)); err != nil {
		return errors.Join(err, t.release(s))
	}
	s.looked, s.known = time.Now(), true
	return nil
}

// openLegacy listens to the rules of iptables-legacy, where there are any.
func (s *tracedSpace) openLegacy(t *Tracer, ns *netns.Handle) error {
	tables, err := LegacyTables(ns)
	if err != nil || len(tables) == 0 {
		return err
	}
	log, err := openLog(ns, t.config.Buffer)
	if err != nil {
		return err
	}
	if s.log, err = t.listen(s, log); err != nil {
		return err
	}
	if s.loggers, err = takeLoggers(ns, t.config.Restorer); err != nil {
		return fmt.Errorf("set net.netfilter.nf_log: %w", err)
	}
	return nil
}

// listen adds a socket to those that are read.
func (t *Tracer) listen(s *tracedSpace, from *socket) (*tracedSocket, error) {
	if err := unix.EpollCtl(t.epoll, unix.EPOLL_CTL_ADD, from.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(from.fd)}); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for hits: %w", err), from.close())
	}
	one := &tracedSocket{socket: from, space: s, through: now()}
	t.bySocket[int32(from.fd)] = one
	return one, nil
}

// release takes the table away first and puts the loggers back: while rules tell,
// somebody listens.
func (t *Tracer) release(s *tracedSpace) (err error) {
	if s.table != nil {
		err = s.table.close()
	}
	if s.loggers != nil {
		err = errors.Join(err, s.loggers.close())
	}
	for _, one := range []*tracedSocket{s.hits, s.log} {
		if one != nil {
			delete(t.bySocket, int32(one.fd))
			err = errors.Join(err, one.close())
		}
	}
	return err
}

// Loggers tells which settings of a namespace are changed until it is detached: rules
// of iptables-legacy tell only what they log, and that comes to programs only when
// the family's logger is nfnetlink_log. Meanwhile the kernel's log lacks the traces
// that others ask for, and what nf_conntrack_log_invalid writes; rules with LOG name
// their logger (nf_log_packet, net/netfilter/nf_log.c). A process of its own puts
// the settings back if this one is killed, unless that one is, too.
func (t *Tracer) Loggers(id netns.ID) (l Loggers) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.spaces[id]
	if s == nil {
		return l
	}
	l.Left = s.left
	if s.loggers != nil {
		l.Changed = s.loggers.changed()
	}
	return l
}

// Detach ends tracing in a namespace: the table is gone when it returns. It is
// not an error if the namespace is not attached.
func (t *Tracer) Detach(id netns.ID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.spaces[id]
	if s == nil {
		return nil
	}
	delete(t.spaces, id)
	if err := t.release(s); err != nil {
		return fmt.Errorf("close trace of %v: %w", id, err)
	}
	return t.spread()
}

// Close detaches every namespace and releases the rest. Run must have returned,
// and nothing may be called afterwards.
func (t *Tracer) Close() error {
	var errs []error
	for id := range t.spaces {
		errs = append(errs, t.Detach(id))
	}
	return errors.Join(append(errs, unix.Close(t.epoll))...)
}

// Run reads until ctx ends, then returns nil. It sends to out what the namespaces
// told, and after each read one HitBatch about all of them. While out blocks
// nothing is read: hits wait in the kernel's buffers, and what finds no room is
// counted in HitBatch.Lost. Run must not be called twice at once.
func (t *Tracer) Run(ctx context.Context, out chan<- HitBatch) error {
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		batches, err := t.turn()
		if err != nil {
			return err
		}
		for _, b := range batches {
			select {
			case out <- b:
			case <-ctx.Done():
				return nil
			}
		}
		tick.Reset(t.interval(len(batches) > 1))
	}
}

// interval is how long to wait with the next read: in a pause, when all that was
// asked for has been told, nothing more can come.
func (t *Tracer) interval(told bool) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if told || !t.pace.paused {
		return t.config.Interval
	}
	return max(t.config.Interval, min(pausedInterval, time.Until(t.pace.due)))
}

// turn reads what waits anywhere.
func (t *Tracer) turn() ([]HitBatch, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// Sockets that are not ready now had nothing waiting at this time.
	start := now()
	ready := t.ready[:0]
	if len(t.ready) > 0 {
		n, err := unix.EpollWait(t.epoll, t.ready, 0)
		if err != nil && err != unix.EINTR {
			return nil, fmt.Errorf("wait for hits: %w", err)
		}
		if err == unix.EINTR {
			return nil, nil // the next turn comes soon
		}
		ready = t.ready[:n]
	}
	var batches []HitBatch
	oldest := int64(math.MaxInt64)
	for _, e := range ready {
		if s := t.bySocket[e.Fd]; s != nil {
			batches = append(batches, t.read(s))
			if s.through < start {
				oldest = min(oldest, s.through)
			}
		}
	}
	for _, s := range t.bySocket {
		if !isReady(ready, s.fd) {
			s.through = max(s.through, start)
		}
	}
	t.keepPace()
	all := HitBatch{Through: min(start, oldest)}
	all.Paused, all.PausedAt = t.pauses.take()
	return append(batches, all), nil
}

// read drains a socket, as far as a turn allows.
func (t *Tracer) read(s *tracedSocket) HitBatch {
	b := HitBatch{Namespace: s.space.namespace}
	after := s.through
	for range maxReadsPerTurn {
		start := now()
		n, err := t.in.receive(s.socket)
		if errors.Is(err, unix.ENOBUFS) {
			b.Overruns++
			lost := s.socket.dropped()
			b.Lost += uint64(lost - s.dropped)
			s.dropped = lost
			continue
		}
		if err != nil {
			s.through = start // EAGAIN: it is empty
			break
		}
		before := now()
		for i := range n {
			data, ok := t.in.datagram(i)
			if !ok {
				b.Malformed++
				continue
			}
			t.decode(data, after, before, &b)
		}
	}
	b.Through = s.through
	s.space.asked += int(b.Lost)
	for i := range b.Hits {
		if h := &b.Hits[i]; h.Packet != nil && h.Table == s.space.table.name {
			s.space.asked++
		}
	}
	return b
}

// decode appends the hits of one datagram.
func (t *Tracer) decode(data []byte, after, before int64, b *HitBatch) {
	for len(data) > 0 {
		m, rest, ok := nextMessage(data)
		if !ok {
			b.Malformed++
			return
		}
		data = rest
		if m.kind < messageFirstSubtype {
			continue
		}
		h := Hit{After: after, Before: before}
		told := true
		switch subsystem, sub := m.subsystem(); {
		case subsystem == subsystemNFTables && sub == nftTrace:
			ok = decodeTrace(m.payload, t.names, &h)
		case subsystem == subsystemLog && sub == logPacket:
			told, ok = decodeLegacyTrace(m.payload, t.names, &h)
		default:
			continue
		}
		switch {
		case !ok:
			b.Malformed++
		case told:
			b.Hits = append(b.Hits, h)
		}
	}
}
