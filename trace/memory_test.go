package trace

import (
	"flag"
	"runtime"
	"testing"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

var long = flag.Bool("long", false, "feed ten million packets instead of 100 000")

// TestPairingDoesNotAllocate: what is open lives in the slab.
func TestPairingDoesNotAllocate(t *testing.T) {
	l := newLoad(DefaultOpen, 512, Sink{})
	l.feed(1 << 18) // until every queue is as long as it gets
	const each = 1 << 14
	if n := testing.AllocsPerRun(4, func() { l.feed(each) }); n > each/1000 {
		t.Errorf("%.0f allocations for %d observations", n, each)
	}
}

// TestMemoryStaysFlat feeds 100 000 packets, or with -long ten million, in flows
// that come and go, some in pieces, some lost, with more of them open than there
// is room for, and looks at what is kept.
func TestMemoryStaysFlat(t *testing.T) {
	n := 100_000
	if *long {
		n = 10_000_000
	}
	l := newLoad(1<<11, 512, Sink{Journey: func(*Journey) {}})
	kept := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	l.mix(100_000)
	before := kept()
	l.mix(n)
	grown := kept() - before
	counted := l.Counters()
	t.Logf("%d packets, %d observations, %d journeys, %d flows, %d evicted: %d bytes before, %d more after",
		l.count, counted.Observations, counted.Journeys, l.begun, counted.Evicted, before, grown)
	if grown > 1<<20 {
		t.Errorf("%d packets left %d bytes behind", n, grown)
	}
	if counted.Evicted == 0 {
		t.Error("nothing was evicted: the load is too light to prove anything")
	}
	runtime.KeepAlive(l)
}

// mix lets n packets pass with all that a host does to them.
func (l *load) mix(n int) {
	for end := l.count + uint64(n); l.count < end; {
		for range perTurn {
			f := l.flows[l.random.IntN(len(l.flows))]
			switch l.random.IntN(100) {
			case 0, 1:
				l.tell(f, netfilter.Destroy)
				l.begin(f, netfilter.New)
			case 2, 3:
				if f.protocol == packet.UDP {
					l.passInPieces(f)
				}
			case 4, 5, 6, 7, 8, 9:
				l.lose(f)
			}
			l.pass(f)
		}
		l.deliver()
	}
}
