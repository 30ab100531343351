package text

import (
	"strings"
	"testing"
	"time"

	"natlens/internal/view/viewtest"
	"natlens/trace"
)

// A journey that may be another's says so where its end stands, and why below.
func TestAmbiguousJourney(t *testing.T) {
	j := viewtest.Cases()[0].Journey
	j.Verdict.Evidence = trace.Ambiguous
	j.Notes = []string{"ambiguous: #2, #3, #4 look the same as this packet, and not all of them came on behind docker0. Hops and end may be another's"}
	got := Style{Zone: time.UTC}.Card(Detail{}, j)
	for _, want := range []string{"left by eth0 [ambiguous]\n", "  note: ambiguous: #2, #3, #4 look the same as this packet, and not all of them\n    came on behind docker0."} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}
