package trace

import (
	"strconv"
	"syscall"
	"testing"
)

// bench measures what one observation costs the Correlator, without what it
// costs to make it. It counts the processor's time, which other programs on the
// machine disturb less than the clock; collecting garbage is in it.
//
// The load is that of newLoad: connections of 16 containers (two in four TCP, one UDP,
// one ping) behind masquerade, 12 500 packets a second with 64 bytes each, asking and
// answering in turn, every one seen at four points. Which connection is next is left
// to chance: of 512, most are not in the processor's cache when a packet of theirs
// comes.
func bench(b *testing.B, sink Sink) {
	for _, connections := range []int{16, 512} {
		b.Run(strconv.Itoa(connections), func(b *testing.B) { benchLoad(b, connections, sink) })
	}
}

func benchLoad(b *testing.B, connections int, sink Sink) {
	l := newLoad(DefaultOpen, connections, sink)
	l.measure = processorTime
	l.feed(1 << 18)
	l.spent = 0
	b.ReportAllocs()
	b.ResetTimer()
	fed := l.feed(b.N)
	b.StopTimer()
	b.ReportMetric(float64(l.spent)/float64(fed), "ns/op")
	l.Flush()
	if n := l.Counters(); n.Journeys*4 != n.Observations {
		b.Fatalf("%d journeys of %d observations", n.Journeys, n.Observations)
	}
}

// processorTime is what this process has used so far, in nanoseconds.
func processorTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkCorrelator measures what one observation costs from the ring's batch
// to the journey's record.
func BenchmarkCorrelator(b *testing.B) { bench(b, Sink{Journey: func(*Journey) {}}) }

// BenchmarkPairing measures the part that decides which observations are one
// packet: order, flow, candidates, fit, and the journey's end.
func BenchmarkPairing(b *testing.B) { bench(b, Sink{}) }
