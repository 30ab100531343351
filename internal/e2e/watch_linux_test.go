package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"natlens/internal/lab/engine"
	"natlens/internal/view/jsonl/jsonltest"
)

// The parts of the JSON contract that the tests look at, written down anew: a
// change of the product's own structures must not change them.
type journey struct {
	Kind         string
	ID           uint64
	Supersedes   uint64
	Protocol     string
	Info         string
	From, To     endpoint
	Direction    string
	Hops         []hop
	Translations []translation
	Flows        []struct {
		ID uint64
	}
	Verdict struct {
		Result, Reason, Evidence, Hook string
		At                             any
	}
	Related []struct {
		ID  uint64
		Why string
	}
	Notes []string
}

type endpoint struct {
	Name       string
	Containers []string
	IP         string
	Port       uint16
}

type address struct {
	IP   string
	Port uint16
}

type hop struct {
	Time           time.Time
	Namespace      string
	NamespaceInode uint64 `json:"namespace_inode"`
	Interface      string
	Ifindex        int
	Direction      string
	Containers     []string
	PeerContainers []string `json:"peer_containers"`
	Source         address
	Destination    address
	IPID           uint16 `json:"ip_id"`
	Length         int
	ICMP           *struct{ Type, Code, ID, Seq int }
	TCP            *struct {
		Seq, Ack uint32
		Flags    string
	}
}

type translation struct {
	Kind          string
	Namespace     string
	Between       [2]*int
	Hook          string
	Undo          bool
	Before, After struct{ Source, Destination address }
	Evidence      string
	ConntrackID   uint64 `json:"conntrack_id"`
	Rule          *struct {
		Table, Chain, Text, Backend, Evidence string
		Position                              int
	}
}

type summary struct {
	Kind                                                         string
	Observations, Journeys, Hidden, Evicted, Unpaired, Malformed uint64
	RingDrops                                                    uint64 `json:"ring_drops"`
	ConntrackLost                                                uint64 `json:"conntrack_lost"`
	QueueDrops                                                   uint64 `json:"queue_drops"`
}

// watch is a running natlens watch --json.
type watch struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *safeBuffer
	stderr *safeBuffer
}

// safeBuffer can be written by a process and read by a test.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
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
	await(t, 20*time.Second, "natlens to watch", func() bool { return strings.Contains(w.stderr.String(), "Ctrl-C ends.") })
	return w
}

// await polls until ok, or fails the test.
func await(t *testing.T, atMost time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(atMost); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", atMost, what)
		}
	}
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
	return newest(all), last
}

// newest drops the records that later ones supersede.
func newest(all []journey) []journey {
	superseded := map[uint64]bool{}
	for _, j := range all {
		superseded[j.Supersedes] = true
	}
	kept := all[:0]
	for _, j := range all {
		if !superseded[j.ID] {
			kept = append(kept, j)
		}
	}
	return kept
}

func decode(t *testing.T, line []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(line, v); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
}
