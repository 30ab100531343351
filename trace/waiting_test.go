package trace

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"natlens/capture"
	"natlens/netinfo/netns"
)

// TestWaiting compares with a stable sort, while rings that are not quite in order
// deliver one after the other and only a part is released.
func TestWaiting(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	var w waiting
	var want []*capture.Observation
	for turn := range int64(200) {
		for range 1 + random.IntN(5) {
			at := turn * 1000
			ring := make([]capture.Observation, random.IntN(200))
			namespace := netns.ID(random.IntN(3))
			for i := range ring {
				at += random.Int64N(10)
				late := int64(0)
				if random.IntN(10) == 0 {
					late = random.Int64N(400)
				}
				ring[i].Time, ring[i].Namespace = at-late, namespace
				want = append(want, &ring[i])
			}
			w.add(ring)
		}
		slices.SortStableFunc(want, func(a, b *capture.Observation) int { return cmp.Compare(a.Time, b.Time) })
		mark := turn*1000 + 500
		due := w.before(mark)
		for i, a := range due {
			if a.o != want[i] || a.time != want[i].Time {
				t.Fatalf("turn %d: place %d has another", turn, i)
			}
		}
		want = want[len(due):]
		if len(want) > 0 && want[0].Time < mark {
			t.Fatalf("turn %d: one of %d is kept, due at %d", turn, want[0].Time, mark)
		}
		w.drop(len(due))
		if oldest, ok := w.oldest(); ok != (len(want) > 0) || ok && oldest != want[0].Time {
			t.Fatalf("turn %d: the oldest is %d, %v", turn, oldest, ok)
		}
	}
}
