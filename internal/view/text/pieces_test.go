package text

import (
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/internal/view/viewtest"
	"natlens/trace"
)

// What happens behind the last piece of a datagram is shown where one line stands for all
// of them.
func TestBehindTheLastPiece(t *testing.T) {
	j := *viewtest.PingOut(1, 1)
	last := j.Hops[2]
	j.Hops = slices.Clone(j.Hops[:2])
	for i := range 3 {
		piece := last
		piece.Part = &trace.Part{Index: i, Of: 3, Offset: uint32(1480 * i)}
		j.Hops = append(j.Hops, piece)
	}
	behind := j.Translations[0]
	behind.Between = [2]int{4, -1}
	j.Translations = []trace.Translation{behind}
	j.Verdict = trace.Verdict{Result: trace.Dropped, Hop: 4, Evidence: trace.ByRules}
	for _, verbose := range []bool{false, true} {
		st := Style{Names: true, Zone: time.UTC}
		if got := st.Card(Detail{Verbose: verbose}, &j); strings.Count(got, "(after the last tap)") != 1 {
			t.Errorf("verbose %v:\n%s", verbose, got)
		}
	}
}
