package netfilter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// ConntrackConfig says how conntrack is listened to. The zero value is good.
type ConntrackConfig struct {
	// Host is the namespace that carries most flows; 0 means that of the
	// calling thread.
	Host netns.ID
	// HostBuffer and Buffer are the bytes of receive buffer in Host and in
	// every other namespace; 0 means 16 MiB and 2 MiB. The kernel uses
	// memory only for what waits in it.
	HostBuffer, Buffer int
	// Interval between two reads; 0 means 5 ms.
	Interval time.Duration
	// Redump is the time between two dumps of a namespace; 0 means 30 s,
	// negative never. Flows that began before the listener send no events,
	// not even that they end, when nf_conntrack_events is 2.
	Redump time.Duration
}

// Defaults of ConntrackConfig, and the limits of one read.
const (
	defaultHostBuffer = 16 << 20
	defaultBuffer     = 2 << 20
	defaultInterval   = 5 * time.Millisecond
	defaultRedump     = 30 * time.Second

	// One event is far under 4 KiB: the kernel allocates NLMSG_GOODSIZE at
	// most (ctnetlink_nlmsg_size).
	eventDatagrams    = 64
	eventDatagramSize = 8 << 10
	// The kernel fills at most 32 KiB for one read of a dump (netlink_dump).
	dumpDatagrams    = 2
	dumpDatagramSize = 32 << 10

	// A namespace that keeps sending must not keep the others waiting.
	maxReadsPerTurn = 512
	// Consumers get large bursts in pieces.
	maxEventsPerBatch = 4096
	// Time that dumps may take between two reads of the events.
	dumpBudget = 2 * time.Millisecond
)

// Groups of conntrack events (NFNLGRP_CONNTRACK_NEW, _UPDATE, _DESTROY).
const conntrackGroups = 1<<0 | 1<<1 | 1<<2

// Conntrack listens to the flows of many namespaces at once, with two sockets
// each (one for events, one for dumps) and one goroutine for all.
//
// Listening registers nothing that tracks: a namespace tracks only when one of
// its rules asks for it, and one that does not stays silent. With
// nf_conntrack_events=2 the kernel prepares flows for events only while
// somebody listens; it may load its nf_conntrack_netlink module to answer.
//
// Attach and Detach may be called at any time, from any goroutine.
type Conntrack struct {
	config ConntrackConfig
	epoll  int
	events *receiver // of Run's goroutine
	dumps  *receiver // of Run's goroutine

	mu        sync.Mutex
	listeners map[netns.ID]*listener
	bySocket  map[int32]*listener
	ready     []unix.EpollEvent
}

// listener is what is known of one namespace. Guarded by Conntrack.mu.
type listener struct {
	namespace netns.ID
	events    *socket
	table     dump
	failing   statisticsReader
	attached  int64  // when it was
	through   int64  // no event before this waits in the socket
	dropped   uint32 // socket.dropped at the last overrun
}

// NewConntrack makes a listener that is attached to nothing yet. Close
// releases it.
func NewConntrack(config ConntrackConfig) (*Conntrack, error) {
	if config.Host == 0 {
		h, err := netns.Current()
		if err != nil {
			return nil, err
		}
		config.Host = h.ID()
		if err := h.Close(); err != nil {
			return nil, fmt.Errorf("close namespace: %w", err)
		}
	}
	if config.HostBuffer == 0 {
		config.HostBuffer = defaultHostBuffer
	}
	if config.Buffer == 0 {
		config.Buffer = defaultBuffer
	}
	if config.Interval == 0 {
		config.Interval = defaultInterval
	}
	if config.Redump == 0 {
		config.Redump = defaultRedump
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll: %w", err)
	}
	return &Conntrack{
		config: config, epoll: epoll,
		events:    newReceiver(eventDatagrams, eventDatagramSize),
		dumps:     newReceiver(dumpDatagrams, dumpDatagramSize),
		listeners: map[netns.ID]*listener{},
		bySocket:  map[int32]*listener{},
	}, nil
}

// Attach begins to listen in a namespace: first to events, then, in Run, by a
// dump of the flows that are there. ns is not kept; the sockets keep the
// namespace alive until Detach. Attaching a namespace twice does nothing. It
// needs CAP_NET_ADMIN there.
func (c *Conntrack) Attach(ns *netns.Handle) error {
	c.mu.Lock()
	_, there := c.listeners[ns.ID()]
	c.mu.Unlock()
	if there {
		return nil
	}
	l, err := c.open(ns)
	if err != nil {
		return fmt.Errorf("listen to conntrack of %v: %w", ns.ID(), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.listeners[ns.ID()]; there {
		return l.close()
	}
	if err := unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, l.events.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l.events.fd)}); err != nil {
		return errors.Join(fmt.Errorf("watch conntrack of %v: %w", ns.ID(), err), l.close())
	}
	c.listeners[l.namespace] = l
	c.bySocket[int32(l.events.fd)] = l
	c.ready = make([]unix.EpollEvent, len(c.listeners))
	return nil
}

func (c *Conntrack) open(ns *netns.Handle) (*listener, error) {
	buffer := c.config.Buffer
	if ns.ID() == c.config.Host {
		buffer = c.config.HostBuffer
	}
	l := &listener{namespace: ns.ID()}
	var err error
	if l.events, err = openSocket(ns, conntrackGroups, buffer); err != nil {
		return nil, err
	}
	if l.table.socket, err = openSocket(ns, 0, 0); err != nil {
		return nil, errors.Join(err, l.events.close())
	}
	if l.table.setting, err = openEventSetting(ns); err != nil {
		return nil, errors.Join(err, l.close())
	}
	l.attached = now()
	l.through = l.attached
	return l, nil
}

