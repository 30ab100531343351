package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestReport(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error
		output error // what standard output met
		status int
		says   string // on standard error; empty for silence
	}{
		{"done", nil, nil, statusDone, ""},
		{"failed", errors.New("open ring eth0: no buffers"), nil, statusFailed, "natlens: open ring eth0: no buffers\n"},
		{"usage", usagef("no container %q", "x"), nil, statusUsage, "natlens: no container \"x\"\n  see: natlens help sub\n"},
		{"usage inside", fmt.Errorf("filter: %w", usagef("x")), nil, statusUsage, "natlens: filter: x\n  see: natlens help sub\n"},
		{"not permitted", &notPermitted{errors.New("no"), []string{"Run", "  this"}}, nil, statusNotPermitted, "natlens: no\nRun\n  this\n"},
		{"another system", fmt.Errorf("scan host: this needs Linux: %w", errors.ErrUnsupported), nil, statusNotPermitted,
			"natlens: scan host: this needs Linux: unsupported operation\n"},
		{"the kernel says no", fmt.Errorf("open ring: %w", os.ErrPermission), nil, statusNotPermitted, "natlens: open ring: permission denied\n"},
		{"all said", exitStatus(statusNotPermitted), nil, statusNotPermitted, ""},
		{"interrupted", fmt.Errorf("scan host: %w", context.Canceled), nil, statusFailed, "natlens: interrupted\n"},
		{"a probe interrupted", &probeFailed{context.Canceled}, nil, statusProbeFailed, "natlens: interrupted\n"},
		{"closed", errOutputClosed, errOutputClosed, statusDone, ""},
		{"closed, then stopped", fmt.Errorf("watch: %w", context.Canceled), errOutputClosed, statusDone, ""},
		{"closed, and failed", errors.New("undo failed"), errOutputClosed, statusFailed, "natlens: undo failed\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var said strings.Builder
			root, sub := &cobra.Command{Use: "natlens"}, &cobra.Command{Use: "sub"}
			root.AddCommand(sub)
			a := &app{stdout: &output{err: test.output}, stderr: &said, running: true}
			if status := a.report(sub, test.err); status != test.status || said.String() != test.says {
				t.Errorf("status %d, said %q; want %d, %q", status, &said, test.status, test.says)
			}
		})
	}
}
