package oracletest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/labtest"
)

// Rows records the packets that a pcap-filter picks, on all links of the
// namespace in which prepare runs a program, and returns when it captures. stop
// ends it and returns for each packet what tshark prints of the fields, all their
// occurrences with commas between.
func Rows(t testing.TB, prepare func(name string, args ...string) *exec.Cmd, filter string, fields ...string) (stop func() [][]string) {
	t.Helper()
	file, said := filepath.Join(t.TempDir(), "rows.pcap"), &Buffer{}
	// In its immediate mode each packet takes the room of the largest there may be.
	cmd := prepare("tcpdump", "-i", "any", "-n", "-U", "--immediate-mode", "-s", "2048", "-B", "8192", "-Z", "root", "-w", file, filter)
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may have ended
	Await(t, 10*time.Second, "tcpdump", func() bool { return strings.Contains(said.String(), "listening on") })
	return func() (rows [][]string) {
		t.Helper()
		labtest.Idle(t, cmd.Process.Pid)
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil || !strings.Contains(said.String(), "\n0 packets dropped by kernel") {
			t.Fatalf("tcpdump: %v: %s", err, said)
		}
		args := []string{"-r", file, "-n", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,", "-E", "separator=|", "-o", "ipv6.defragment:FALSE"}
		for _, f := range fields {
			args = append(args, "-e", f)
		}
		out, err := exec.Command("tshark", args...).Output()
		if err != nil {
			t.Fatalf("tshark: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			rows = append(rows, strings.Split(strings.TrimRight(line, "\n"), "|"))
		}
		return rows
	}
}
