package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// dump reads the whole table of one namespace, a piece at a time, beside its
// events.
type dump struct {
	socket  *socket
	setting eventSetting
	once    bool  // one has ended
	due     int64 // when the next one begins; 0 means at once
	began   int64 // of the one that runs; 0 when none does
	again   bool  // what runs is not enough: an overrun came after it began
	read    int64 // when it was read last
	stalls  int   // how often the kernel gave nothing since it last did
	resume  int64 // not to be gone on with before; after a stall
	// said holds the flows that an event named since the dump began. What
	// the dump says of them may be older than the event: a piece of a dump
	// waits in the kernel until it is read.
	said                map[flowKey]struct{}
	entries, maxEntries uint32
}

// want asks for a dump that begins now or later.
func (d *dump) want() {
	d.due = 0
	d.again = d.began != 0
}

// named notes that an event told of a flow.
func (d *dump) named(f *Flow) {
	if d.began != 0 {
		d.said[f.key()] = struct{}{}
	}
}

// readDumps goes on with the dumps that are due, for at most dumpBudget.
func (c *Conntrack) readDumps(to *collector) {
	start := now()
	for {
		busy := false
		for _, l := range c.listeners {
			if l.table.began == 0 && l.table.due > start || l.table.resume > start {
				continue
			}
			if now() > start+int64(dumpBudget) {
				return
			}
			b := Batch{Namespace: l.namespace, Through: l.through}
			more, err := l.dumpPiece(c.dumps, &b)
			if err != nil {
				b.DumpError = fmt.Errorf("dump conntrack of %v: %w", l.namespace, err)
			}
			if !more {
				l.table.end(c.config.Redump)
			}
			to.add(b)
			busy = busy || more && l.table.resume <= start
		}
		if !busy {
			return
		}
	}
}

// end closes a dump and says when the next is due.
func (d *dump) end(interval time.Duration) {
	d.due = now() + int64(interval)
	if interval < 0 {
		d.due = math.MaxInt64
	}
	if d.again {
		d.due = 0
	}
	d.once, d.began, d.again, d.said = true, 0, false, nil
	d.stalls, d.resume = 0, 0
}

// A dump that stalls is gone on with after a pause, so often in a row.
const (
	maxStalls  = 50
	stallPause = 10 * time.Millisecond
)

// stalled says whether a dump that met the error goes on. Where the kernel has no
// memory for a piece (ENOBUFS), the next read makes it go on; where nothing is there to
// be read any more (EAGAIN), only a new dump does, which begin asks for. That is
// refused (EBUSY) as long as the kernel has the old one: reading what is there brings
// that to its end (netlink_dump, net/netlink/af_netlink.c).
func (d *dump) stalled(err error) bool {
	if !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EBUSY) {
		return false
	}
	d.stalls++
	d.resume = now() + int64(stallPause)
	return d.stalls <= maxStalls
}

// begin asks for a dump. What events say from now on counts for more than the dump.
func (d *dump) begin() error {
	d.began, d.read = now(), now()
	d.said = map[flowKey]struct{}{}
	return d.socket.request(subsystemConntrack, conntrackGet, flagDump, unix.AF_UNSPEC, nil)
}

// dumpPiece begins a dump or reads a piece of it into b. It reports whether
// there is more to come.
func (l *listener) dumpPiece(r *receiver, b *Batch) (more bool, err error) {
	d := &l.table
	if d.began == 0 {
		// The table is one for all namespaces: to dump one that has no
		// flows costs as much as to dump one that has them all.
		asked := now()
		if known := d.askSize(r); known && d.entries == 0 {
			d.began = asked
			d.synced(b)
			return false, nil
		}
		return d.goesOn(d.begin())
	}
	start := now()
	n, err := r.receive(d.socket)
	if errors.Is(err, unix.EAGAIN) {
		if more, err := d.goesOn(err); !more {
			return false, err
		}
		return d.goesOn(d.begin())
	}
	if err != nil {
		return d.goesOn(err)
	}
	before := now()
	for i := range n {
		data, ok := r.datagram(i)
		if !ok {
			b.Malformed++
			continue
		}
		done, err := l.decodeDump(data, before, b)
		if err != nil {
			return d.goesOn(err)
		}
		if done {
			d.synced(b)
			return false, nil
		}
	}
	d.read = start
	return true, nil
}

// goesOn says whether there is more to come of a dump after err, which may be nil; if
// not, err is why.
func (d *dump) goesOn(err error) (bool, error) {
	if err == nil || d.stalled(err) {
		return true, nil
	}
	return false, err
}

func (d *dump) synced(b *Batch) {
	b.Synced, b.SyncedSince, b.Silent = true, d.began, d.setting.off()
	b.Entries, b.MaxEntries = d.entries, d.maxEntries
}

// decodeDump appends the flows of one datagram of a dump and reports whether
// it ends the dump.
func (l *listener) decodeDump(data []byte, before int64, b *Batch) (done bool, err error) {
	for len(data) > 0 {
		m, rest, ok := nextMessage(data)
		if !ok {
			b.Malformed++
			return false, nil
		}
		data = rest
		if m.sequence != l.table.socket.sequence {
			continue // of a dump that was given up
		}
		switch m.kind {
		case messageDone, messageError:
			return true, m.err()
		case subsystemConntrack<<8 | conntrackNew:
		default:
			continue
		}
		e := Event{Kind: Known, Flow: Flow{Namespace: l.namespace}, After: l.table.read, Before: before}
		if _, ok := decodeFlow(m.payload, &e.Flow); !ok {
			b.Malformed++
			continue
		}
		if _, newer := l.table.said[e.Flow.key()]; newer {
			continue
		}
		b.Events = append(b.Events, e)
		l.table.stalls = 0
	}
	return false, nil
}

// err returns the error that an NLMSG_ERROR or NLMSG_DONE carries; nil when it
// is none.
func (m message) err() error {
	if len(m.payload) < 4 {
		return nil
	}
	if code := int32(binary.NativeEndian.Uint32(m.payload)); code < 0 {
		return unix.Errno(-code)
	}
	return nil
}

// Attributes of IPCTNL_MSG_CT_GET_STATS.
const (
	ctaStatsGlobalEntries    = 1
	ctaStatsGlobalMaxEntries = 2
)

// askSize reads how many flows the namespace has and may have. It reports
// false on kernels before 3.6, which can't say.
func (d *dump) askSize(r *receiver) bool {
	d.entries, d.maxEntries = 0, 0
	if d.socket.request(subsystemConntrack, conntrackGetStatsAll, 0, unix.AF_UNSPEC, nil) != nil {
		return false
	}
	n, err := r.receive(d.socket)
	if err != nil {
		return false
	}
	for i := range n {
		data, _ := r.datagram(i)
		m, _, ok := nextMessage(data)
		if !ok || m.sequence != d.socket.sequence || m.kind < messageFirstSubtype {
			continue
		}
		_, a, ok := m.attributes()
		known := false
		for ok {
			kind, value, more := a.next()
			if !more {
				return known
			}
			switch kind {
			case ctaStatsGlobalEntries:
				d.entries, known = be32(value)
			case ctaStatsGlobalMaxEntries:
				d.maxEntries, _ = be32(value)
			}
		}
	}
	return false
}
