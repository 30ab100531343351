package trace

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// TestPrints compares with a map while fingerprints come and go, many of which
// want the same slots.
func TestPrints(t *testing.T) {
	p, want := newPrints(), map[uint64]chain{}
	random := rand.New(rand.NewPCG(1, 1))
	for step := range 200_000 {
		fingerprint := random.Uint64N(64)<<32 | random.Uint64N(1+uint64(step%100))
		ch := chain{head: int32(step), tail: int32(step), length: int32(random.IntN(3))}
		p.set(fingerprint, ch)
		if ch.length == 0 {
			delete(want, fingerprint)
		} else {
			want[fingerprint] = ch
		}
		probe := random.Uint64N(64)<<32 | random.Uint64N(100)
		known, ok := want[probe]
		if got := p.of(probe); ok && got != known || !ok && got.head != -1 {
			t.Fatalf("step %d: %x has %+v, want %+v", step, probe, got, known)
		}
	}
	got := map[uint64]chain{}
	for _, s := range p.slots {
		if s.length > 0 {
			got[s.fingerprint] = s.chain
		}
	}
	if !maps.Equal(got, want) || p.used != len(want) {
		t.Errorf("%d fingerprints, counted as %d, want %d", len(got), p.used, len(want))
	}
}
