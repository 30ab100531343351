package text

import (
	"fmt"
	"strings"
	"time"

	"natlens/internal/probe"
)

// Tally counts the results of one question asked several times. The zero value is ready.
type Tally struct {
	total, failed int
	results       []probe.Result // in the order in which they came first
	counts        map[probe.Result]int
	answers       int
	least, most   time.Duration
}

// Add counts an outcome.
func (t *Tally) Add(o *probe.Outcome) {
	t.total++
	if o.Failed != nil {
		t.failed++
		return
	}
	if t.counts == nil {
		t.counts = map[probe.Result]int{}
	}
	if t.counts[o.Result] == 0 {
		t.results = append(t.results, o.Result)
	}
	t.counts[o.Result]++
	if o.Answer.Result != probe.Replied {
		return
	}
	if t.answers++; t.answers == 1 || o.Answer.After < t.least {
		t.least = o.Answer.After
	}
	t.most = max(t.most, o.Answer.After)
}

// Tally says on one line what came of all.
func (st Style) Tally(t *Tally) string {
	var parts []string
	for _, r := range t.results {
		parts = append(parts, fmt.Sprintf("%d %s", t.counts[r], r))
	}
	if t.failed > 0 {
		parts = append(parts, fmt.Sprintf("%d not probed", t.failed))
	}
	line := fmt.Sprintf("%d probes: %s", t.total, strings.Join(parts, ", "))
	if t.answers > 0 {
		line += fmt.Sprintf("; answers after %s to %s", st.duration(t.least.Nanoseconds()), st.duration(t.most.Nanoseconds()))
	}
	return line + "\n"
}
