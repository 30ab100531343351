package record_test

import (
	"os"
	"testing"
	"time"

	"natlens/internal/record"
	"natlens/netinfo/netfilter"
)

// What a file repeats of the one before does not fill it: a host on which nothing
// happens is written once, however small a file is to be.
func TestARotationIsNotFilledByWhatItRepeats(t *testing.T) {
	d := newDeck(t, record.Config{Others: true, Size: 1000})
	var known []netfilter.Event
	for n := range uint32(1000) {
		known = append(known, netfilter.Event{Kind: netfilter.Known, Flow: deckFlow(n+1, uint16(n+1)), After: d.now, Before: d.now})
	}
	d.tape.AddFlows(&netfilter.Batch{Namespace: 1, Events: known})
	for range 30 {
		d.pass(time.Second, true)
		again := make([]netfilter.Event, 0, 1)
		again = append(again, known[0])
		again[0].Kind = netfilter.Update
		d.tape.AddFlows(&netfilter.Batch{Namespace: 1, Events: again})
	}
	if len(d.paths) != 1 {
		t.Errorf("%d files of an idle host", len(d.paths))
	}
	for range 20 {
		d.pass(time.Second, true, d.datagram(1, 7))
		d.pass(4*time.Second, true)
	}
	if len(d.paths) < 4 || len(d.paths) > 20 {
		t.Errorf("%d files of twenty packets, some 300 bytes each", len(d.paths))
	}
	d.tape.Flush()
	must(t, d.tape.Err())
	d.counters = d.tape.Counters()
	d.same(t, play(t, d.paths...))
	last := d.paths[len(d.paths)-2]
	info, err := os.Stat(last)
	must(t, err)
	if each := info.Size() / int64(len(known)); each > 600 {
		t.Errorf("%d bytes a flow are repeated", each)
	}
	if alone := play(t, last); len(alone.journeys) == 0 || alone.journeys[0]["verdict"].(map[string]any)["evidence"] != "tap" {
		t.Errorf("a later file alone: %v", alone.journeys)
	}
}

// What was written before the clock was set fills a file as well.
func TestARotationIsNotPutOffByTheClock(t *testing.T) {
	const size = 20_000
	d := newDeck(t, record.Config{Others: true, Size: size})
	d.pass(time.Second, true)
	for n := range uint16(300) {
		d.pass(time.Second, true, d.datagram(1, 7))
		if n%20 == 19 {
			d.tape.Interrupt("the clock was set")
		}
	}
	d.tape.Flush()
	must(t, d.tape.Err())
	if len(d.paths) < 3 {
		t.Errorf("%d files", len(d.paths))
	}
	for _, path := range d.paths {
		info, err := os.Stat(path)
		must(t, err)
		if info.Size() > size*5/4 {
			t.Errorf("a file of %d bytes, %d were to be the most", info.Size(), size)
		}
	}
}
