package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab/engine"
	"natlens/internal/view/jsonl/jsonltest"
)

type (
	journey    = oracletest.Journey
	address    = oracletest.Address
	summary    = oracletest.Summary
	safeBuffer = oracletest.Buffer
)

// watch is a running natlens watch --json.
type watch struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *safeBuffer
	stderr *safeBuffer
}

// startWatch starts the program on the engine's host and returns when it
// captures.
func startWatch(t *testing.T, e *engine.Engine, args ...string) *watch {
	t.Helper()
	w := &watch{t: t, stdout: &safeBuffer{}, stderr: &safeBuffer{}}
	w.cmd = e.Command(natlens, append([]string{"watch"}, args...)...)
	w.cmd.Stdout, w.cmd.Stderr = w.stdout, w.stderr
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.cmd.Process.Kill() })
	await(t, 20*time.Second, "natlens to watch", func() bool {
		return strings.Contains(strings.Join(strings.Fields(w.stderr.String()), " "), "Ctrl-C ends.") // it may take more than one line
	})
	return w
}

func await(t *testing.T, atMost time.Duration, what string, ok func() bool) {
	t.Helper()
	oracletest.Await(t, atMost, what, ok)
}

// end sends Ctrl-C and waits; the exit status must be 0.
func (w *watch) end() {
	w.t.Helper()
	if err := w.cmd.Process.Signal(os.Interrupt); err != nil {
		w.t.Fatal(err)
	}
	if err := w.cmd.Wait(); err != nil {
		w.t.Fatalf("natlens watch: %v\n%s", err, w.stderr.String())
	}
}

// shown returns the journeys so far that are so, in the order in which they were shown.
func (w *watch) shown(are func(*journey) bool) []*journey {
	w.t.Helper()
	var all []journey
	for line := range strings.Lines(w.stdout.String()) {
		if strings.HasSuffix(line, "\n") && strings.Contains(line, `"kind":"journey"`) {
			var j journey
			decode(w.t, []byte(line), &j)
			all = append(all, j)
		}
	}
	return with(all, are)
}

// journeys ends the watch and reads what it wrote; each line must be as
// docs/natlens.schema.json says, the last one a summary.
func (w *watch) journeys() ([]journey, summary) {
	w.t.Helper()
	w.end()
	var all []journey
	var last summary
	lines := bufio.NewReader(strings.NewReader(w.stdout.String()))
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			break
		}
		if last.Kind != "" {
			w.t.Fatalf("a line after the summary: %s", line)
		}
		jsonltest.Validate(w.t, line)
		var kind struct{ Kind string }
		decode(w.t, line, &kind)
		switch kind.Kind {
		case "journey":
			var j journey
			decode(w.t, line, &j)
			all = append(all, j)
		case "summary":
			decode(w.t, line, &last)
		}
	}
	if last.Kind == "" {
		w.t.Fatal("no summary")
	}
	return oracletest.Newest(all), last
}

func decode(t *testing.T, line []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(line, v); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
}
