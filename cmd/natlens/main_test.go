package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"natlens/internal/view/text"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"natlens": main, pluginProgram: main})
}

// TestScripts runs the real program. Two commands are added to testscript's:
// status, which runs a program and wants an exact exit status; and columns,
// which fails if a line of the last standard output is wider than 80 columns;
// and one condition, root.
//
// $CAPTURES is a folder of capture files.
func TestScripts(t *testing.T) {
	captures, err := filepath.Abs(filepath.Join("testdata", "captures"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("CAPTURES", captures)
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("no condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":  scriptStatus,
			"columns": scriptColumns,
		},
	})
}

func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N program [args...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if want := args[0]; strconv.Itoa(got) != want {
		ts.Fatalf("exit status %d, want %s", got, want)
	}
}

func scriptColumns(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: columns")
	}
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		line = strings.TrimSuffix(line, "\n")
		if n := text.Columns(line); n > text.DefaultWidth {
			ts.Fatalf("%d columns, want at most %d: %s", n, text.DefaultWidth, line)
		}
		if strings.TrimRight(line, " ") != line {
			ts.Fatalf("spaces at the end of the line: %q", line)
		}
	}
}

// TestHelpFits holds every command's help to 80 columns, whoever wrote it.
func TestHelpFits(t *testing.T) {
	root := newRootCommand(&app{})
	for _, cmd := range root.Commands() {
		var b bytes.Buffer
		cmd.SetOut(&b)
		cmd.InitDefaultHelpFlag()
		if err := cmd.Help(); err != nil {
			t.Errorf("%s: %v", cmd.Name(), err)
		}
		for line := range strings.Lines(b.String()) {
			if n := text.Columns(strings.TrimSuffix(line, "\n")); n > text.DefaultWidth {
				t.Errorf("help of %s is %d columns wide: %s", cmd.Name(), n, line)
			}
		}
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s says %q; want a few words without a full stop", cmd.Name(), cmd.Short)
		}
		if cmd.RunE == nil || cmd.Run != nil {
			t.Errorf("%s has no RunE: its failures would have no exit status", cmd.Name())
		}
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestOutputRemembersItsFirstError(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error
		want   error
		closes int
	}{
		{"nobody reads", &os.PathError{Op: "write", Err: syscall.EPIPE}, errOutputClosed, 1},
		{"full disk", syscall.ENOSPC, syscall.ENOSPC, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			closes := 0
			o := &output{w: failingWriter{test.err}, closed: func() { closes++ }}
			for range 2 {
				if _, err := io.WriteString(o, "x"); !errors.Is(err, test.want) {
					t.Errorf("write: %v, want %v", err, test.want)
				}
			}
			if closes != test.closes || !errors.Is(o.err, test.want) {
				t.Errorf("closed %d times with %v, want %d with %v", closes, o.err, test.closes, test.want)
			}
		})
	}
}

// TestClosedPipe gives the program a standard output that nobody reads, as
// natlens … | head does.
func TestClosedPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	program, err := exec.LookPath("natlens")
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(program, "help")
	cmd.Stdout = w
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("natlens help into a closed pipe: %v, want status 0", err)
	}
	if stderr.Len() > 0 {
		t.Errorf("it said %q, want silence", &stderr)
	}
}
