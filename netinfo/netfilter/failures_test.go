package netfilter

import (
	"math"
	"testing"
)

// cpuStatistics is the message of one processor, as Linux 6.18 writes it.
const cpuStatistics = `
	0800 0200 00000011   # found
	0800 0400 00000005   # invalid
	0800 0800 00000000   # insert
	0800 0900 00000002   # insert_failed
	0800 0a00 00000007   # drop
	0800 0b00 00000001   # early_drop
	0800 0c00 00000009   # error
	0800 0d00 00000000   # search_restart
	0800 0e00 00000003   # clash_resolve
	0800 0f00 00000000   # chain_toolong
`

func TestStatisticsAreSummedUp(t *testing.T) {
	b := bytesOf(t, cpuStatistics)
	var one, both statistics
	if !one.add(attributes(b)) || !both.add(attributes(b)) || !both.add(attributes(b)) {
		t.Fatal("a message is refused")
	}
	if one != (statistics{2, 7, 1, 3}) || both != (statistics{4, 14, 2, 6}) {
		t.Errorf("%+v, twice %+v", one, both)
	}
	if f, moved := both.since(one); !moved || f != (Failures{Dropped: 7, InsertFailed: 2, Resolved: 3, EarlyDropped: 1}) {
		t.Errorf("moved %+v", f)
	}
	if _, moved := both.since(both); moved {
		t.Error("what has not moved has")
	}
	if f, _ := (statistics{dropped: 1}).since(statistics{dropped: math.MaxUint32}); f.Dropped != 2 {
		t.Errorf("a counter that wraps: %d", f.Dropped)
	}
	for n := range len(b) {
		if n%8 != 0 && (&statistics{}).add(attributes(b[:n])) {
			t.Errorf("%d bytes of it are taken", n)
		}
	}
}

func TestFull(t *testing.T) {
	for _, c := range []struct {
		f    Failures
		full bool
	}{
		{Failures{Entries: 65536, MaxEntries: 65536}, true},
		{Failures{Entries: 63000, MaxEntries: 65536}, true},
		{Failures{Entries: 10, MaxEntries: 65536}, false},
		{Failures{Entries: 10, MaxEntries: 65536, EarlyDropped: 1}, true},
		{Failures{}, false},
	} {
		if c.f.Full() != c.full {
			t.Errorf("%+v: full is %t", c.f, !c.full)
		}
	}
}
