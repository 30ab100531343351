package jsonl

import (
	"testing"

	"natlens/internal/view/viewtest"
)

// BenchmarkJourney writes a masqueraded ping with four hops.
func BenchmarkJourney(b *testing.B) {
	j := viewtest.PingOut(1, 1)
	var line []byte
	b.ReportAllocs()
	for b.Loop() {
		line = AppendJourney(line[:0], j)
	}
	b.SetBytes(int64(len(line)))
}
