package text

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"natlens/internal/view/viewtest"
)

func TestFloodBecomesFlowsAndSamples(t *testing.T) {
	now := time.Unix(1000, 0)
	f := NewFlood(NewPrinter(Style{Names: true}, Detail{NoTime: true}))
	var out strings.Builder
	const n = 2000
	for i := range uint64(n) { // two seconds, 1000 a second
		now = now.Add(time.Millisecond)
		out.WriteString(f.Journey(viewtest.PingOut(i+1, uint16(i)), now))
	}
	for range 3 {
		now = now.Add(time.Second)
		out.WriteString(f.Tick(now))
	}
	text := out.String()
	scrolled := strings.Count(text, " as #1")
	if scrolled < floodBurst-10 || scrolled > floodBurst+floodRate+10 {
		t.Errorf("%d lines scrolled by, want about %d", scrolled, floodBurst)
	}
	for _, want := range []string{"-- too many to read", " in 1s, by flow and direction:", "-- every packet from here"} {
		if strings.Count(text, want) == 0 {
			t.Errorf("no %q in\n%s", want, tail(text))
		}
	}
	if got := strings.Count(text, "MASQUERADE"); got < 2 {
		t.Errorf("%d cards, want the first and a sample", got)
	}
	// Nothing is lost: what scrolled and what was counted make all.
	total := scrolled + 1
	for line := range strings.Lines(text) {
		var count int
		if _, err := fmt.Sscanf(line, "%d packets in", &count); err == nil {
			total += count
		}
	}
	if total != n {
		t.Errorf("%d packets accounted for, want %d", total, n)
	}
	for line := range strings.Lines(text) {
		if Columns(strings.TrimSuffix(line, "\n")) > DefaultWidth {
			t.Errorf("too wide: %q", line)
		}
	}
	if got := f.Journey(viewtest.PingOut(n+1, 1), now.Add(time.Second)); !strings.Contains(got, "#2001") {
		t.Errorf("after the flood: %q", got)
	}
}

func TestSlowTrafficIsNoFlood(t *testing.T) {
	now := time.Unix(1000, 0)
	f := NewFlood(NewPrinter(Style{}, Detail{}))
	for i := range uint64(1000) {
		now = now.Add(20 * time.Millisecond) // 50 a second
		if out := f.Journey(viewtest.PingOut(i+1, uint16(i)), now); !strings.Contains(out, fmt.Sprintf("#%d", i+1)) {
			t.Fatalf("journey %d is not shown: %q", i+1, out)
		}
	}
}

func TestFloodOfFlowsIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	f := NewFlood(NewPrinter(Style{}, Detail{}))
	for i := range 10 * floodKnown {
		j := viewtest.PingOut(uint64(i+1), 1)
		j.From.Port = uint16(i)
		j.To.Port = uint16(i >> 16)
		f.Journey(j, now)
	}
	if len(f.flows) > floodKnown {
		t.Errorf("%d flows remembered", len(f.flows))
	}
	out := f.Tick(now.Add(time.Second))
	if !strings.Contains(out, fmt.Sprintf("%d packets in 1s", 10*floodKnown-floodBurst)) {
		t.Errorf("not all counted: %s", out)
	}
}

func tail(s string) string { return s[max(0, len(s)-1500):] }
