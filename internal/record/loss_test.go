package record_test

import (
	"net/netip"
	"testing"
	"time"

	"natlens/capture"
	"natlens/internal/record"
	"natlens/netinfo/netns"
)

// What rings lost, and up to when, is known from a file as it was live, also where
// connection tracking lags behind them.
func TestLossesReadTheSame(t *testing.T) {
	d := newDeck(t, record.Config{Others: true})
	d.pass(time.Millisecond, true)
	for _, n := range []uint64{5, 7} {
		d.now += int64(500 * time.Millisecond)
		seen := d.datagramFor(netip.MustParseAddr("203.0.113.9"), aside, uint16(n))
		d.now += int64(100 * time.Millisecond)
		d.tape.Observe(&capture.Batch{Observations: []capture.Observation{seen}, Lost: map[netns.ID]uint64{1: n}, Through: d.now})
	}
	d.pass(5*time.Second, true)
	d.pass(5*time.Second, true)
	// Nothing was lost when this one came.
	d.now += int64(time.Minute)
	d.pass(5*time.Second, true, d.datagramFor(netip.MustParseAddr("203.0.113.9"), aside, 9))
	d.pass(5*time.Second, true)
	d.end("unfinished by tap", "unfinished by tap", "vanished by tap")
	if d.counters.RingDrops != 12 {
		t.Errorf("%d lost", d.counters.RingDrops)
	}
}
