package oracletest

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestPair(t *testing.T) {
	for name, c := range map[string]struct {
		stamps, others []int64
		want           []int
	}{
		"none":                  {nil, []int64{1}, []int{}},
		"nobody":                {[]int64{1}, nil, []int{-1}},
		"as many":               {[]int64{10, 20, 30}, []int64{11, 21, 31}, []int{0, 1, 2}},
		"late, as many":         {[]int64{25, 35, 45}, []int64{10, 20, 30}, []int{0, 1, 2}},
		"one is missing":        {[]int64{11, 31}, []int64{10, 20, 30}, []int{0, 2}},
		"one is too many":       {[]int64{10, 20, 30}, []int64{11, 31}, []int{0, -1, 1}},
		"the first is missing":  {[]int64{20, 30}, []int64{10, 20, 30}, []int{1, 2}},
		"the others are nearer": {[]int64{100}, []int64{10, 90, 120}, []int{1}},
	} {
		if got := pair(c.stamps, c.others); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// No other pairs in order are less apart.
func TestPairsAreTheNearest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	draw := func() []int64 {
		all := make([]int64, r.IntN(7))
		for i := range all {
			all[i] = r.Int64N(100)
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	for range 2000 {
		a, b := draw(), draw()
		var sum int64
		last, paired := -1, 0
		for i, k := range pair(a, b) {
			if k < 0 {
				continue
			}
			if k <= last {
				t.Fatalf("%v and %v: partners are not in order: %v", a, b, pair(a, b))
			}
			last = k
			paired++
			sum += distance(a[i], b[k])
		}
		if paired != min(len(a), len(b)) || sum != nearest(a, b) {
			t.Fatalf("%v and %v: %v, %d apart, want %d", a, b, pair(a, b), sum, nearest(a, b))
		}
	}
}

// nearest tries all ways.
func nearest(a, b []int64) int64 {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(a) == 0 {
		return 0
	}
	best := distance(a[0], b[0]) + nearest(a[1:], b[1:])
	if len(b) > len(a) {
		best = min(best, nearest(a, b[1:]))
	}
	return best
}
