package netfilter

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// statisticsInterval is how often the statistics are read: a request and an answer of
// about a hundred bytes for each processor.
const statisticsInterval = time.Second

// statisticsReader is the statistics of a namespace as they were read last.
type statisticsReader struct {
	last  statistics
	read  int64 // when; 0: not yet
	due   int64
	unfit bool // the kernel does not tell
}

// readStatistics reads those that are due and tells what has moved. A namespace whose
// table is being dumped has to wait: both use one socket.
func (c *Conntrack) readStatistics(to *collector) {
	at := now()
	for _, l := range c.listeners {
		r := &l.failing
		if r.unfit || r.due > at || l.table.began != 0 {
			continue
		}
		r.due = at + int64(statisticsInterval)
		if f, err := l.failures(c.dumps); err != nil {
			// A kernel that can't tell says so each time.
			r.unfit = errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)
		} else if f != nil {
			to.add(Batch{Namespace: l.namespace, Through: l.through, Failures: f})
		}
	}
}

// failures reads the statistics and returns what has moved since they were read
// before; nil when nothing has, or there was no reading.
func (l *listener) failures(in *receiver) (*Failures, error) {
	start := now()
	s, err := l.table.socket.askStatistics(in)
	if err != nil {
		return nil, err
	}
	r := &l.failing
	f, moved := s.since(r.last)
	f.Since, f.Until = r.read, now()
	first := r.read == 0
	r.last, r.read = s, start
	if first || !moved {
		return nil, nil
	}
	if l.table.askSize(in) {
		f.Entries, f.MaxEntries = l.table.entries, l.table.maxEntries
	}
	return &f, nil
}

func (s *socket) askStatistics(in *receiver) (sum statistics, err error) {
	if err := s.request(subsystemConntrack, conntrackGetStatsCPU, flagDump, unix.AF_UNSPEC, nil); err != nil {
		return sum, err
	}
	for {
		n, err := in.receive(s)
		if err != nil {
			return sum, err
		}
		for i := range n {
			data, ok := in.datagram(i)
			if !ok {
				return sum, errMalformed
			}
			done, err := s.statisticsOf(data, &sum)
			if done || err != nil {
				return sum, err
			}
		}
	}
}

// statisticsOf adds up one datagram and reports whether it ends the answer.
func (s *socket) statisticsOf(data []byte, sum *statistics) (done bool, err error) {
	for len(data) > 0 {
		m, rest, ok := nextMessage(data)
		if !ok {
			return true, errMalformed
		}
		data = rest
		if m.sequence != s.sequence {
			continue // of a dump that was given up
		}
		if m.kind == messageDone || m.kind == messageError {
			return true, m.err()
		}
		if _, a, ok := m.attributes(); !ok || !sum.add(a) {
			return true, errMalformed
		}
	}
	return false, nil
}
