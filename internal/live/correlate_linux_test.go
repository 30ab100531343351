package live

import (
	"context"
	"testing"
	"time"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/internal/leak"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// However many topologies come, and however long each takes, packets wait for one of them
// at most.
func TestPacketsWaitForOneTopology(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	s, err := Open(t.Context(), Config{Host: netinfo.Options{NoEngine: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	const many = 200
	batches, flows, known := make(chan capture.Batch, many), make(chan netfilter.Batch, 1), make(chan *netinfo.Topology, many)
	question := append(make([]byte, 12), 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 172, 17, 0, 2, 0, 0, 0, 0, 0, 0, 172, 17, 0, 1)
	now := time.Now().UnixNano()
	flows <- netfilter.Batch{Through: now + int64(time.Hour)}
	for i := range many {
		o := capture.Observation{Time: now + int64(i), Namespace: h.Namespace().ID(), Ifindex: 1, Data: question, WireLength: uint32(len(question))}
		o.Headers.Parse(packet.Ethernet, question, o.WireLength)
		batches <- capture.Batch{Observations: []capture.Observation{o}, Through: o.Time + 1}
		if i%2 == 0 {
			known <- &netinfo.Topology{}
		} else {
			known <- s.first
		}
	}
	records := make(chan Record, 1<<14)
	s.out = records
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.correlate(ctx, batches, flows, nil, nil, known, nil) }()
	eventually(t, "all is taken", func() bool { return len(batches)+len(known) == 0 })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	close(records)
	asked, before, changes := 0, 0, 0
	for r := range records {
		switch {
		case r.ARP != nil:
			asked++
			before = changes
		case r.Change != nil:
			changes++
		}
	}
	one := len(netinfo.Diff(s.first, &netinfo.Topology{}))
	if asked != many || one == 0 || changes < many*one/2 || before > one {
		t.Errorf("%d packets of %d were seen; of %d changes %d came before the last of them, want those of one topology at most: %d", asked, many, changes, before, one)
	}
}
