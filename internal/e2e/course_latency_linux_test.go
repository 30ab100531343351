package e2e

import (
	"bufio"
	"os"
	"slices"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// A journey whose end was seen is on screen within 150 ms: the time between the
// stamp of its last hop and the arrival of its line, on one clock.
func TestWatchShowsTheEndAtOnce(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box")
	cmd := e.Command(natlens, "watch", "--json", "icmp")
	words := &safeBuffer{}
	cmd.Stderr = words
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	await(t, 20*time.Second, "natlens to watch", func() bool { return words.String() != "" })
	keepPinging(t, e, "back", internet)

	const wanted = 300 // journeys: half of them ask, half answer
	var took []time.Duration
	timer := time.AfterFunc(60*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	for lines := bufio.NewReader(out); len(took) < wanted; {
		line, err := lines.ReadBytes('\n')
		arrived := time.Now()
		if err != nil {
			t.Fatalf("after %d journeys: %v\n%s", len(took), err, words.String())
		}
		var j journey
		decode(t, line, &j)
		if j.Kind != "journey" || j.Verdict.Result != "left" && j.Verdict.Result != "delivered" {
			continue
		}
		took = append(took, arrived.Sub(j.Hops[len(j.Hops)-1].Time))
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	go func() { // what still comes must not fill the pipe
		for buf := make([]byte, 4096); ; {
			if _, err := out.Read(buf); err != nil {
				return
			}
		}
	}()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, words.String())
	}
	slices.Sort(took)
	at := func(percent int) time.Duration { return took[(len(took)-1)*percent/100] }
	t.Logf("from the last hop to the line, %d journeys: median %v, 90 %% %v, 99 %% %v, most %v",
		len(took), at(50), at(90), at(99), took[len(took)-1])
	// The machine may be doing much else: some are given more time.
	if at(50) > 150*time.Millisecond || at(90) > 500*time.Millisecond {
		t.Errorf("median %v, 90 %% %v; want 150 ms", at(50), at(90))
	}
	if took[0] < 0 {
		t.Errorf("a line came %v before its packet", -took[0])
	}
}
