package e2e

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// TestFileStandsAlone writes a watch to a file and reads it as an ordinary user:
// the same journeys, word for word, and every packet whole.
func TestFileStandsAlone(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "-p", "8000:8000", "box", "httpd", "-f", "-p", "8000", "-h", "/www")
	back := e.Namespace("back")
	file := filepath.Join(t.TempDir(), "back.pcapng")
	w := startWatch(t, e, "-w", file, "--json")
	for i, size := range []int{56, 1200, 4000} {
		if _, err := lab.Ping(context.Background(), back, internet, lab.Echo{ID: 9, Seq: uint16(i), Payload: make([]byte, size)}); err != nil {
			t.Error(err)
		}
	}
	if _, err := lab.Get(context.Background(), e.Internet(), netip.AddrPortFrom(hostAddress, 8000)); err != nil {
		t.Error(err)
	}
	time.Sleep(500 * time.Millisecond)
	w.end()

	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	for folder := filepath.Dir(file); strings.HasPrefix(folder, os.TempDir()+"/"); folder = filepath.Dir(folder) {
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	read := exec.CommandContext(t.Context(), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", natlens, "read", "--json", file)
	var complaint strings.Builder
	read.Stderr = &complaint
	out, err := read.Output()
	if err != nil {
		t.Fatalf("natlens read: %v: %s", err, complaint.String())
	}
	live, again := journeysOf(w.stdout.String()), journeysOf(string(out))
	if len(live) < 10 || len(live) != len(again) {
		t.Fatalf("%d journeys live, %d from the file", len(live), len(again))
	}
	for i := range live {
		if live[i] != again[i] {
			t.Errorf("journey %d\nlive %s\nfile %s", i, live[i], again[i])
		}
	}

	tshark := exec.CommandContext(t.Context(), "tshark", "-r", file, "-T", "fields", "-e", "frame.len", "-e", "frame.cap_len", "-e", "frame.comment")
	packets, err := tshark.Output()
	if err != nil {
		t.Fatal(err)
	}
	comments := 0
	for line := range strings.Lines(string(packets)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 3 || f[0] != f[1] {
			t.Errorf("a packet is cut: %q", line)
		}
		if strings.Contains(line, "MASQUERADE, conntrack") {
			comments++
		}
	}
	if comments == 0 {
		t.Error("no comment tells of the masquerade")
	}
}

// journeysOf keeps the lines that are journeys.
func journeysOf(lines string) (journeys []string) {
	for line := range strings.Lines(lines) {
		if strings.Contains(line, `"kind":"journey"`) {
			journeys = append(journeys, line)
		}
	}
	return journeys
}
