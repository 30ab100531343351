package trace

import (
	"encoding/binary"
	"testing"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// BenchmarkCorrelator measures what one observation of a masqueraded ping costs
// from the ring's batch to the journey's record, in a stream of such pings.
func BenchmarkCorrelator(b *testing.B) {
	const pings, points = 256, 4
	shown := 0
	c := New(DefaultOpen, Sink{Journey: func(*Journey) { shown++ }})
	c.SetTopology(world())
	c.AwaitFlows()
	c.Watch(hostNS, 1)
	c.Watch(backNS, 1)
	c.AddFlows(&netfilter.Batch{Namespace: hostNS, Events: []netfilter.Event{{Kind: netfilter.Known, Before: 1,
		Flow: netfilter.Flow{ID: 1, Namespace: hostNS, Original: echoTuple(backIP, internetIP, 7, false), Reply: echoTuple(internetIP, hostIP, 7, true)}}}})
	t := new(testing.T)
	inner, outer := ping(t, backIP, internetIP, 7, 1, false), ping(t, hostIP, internetIP, 7, 1, false)
	var template [points]capture.Observation
	for i, where := range []at{backOut, vethIn, bridgeIn, uplinkOut} {
		frame := inner
		if i == points-1 {
			frame = outer
		}
		o := &template[i]
		*o = capture.Observation{Namespace: where.ns, Ifindex: where.link, Type: where.typ, WireLength: uint32(len(frame)), Data: frame}
		o.Headers.Parse(packet.Ethernet, frame, uint32(len(frame)))
	}
	now, id := int64(1e12), uint64(0)
	batch := make([]capture.Observation, pings*points)
	var key [8]byte
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += len(batch) {
		for k := range batch {
			batch[k] = template[k%points]
			now += 1000
			batch[k].Time = now
			if k%points == 0 {
				id++
			}
			binary.LittleEndian.PutUint64(key[:], id*0x9e3779b97f4a7c15)
			batch[k].Fingerprint = binary.LittleEndian.Uint64(key[:]) | 1
		}
		now += 20e6
		c.AddFlows(&netfilter.Batch{Through: now})
		c.Observe(&capture.Batch{Observations: batch, Through: now})
	}
	b.StopTimer()
	c.Flush()
	if n := c.Counters(); b.N >= len(batch) && uint64(shown)*points != n.Observations {
		b.Fatalf("%d journeys of %d observations", shown, n.Observations)
	}
}
