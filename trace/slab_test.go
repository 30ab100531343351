package trace

import (
	"math/bits"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestCacheLines: what every packet touches stands close together. The three lines of an
// entry begin with the entry, with its footprints, and within these. A trail is an
// allocation of its own with the runtime's word before it, and has what a packet with
// four hops needs in the same line.
func TestCacheLines(t *testing.T) {
	const line = 64
	if bits.UintSize != 64 {
		t.Skip("pointers are smaller here")
	}
	begin := func(of any, field string) uintptr {
		f, ok := reflect.TypeOf(of).FieldByName(field)
		if !ok {
			t.Fatalf("%T has no %s", of, field)
		}
		return f.Offset
	}
	second := begin(entry{}, "footprints")
	if size, third := reflect.TypeFor[entry]().Size(), second+begin(footprints{}, "ttls"); size != 3*line || second != line || third != 2*line {
		t.Errorf("an entry has %d bytes, its second part begins at %d, its third at %d", size, second, third)
	}
	if end := begin(trail{}, "looks") + 3*8; end > line-8 {
		t.Errorf("what is asked of a trail with four steps ends at %d", end)
	}
}

// TestReleasedEntriesKeepNothing: an entry can wait long for its next use.
func TestReleasedEntriesKeepNothing(t *testing.T) {
	s := newStage(t)
	for _, piece := range cut(udp(t, port(backIP, 5), port(internetIP, 9), 7, strings.Repeat("natlens!", 800)), 64) {
		s.see(backOut, piece)
	}
	s.pass(4 * time.Second)
	s.pass(4 * time.Second)
	s.pass(4 * time.Second)
	sole(t, s)
	for i := range s.c.slab.chunks[0] {
		if e := s.c.slab.at(int32(i)); e.state != stateFree || e.trail != nil || e.rare != nil || e.packets != nil || e.room != nil {
			t.Errorf("entry %d keeps %+v", i, e)
		}
	}
}

// Nothing overtakes what stands before it in a queue, so that its head is always the next
// that is due.
func TestTimersAreInOrder(t *testing.T) {
	var q timers
	for i, due := range []int64{10, 60, 20, 70} {
		q.push(timer{index: int32(i), due: due})
	}
	if _, ok := q.pop(9); ok {
		t.Error("due too early")
	}
	for i, due := range []int64{10, 60, 60, 70} {
		if got, ok := q.pop(due); !ok || got != (timer{index: int32(i), due: due}) {
			t.Errorf("the %d. is %+v, %v", i+1, got, ok)
		}
	}
	q.push(timer{due: 5})
	if _, ok := q.pop(5); !ok {
		t.Error("it waits for what is gone")
	}
}
