package capture

import (
	"errors"
	"testing"
	"time"
)

func TestBudgetIsNeverExceeded(t *testing.T) {
	for _, snaplen := range []int{DefaultSnaplen, 1500, MaxSnaplen} {
		b := budget{left: DefaultBudget}
		var taken []geometry
		total := 0
		for {
			g, err := b.take(snaplen)
			if err != nil {
				if !errors.Is(err, ErrNoRoom) {
					t.Fatal(err)
				}
				break
			}
			if g.blocks < 2 || g.blockSize&(g.blockSize-1) != 0 || g.blockSize%4096 != 0 || g.blockSize > largestBlock || g.blockSize < snaplen {
				t.Errorf("snaplen %d, ring %d: %+v", snaplen, len(taken), g)
			}
			taken = append(taken, g)
			total += g.size()
		}
		if total > DefaultBudget || total+b.left != DefaultBudget {
			t.Errorf("snaplen %d: %d taken, %d left", snaplen, total, b.left)
		}
		if least := 25; len(taken) < least {
			t.Errorf("snaplen %d: room for %d rings, want %d", snaplen, len(taken), least)
		}
		t.Logf("snaplen %d: %d rings, the first %v", snaplen, len(taken), taken[:4])
		for _, g := range taken {
			b.give(g)
		}
		if b.left != DefaultBudget || b.rings != 0 {
			t.Errorf("snaplen %d: after all is given back %+v", snaplen, b)
		}
	}
}

// On a busy host the reader may wait for a processor for half a second, even where whole
// packets are captured in five containers.
func TestRingsLastWhileTheirReaderWaits(t *testing.T) {
	for _, snaplen := range []int{DefaultSnaplen, 1500, MaxSnaplen} {
		b := budget{left: DefaultBudget}
		for i := range 6 {
			g, err := b.take(snaplen)
			if err != nil {
				t.Fatal(err)
			}
			if lasts := g.retire() * time.Duration(g.blocks); g.retire() < RetireTimeout || g.retire() > longestRetire || lasts < 500*time.Millisecond {
				t.Errorf("snaplen %d, ring %d: %+v, %v each", snaplen, i, g, g.retire())
			}
		}
	}
}

func TestFirstRingIsTheLargest(t *testing.T) {
	b := budget{left: DefaultBudget}
	last := 0
	for i := range 80 {
		g, err := b.take(DefaultSnaplen)
		if err != nil {
			t.Fatalf("ring %d: %v", i, err)
		}
		if i == 0 && g != (geometry{blockSize: 256 << 10, blocks: 64}) {
			t.Errorf("the first ring is %+v, want 16 MiB", g)
		}
		if i > 0 && g.size() > last {
			t.Errorf("ring %d has %d bytes, more than the %d before", i, g.size(), last)
		}
		last = g.size()
	}
}

func TestConfigRefusesWhatCannotWork(t *testing.T) {
	for _, cfg := range []Config{{Snaplen: -1}, {Snaplen: MaxSnaplen + 1}, {Budget: 1000}, {Budget: -1}} {
		if _, err := cfg.withDefaults(); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
}
