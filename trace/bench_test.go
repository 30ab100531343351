package trace

import (
	"encoding/binary"
	"flag"
	"runtime"
	"testing"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

var long = flag.Bool("long", false, "feed ten million packets instead of one")

// pingLoad feeds a Correlator with masqueraded pings, each seen at four points.
type pingLoad struct {
	*Correlator
	template [4]capture.Observation
	batch    []capture.Observation
	now      int64
	pings    uint64
}

func newPingLoad(sink Sink) *pingLoad {
	s := &pingLoad{Correlator: New(DefaultOpen, sink), now: 1e12, batch: make([]capture.Observation, 1024)}
	s.SetTopology(world())
	s.AwaitFlows()
	s.Watch(hostNS, 1)
	s.Watch(backNS, 1)
	s.AddFlows(&netfilter.Batch{Namespace: hostNS, Events: []netfilter.Event{{Kind: netfilter.Known, Before: 1,
		Flow: netfilter.Flow{ID: 1, Namespace: hostNS, Original: echoTuple(backIP, internetIP, 7, false), Reply: echoTuple(internetIP, hostIP, 7, true)}}}})
	t := new(testing.T)
	inner, outer := ping(t, backIP, internetIP, 7, 1, false), ping(t, hostIP, internetIP, 7, 1, false)
	for i, where := range []at{backOut, vethIn, bridgeIn, uplinkOut} {
		frame := inner
		if where == uplinkOut {
			frame = outer
		}
		o := &s.template[i]
		*o = capture.Observation{Namespace: where.ns, Ifindex: where.link, Type: where.typ, WireLength: uint32(len(frame)), Data: frame}
		o.Headers.Parse(packet.Ethernet, frame, uint32(len(frame)))
	}
	return s
}

// feed lets n observations pass, in whole batches, and returns how many.
func (s *pingLoad) feed(n int) (fed int) {
	var key [8]byte
	for ; fed < n; fed += len(s.batch) {
		for k := range s.batch {
			s.batch[k] = s.template[k%len(s.template)]
			s.now += 1000
			s.batch[k].Time = s.now
			if k%len(s.template) == 0 {
				s.pings++
			}
			binary.LittleEndian.PutUint64(key[:], s.pings*0x9e3779b97f4a7c15)
			s.batch[k].Fingerprint = binary.LittleEndian.Uint64(key[:]) | 1
		}
		s.now += 20e6
		s.AddFlows(&netfilter.Batch{Through: s.now})
		s.Observe(&capture.Batch{Observations: s.batch, Through: s.now})
	}
	return fed
}

func (s *pingLoad) bench(b *testing.B) {
	s.feed(1 << 16)
	b.ReportAllocs()
	b.ResetTimer()
	s.feed(b.N)
	b.StopTimer()
	s.Flush()
	if n := s.Counters(); n.Journeys*uint64(len(s.template)) != n.Observations {
		b.Fatalf("%d journeys of %d observations", n.Journeys, n.Observations)
	}
}

// BenchmarkCorrelator measures what one observation costs from the ring's batch
// to the journey's record.
func BenchmarkCorrelator(b *testing.B) { newPingLoad(Sink{Journey: func(*Journey) {}}).bench(b) }

// BenchmarkPairing measures the part that decides which observations are one
// packet: flow, candidates, fit, and the journey's end.
func BenchmarkPairing(b *testing.B) { newPingLoad(Sink{}).bench(b) }

// TestPairingDoesNotAllocate: what is open lives in the slab.
func TestPairingDoesNotAllocate(t *testing.T) {
	s := newPingLoad(Sink{})
	s.feed(1 << 16)
	const each = 1 << 14
	if n := testing.AllocsPerRun(4, func() { s.feed(each) }); n > each/1000 {
		t.Errorf("%.0f allocations for %d observations", n, each)
	}
}

// TestMemoryStaysFlat feeds a million packets, or with -long ten, and looks at
// what is kept.
func TestMemoryStaysFlat(t *testing.T) {
	n := 1_000_000
	if *long {
		n = 10_000_000
	}
	s := newPingLoad(Sink{Journey: func(*Journey) {}})
	kept := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	s.feed(100_000)
	before := kept()
	s.feed(n)
	if grown := kept() - before; grown > 1<<20 {
		t.Errorf("%d packets left %d bytes behind", n, grown)
	}
	runtime.KeepAlive(s)
}
