package record_test

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/internal/record"
	"natlens/internal/view/jsonl"
	"natlens/trace"
)

// dnsPort is where a server echoes datagrams while testdata is recorded.
const dnsPort = 5300

// update makes the files in testdata anew, on a host of the lab.
var update = flag.Bool("update", false, "record testdata anew")

// A watch as it was written by the first natlens that wrote any, and what it
// showed. Later ones must read it.
const (
	keptTape  = "testdata/masquerade.pcapng"
	keptShown = "testdata/masquerade.json"
)

// recorded is a watch that was written to files, and what it showed.
type recorded struct {
	paths    []string
	journeys []map[string]any // as JSON has them
	arp      int
	counters trace.Counters
}

func asJSON(t *testing.T, j *trace.Journey) (m map[string]any) {
	t.Helper()
	line, err := jsonl.Journey(j)
	must(t, err)
	must(t, json.Unmarshal(line, &m))
	return m
}

// opened is the recording that the files are.
func opened(t *testing.T, paths ...string) *record.Recording {
	t.Helper()
	var files []record.File
	for _, p := range paths {
		f, err := os.Open(p)
		must(t, err)
		t.Cleanup(func() { f.Close() })
		files = append(files, record.File{Name: filepath.Base(p), In: f})
	}
	recording, err := record.Open(files)
	must(t, err)
	return recording
}

// play reads files back.
func play(t *testing.T, paths ...string) (r recorded) {
	t.Helper()
	account, err := opened(t, paths...).Play(t.Context(), trace.DefaultOpen, record.Listener{
		Journey: func(j *trace.Journey) { r.journeys = append(r.journeys, asJSON(t, j)) },
		ARP:     func(trace.ARP) { r.arp++ },
		Warning: func(s string) { t.Errorf("warning: %s", s) },
	})
	must(t, err)
	r.counters = account.Counters
	return r
}

func (r recorded) same(t *testing.T, played recorded) {
	t.Helper()
	if diff := cmp.Diff(r.journeys, played.journeys); diff != "" {
		t.Errorf("-live +read\n%s", diff)
	}
	live := r.counters
	live.QueueDrops = 0
	if diff := cmp.Diff(live, played.counters); diff != "" {
		t.Errorf("-live +read\n%s", diff)
	}
	if r.arp != played.arp {
		t.Errorf("%d address resolutions, live %d", played.arp, r.arp)
	}
}

// tshark runs one of Wireshark's programs; a warning is a failure.
func tshark(t *testing.T, program string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("needs %s", program)
	}
	var warnings strings.Builder
	cmd := exec.Command(program, args...)
	cmd.Stderr = &warnings
	out, err := cmd.Output()
	said := strings.TrimSpace(strings.ReplaceAll(warnings.String(), `Running as user "root" and group "root". This could be dangerous.`, ""))
	if err != nil || said != "" {
		t.Fatalf("%s: %v: %s", program, err, said)
	}
	return string(out)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
