package trace

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPrints compares with a map of lists while entries come and go, many of which
// have one fingerprint, or want the same slots.
func TestPrints(t *testing.T) {
	s := &slab{limit: 1 << 14}
	p, want := newPrints(s), map[uint64][]int32{}
	random := rand.New(rand.NewPCG(1, 1))
	var all []int32
	for step := range 200_000 {
		if grows := step/20_000%2 == 0; random.IntN(10) < 3 == grows && len(all) > 0 {
			k := random.IntN(len(all))
			i := all[k]
			all = slices.Delete(all, k, k+1)
			fingerprint := s.at(i).fingerprint
			p.remove(i)
			s.release(i)
			left := slices.DeleteFunc(want[fingerprint], func(j int32) bool { return j == i })
			if want[fingerprint] = left; len(left) == 0 {
				delete(want, fingerprint)
			}
		} else if i, e, ok := s.take(); ok {
			// Alike in the lowest bits, and others in the 32 that a slot has.
			e.fingerprint = random.Uint64N(8)<<32 | random.Uint64N(4)<<20 | random.Uint64N(100)
			p.add(i)
			all, want[e.fingerprint] = append(all, i), append(want[e.fingerprint], i)
		}
		probe := random.Uint64N(8)<<32 | random.Uint64N(4)<<20 | random.Uint64N(100)
		var got []int32
		head, e := p.oldest(probe)
		if (head < 0) != (e == nil) || e != nil && int(e.alike) != len(want[probe]) {
			t.Fatalf("step %d: %x begins with %d, %+v, want %d", step, probe, head, e, want[probe])
		}
		for i := head; i >= 0; i = s.at(i).next {
			got = append(got, i)
		}
		if !slices.Equal(got, want[probe]) {
			t.Fatalf("step %d: %x has %d, want %d", step, probe, got, want[probe])
		}
	}
	if p.used != len(want) || p.used < 100 {
		t.Errorf("%d fingerprints, want %d", p.used, len(want))
	}
}
