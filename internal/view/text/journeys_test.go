package text

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/internal/view/viewtest"
	"natlens/trace"
)

func TestJourneysGolden(t *testing.T) {
	for _, c := range []struct {
		name   string
		style  Style
		detail Detail
	}{
		{"journeys-80", Style{Names: true}, Detail{}},
		{"journeys-120", Style{Names: true, Width: 120}, Detail{}},
		{"journeys-color", Style{Names: true, Color: true}, Detail{}},
		{"journeys-ascii", Style{Names: true, ASCII: true}, Detail{}},
		{"journeys-verbose", Style{Names: true}, Detail{Verbose: true, MACs: true}},
		{"journeys-quiet", Style{}, Detail{Quiet: true, NoTime: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.style.Zone = time.UTC
			p := NewPrinter(c.style, c.detail)
			var b strings.Builder
			for _, x := range viewtest.Cases() {
				b.WriteString(p.Journey(x.Journey))
			}
			golden(t, c.name, c.style, b.String())
		})
	}
}

func TestNoLineIsWiderThanTheTerminal(t *testing.T) {
	styles := []Style{
		{}, {Names: true}, {Names: true, Color: true}, {Names: true, ASCII: true, Width: 40}, {Width: 61, Names: true, Color: true},
		{Width: 120}, {Width: 10, Names: true},
	}
	details := []Detail{{}, {Verbose: true, MACs: true}, {Quiet: true}, {NoTime: true, Quiet: true}}
	check := func(t *testing.T, j *trace.Journey) {
		t.Helper()
		for _, st := range styles {
			st.Zone = time.UTC
			for _, d := range details {
				p := NewPrinter(st, d)
				out := p.Journey(j) + p.Journey(j) // a card, then a line
				for line := range strings.Lines(out) {
					line = strings.TrimSuffix(line, "\n")
					if n := Columns(line); n > st.Columns() {
						t.Fatalf("%+v %+v: %d columns, want at most %d: %q", st, d, n, st.Columns(), line)
					}
					if bad := strings.IndexFunc(uncoloured(line), func(r rune) bool { return !printable(r, st.ASCII) }); bad >= 0 {
						t.Fatalf("%+v %+v: %q holds something that is not to be printed at %d", st, d, line, bad)
					}
				}
			}
		}
	}
	for _, c := range viewtest.Cases() {
		check(t, c.Journey)
	}
	for seed := range uint64(300) {
		check(t, viewtest.Random(rand.New(rand.NewPCG(seed, 7))))
	}
}

func TestColourChangesNoLetter(t *testing.T) {
	plain, painted := Style{Names: true, Zone: time.UTC}, Style{Names: true, Color: true, Zone: time.UTC}
	for _, c := range viewtest.Cases() {
		want, got := plain.Card(Detail{}, c.Journey), painted.Card(Detail{}, c.Journey)
		if uncoloured(got) != want {
			t.Errorf("%s: without its colours the card reads\n%s, want\n%s", c.Name, uncoloured(got), want)
		}
		if got == want {
			t.Errorf("%s: no colour at all", c.Name)
		}
	}
}

func TestCardThenLines(t *testing.T) {
	p := NewPrinter(Style{Names: true, Zone: time.UTC}, Detail{})
	if got := p.Journey(viewtest.PingOut(1, 1)); strings.Count(got, "\n") < 2 {
		t.Errorf("the first of a flow is not a card: %q", got)
	}
	if got := p.Journey(viewtest.PingReply(2, 1)); strings.Count(got, "\n") < 2 {
		t.Errorf("the first in the other direction is not a card: %q", got)
	}
	if got := p.Journey(viewtest.PingOut(3, 2)); strings.Count(got, "\n") != 1 || !strings.Contains(got, "as #1, seq 2") {
		t.Errorf("the second of a flow is not a line that names the first: %q", got)
	}
	lost := viewtest.PingOut(5, 3)
	lost.Hops = lost.Hops[:3]
	lost.Translations = nil
	lost.Verdict = trace.Verdict{Result: trace.Vanished, Hop: 2, Evidence: trace.ByTap}
	if got := p.Journey(lost); strings.Count(got, "\n") < 2 {
		t.Errorf("another path is not a card: %q", got)
	}
	lost = viewtest.PingOut(7, 4)
	lost.Hops, lost.Translations = lost.Hops[:3], nil
	lost.Verdict = trace.Verdict{Result: trace.Vanished, Hop: 2, Evidence: trace.ByTap, Reason: "ring lost 3"}
	if got := p.Journey(lost); strings.Count(got, "\n") != 1 || !strings.Contains(got, "ring lost 3") {
		t.Errorf("the same path with another reason is not a line that says it: %q", got)
	}
	refused := func(id, about uint64, code uint8) *trace.Journey {
		j := *viewtest.Refusal(id)
		j.Hops = slices.Clone(j.Hops)
		for i := range j.Hops {
			j.Hops[i].Headers.ICMPCode = code
		}
		j.Related = []trace.Relation{{ID: about, Why: "error_about"}}
		return &j
	}
	if got := p.Journey(refused(23, 22, 3)); strings.Count(got, "quotes ") != 2 || !strings.Contains(got, "(error about #22)") {
		t.Errorf("an error is not a card with what it quotes, before and after: %q", got)
	}
	if got := p.Journey(refused(25, 24, 3)); !strings.Contains(got, "as #23, about #24") || strings.Count(got, "\n") != 1 {
		t.Errorf("a second error is not a line that says what it is about: %q", got)
	}
	if got := p.Journey(refused(27, 26, 1)); strings.Count(got, "\n") < 2 {
		t.Errorf("another error is not a card: %q", got)
	}
	for why, want := range map[string]string{"retransmission_of": "as #1, resends #4", "duplicate_of": "as #1, repeats #4"} {
		again := viewtest.PingOut(5, 2)
		again.Related = []trace.Relation{{ID: 4, Why: why}}
		if got := p.Journey(again); strings.Count(got, "\n") != 1 || !strings.Contains(got, want) {
			t.Errorf("what was sent before is not a line that says %q: %q", want, got)
		}
	}
	amended := viewtest.PingOut(6, 2)
	amended.Supersedes = 3
	if got := p.Journey(amended); !strings.Contains(got, "#6 amends #3") || strings.Count(got, "\n") < 2 {
		t.Errorf("a record that amends another is not a card that says so: %q", got)
	}
}

func TestMemoryOfPathsIsBounded(t *testing.T) {
	r := newRecent(2)
	for i, c := range []struct {
		path path
		want uint64
	}{{10, 0}, {20, 1}, {10, 0}, {30, 3}, {20, 4}, {30, 3}, {10, 6}} {
		if got := r.meet(c.path, uint64(i)); got != c.want {
			t.Errorf("step %d: path %d was first shown by %d, want %d", i, c.path, got, c.want)
		}
	}
	if len(r.of) != 2 || r.byUse.Len() != 2 {
		t.Errorf("%d and %d paths are remembered, want 2", len(r.of), r.byUse.Len())
	}
}
