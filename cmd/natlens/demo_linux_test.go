package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/internal/lab"
	"natlens/internal/view/text"
)

// ordinaryUser is nobody, who may do nothing here.
const ordinaryUser = 65534

// elsewheres are namespaces of others: tests of other packages run engines
// meanwhile, whose mounts are everyone's.
var elsewheres = regexp.MustCompile(`(?m)^\S+  net:\[\d+\]  not readable: .*\n\n?`)

// demo runs the real program, as an ordinary user where that is possible.
func demo(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	program, err := exec.LookPath("natlens") // TestMain put it there
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", append([]string{"demo"}, args...)...)
	cmd.Args[0] = program
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "COLUMNS=80", "LC_ALL=C.UTF-8")
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinaryUser, Gid: ordinaryUser}}
	}
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	_ = cmd.Run()
	return elsewheres.ReplaceAllString(out.String(), ""), messages.String(), cmd.ProcessState.ExitCode()
}

// attempts is how often a story is played until it is told as it should be: on a
// machine that is busy otherwise a packet may be sent again.
const attempts = 4

// TestDemoShowsWhatIsRecorded plays every scenario and compares what is shown. With
// -update it records instead what is not the same any more.
func TestDemoShowsWhatIsRecorded(t *testing.T) {
	for _, s := range lab.Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			recorded, _ := os.ReadFile(goldenDemo(s.Name)) // none yet is nothing recorded
			var got string
			for range attempts {
				stdout, stderr, status := demo(t, s.Name)
				if status == statusNotPermitted {
					t.Skipf("needs user namespaces for ordinary users: %s", stderr)
				}
				if status != statusDone {
					t.Fatalf("status %d:\n%s%s", status, stdout, stderr)
				}
				if got = stdout; comparable(got) == comparable(string(recorded)) {
					break
				}
			}
			checkWidth(t, got)
			diff := cmp.Diff(strings.Split(comparable(string(recorded)), "\n"), strings.Split(comparable(got), "\n"))
			switch {
			case diff == "":
			case *update:
				if err := os.WriteFile(goldenDemo(s.Name), []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("natlens demo %s (-recorded +shown; scripts/lessons records anew):\n%s", s.Name, diff)
			}
		})
	}
}

func checkWidth(t *testing.T, output string) {
	t.Helper()
	for line := range strings.Lines(output) {
		if n := text.Columns(strings.TrimSuffix(line, "\n")); n > text.DefaultWidth {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestListNamesAScenarioALine(t *testing.T) {
	stdout, _, status := demo(t, "--list")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if status != statusDone || len(lines) != 1+len(lab.Scenarios()) {
		t.Fatalf("status %d, %d lines for %d scenarios:\n%s", status, len(lines), len(lab.Scenarios()), stdout)
	}
	checkWidth(t, stdout)
	for i, s := range lab.Scenarios() {
		if fields := strings.Fields(lines[i+1]); fields[0] != s.Name {
			t.Errorf("line %d is about %s, want %s", i+1, fields[0], s.Name)
		}
	}
}

// TestLessonsFollowTheScenarios wants the pages in the order of demo --list.
func TestLessonsFollowTheScenarios(t *testing.T) {
	for i, s := range lab.Scenarios() {
		page := filepath.Join(lessonsFolder, fmt.Sprintf("%02d-%s.md", i+1, s.Name))
		if _, err := os.Stat(page); err != nil {
			t.Error(err)
		}
	}
}
