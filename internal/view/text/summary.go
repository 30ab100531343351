package text

import (
	"fmt"
	"strings"
	"time"

	"natlens/trace"
)

// Summary says what a run has done and, above all, what it lost. hidden counts
// journeys that were not shown because they are natlens's user's own (SSH, the
// engine's socket). It ends with a line break.
func (st Style) Summary(c trace.Counters, hidden uint64) string {
	return st.summary(counted(c.Journeys, "journey"), c, hidden)
}

// SummaryOf is Summary for a run that showed only some of its journeys.
func (st Style) SummaryOf(shown uint64, c trace.Counters, hidden uint64) string {
	return st.summary(fmt.Sprintf("%d of %s shown", shown, counted(c.Journeys, "journey")), c, hidden)
}

// Quiet says that nothing matched for so long, and what there has been.
func (st Style) Quiet(since time.Duration, c trace.Counters, shown uint64) string {
	line := fmt.Sprintf("nothing matched for %v; so far %s, %s, %d of them shown",
		since, counted(c.Observations, "observation"), counted(c.Journeys, "journey"), shown)
	return strings.Join(Wrap(line, st.Columns()), "\n") + "\n"
}

func (st Style) summary(journeys string, c trace.Counters, hidden uint64) string {
	lost := fmt.Sprintf("lost: ring %d, conntrack %d, queue %d", c.RingDrops, c.ConntrackLost, c.QueueDrops)
	tone := Plain
	if c.RingDrops+c.ConntrackLost+c.QueueDrops > 0 {
		tone = Bad
	}
	parts := []string{
		fmt.Sprintf("%s, %s", journeys, counted(c.Observations, "observation")),
		st.Paint(tone, lost),
		fmt.Sprintf("unpaired %d", c.Unpaired),
	}
	for _, extra := range []struct {
		n    uint64
		word string
	}{{hidden, "hidden"}, {c.Evicted, "evicted"}, {c.Ambiguous, "ambiguous"}, {c.Malformed, "malformed"}, {c.Cut, "cut short"}, {c.Undecoded, "conntrack messages not understood"}, {c.Ignored, "ignored"},
		{c.Traced, "traced"}, {c.TraceLost, "messages of the trace lost"}} {
		if extra.n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", extra.word, extra.n))
		}
	}
	if c.TracePaused > 0 {
		parts = append(parts, fmt.Sprintf("trace paused %.1f s, packets were too many", c.TracePaused.Seconds()))
	}
	var pieces []piece
	for i, p := range parts {
		if i < len(parts)-1 {
			p += ";"
		}
		pieces = append(pieces, piece{gap: 1, text: p})
	}
	return strings.Join(st.lay("", 2, pieces), "\n") + "\n"
}

func counted(n uint64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
