package record_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"natlens/capture/pcapng"
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

// A new file begins at the newest mark. Where nothing happened for a while that is one
// which was written late: an older one would be a clock that was set back, with which
// all is forgotten.
func TestARotationOnAQuietHostReadsTheSame(t *testing.T) {
	d := newDeck(t, record.Config{Others: true, Every: 10 * time.Second})
	d.tape.AddFlows(&netfilter.Batch{Namespace: 1, Events: []netfilter.Event{{Kind: netfilter.Known, Flow: deckFlow(1, 1), After: d.now, Before: d.now}}})
	d.pass(time.Millisecond, true, d.datagram(1, 9))
	for range 6 {
		d.pass(1500*time.Millisecond, true)
	}
	d.tape.AddFlows(&netfilter.Batch{Namespace: 1, Events: []netfilter.Event{{Kind: netfilter.New, Flow: deckFlow(2, 7), After: d.now, Before: d.now + 2e9}}})
	d.pass(1500*time.Millisecond, true)
	if len(d.paths) != 2 {
		t.Fatalf("%d files", len(d.paths))
	}
	d.pass(time.Second, true, d.datagram(1, 7))
	d.pass(5*time.Second, true)
	d.end("dropped by inferred", "delivered by conntrack")
	newest := int64(0)
	for _, at := range marksOf(t, d.paths...) {
		if at < newest {
			t.Errorf("a mark goes back by %v", time.Duration(newest-at))
		}
		newest = max(newest, at)
	}
}

// marksOf lists up to when the packets were judged, as files tell it.
func marksOf(t *testing.T, paths ...string) (marks []int64) {
	t.Helper()
	const kindMark = 7
	for _, path := range paths {
		content, err := os.ReadFile(path)
		must(t, err)
		in, err := pcapng.NewReader(bytes.NewReader(content))
		must(t, err)
		for b, err := in.Next(); !errors.Is(err, io.EOF); b, err = in.Next() {
			must(t, err)
			if l, ok := b.(*pcapng.Local); ok && l.Kind == kindMark {
				var mark struct{ Through int64 }
				must(t, json.Unmarshal(l.Data, &mark))
				marks = append(marks, mark.Through)
			}
		}
	}
	return marks
}