func (l *listener) close() error {
	return errors.Join(l.events.close(), l.table.socket.close(), l.table.setting.close())
}

// Detach ends listening in a namespace and lets go of it. It is not an error
// if the namespace is not attached.
func (c *Conntrack) Detach(id netns.ID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.listeners[id]
	if l == nil {
		return nil
	}
	delete(c.listeners, id)
	delete(c.bySocket, int32(l.events.fd))
	// Closing the only descriptor takes the socket out of the epoll set.
	if err := l.close(); err != nil {
		return fmt.Errorf("close conntrack of %v: %w", id, err)
	}
	return nil
}

// Close detaches every namespace and releases the rest. Run must have
// returned, and nothing may be called afterwards.
func (c *Conntrack) Close() error {
	var errs []error
	for id := range c.listeners {
		errs = append(errs, c.Detach(id))
	}
	return errors.Join(append(errs, unix.Close(c.epoll))...)
}

// Run reads until ctx ends, then returns nil. It sends to out what the
// namespaces said, in pieces, and after each read one Batch about all of them
// (see Batch). While out blocks nothing is read: events wait in the kernel's
// buffers, and what finds no room is counted in Batch.Lost. Run must not be
// called twice at once.
func (c *Conntrack) Run(ctx context.Context, out chan<- Batch) error {
	tick := time.NewTicker(c.config.Interval)
	defer tick.Stop()
	for {
		batches, err := c.turn()
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
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// turn reads the events that wait anywhere, then a piece of the dumps.
func (c *Conntrack) turn() ([]Batch, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Sockets that are not ready now had nothing waiting at this time: one
	// system call speaks for all that are idle.
	start := now()
	n, err := c.wait()
	if err != nil {
		return nil, err
	}
	collected := collector{}
	for _, e := range c.ready[:n] {
		if l := c.bySocket[e.Fd]; l != nil {
			l.readEvents(c.events, &collected)
			if l.through < start {
				collected.behind(l.through)
			}
		}
	}
	ready := c.ready[:n]
	for _, l := range c.listeners {
		if l.through < start && !isReady(ready, l.events.fd) {
			l.through = start
		}
	}
	c.readDumps(&collected)
	c.readStatistics(&collected)
	for _, l := range c.listeners {
		if !l.table.once {
			collected.behind(l.attached) // flows that were there before are not known yet
		}
	}
	return append(collected.batches, Batch{Through: min(start, collected.oldest())}), nil
}

func isReady(ready []unix.EpollEvent, fd int) bool {
	for i := range ready {
		if ready[i].Fd == int32(fd) {
			return true
		}
	}
	return false
}

// wait returns how many of c.ready are filled: the sockets with something to
// read.
func (c *Conntrack) wait() (int, error) {
	if len(c.ready) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.EpollWait(c.epoll, c.ready, 0)
		if err == nil {
			return n, nil
		}
		if err != unix.EINTR {
			return 0, fmt.Errorf("wait for conntrack events: %w", err)
		}
	}
}

// now is CLOCK_REALTIME, in which the kernel stamps packets.
func now() int64 { return time.Now().UnixNano() }

// collector gathers the Batches of one turn.
type collector struct {
	batches []Batch
	late    int64
}

// behind notes that a namespace was not read to its end.
func (c *collector) behind(through int64) {
	if c.late == 0 || through < c.late {
		c.late = through
	}
}

func (c *collector) oldest() int64 {
	if c.late == 0 {
		return math.MaxInt64
	}
	return c.late
}

func (c *collector) add(b Batch) {
	if len(b.Events) > 0 || b.Overruns > 0 || b.Lost > 0 || b.Malformed > 0 || b.Synced || b.DumpError != nil || b.Failures != nil {
		c.batches = append(c.batches, b)
	}
}

// readEvents drains the socket, and sets l.through when it got to its end.
func (l *listener) readEvents(r *receiver, to *collector) {
	b := Batch{Namespace: l.namespace, Through: l.through}
	after := l.through
	for range maxReadsPerTurn {
		start := now()
		n, err := r.receive(l.events)
		if errors.Is(err, unix.ENOBUFS) {
			b.Overruns++
			dropped := l.events.dropped()
			b.Lost += uint64(dropped - l.dropped)
			l.dropped = dropped
			l.table.want()
			continue
		}
		if err != nil {
			// EAGAIN. Nothing else is documented for a valid descriptor;
			// whatever it were, the next turn would meet it again.
			l.through = start
			break
		}
		before := now()
		for i := range n {
			data, ok := r.datagram(i)
			if !ok {
				b.Malformed++
				continue
			}
			l.decodeEvents(data, after, before, &b)
		}
		if len(b.Events) >= maxEventsPerBatch {
			to.add(b)
			b = Batch{Namespace: l.namespace, Through: l.through}
		}
	}
	b.Through = l.through
	to.add(b)
}

// decodeEvents appends the events of one datagram.
func (l *listener) decodeEvents(data []byte, after, before int64, b *Batch) {
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
		e := Event{Flow: Flow{Namespace: l.namespace}, After: after, Before: before}
		switch subsystem, sub := m.subsystem(); {
		case subsystem != subsystemConntrack:
			continue
		case sub == conntrackDelete:
			e.Kind = Destroy
		case sub != conntrackNew:
			continue
		case m.flags&flagExclusiveCreate == flagExclusiveCreate:
			e.Kind = New
		default:
			e.Kind = Update
		}
		times, ok := decodeFlow(m.payload, &e.Flow)
		if !ok {
			b.Malformed++
			continue
		}
		if at := times.of(e.Kind); at != 0 {
			e.After, e.Before = at, at
		}
		l.table.named(&e.Flow)
		b.Events = append(b.Events, e)
	}
}
