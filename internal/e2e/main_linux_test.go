// Package e2e holds the built program against a real Docker Engine, with the
// field's own tools as the oracle.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"natlens/internal/lab/engine"
)

// natlens is the built program.
var natlens string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "natlens-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	natlens = filepath.Join(folder, "natlens")
	build := exec.Command("go", "build", "-o", natlens, "natlens/cmd/natlens")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s%v\n", out, err)
		return 1
	}
	return engine.Main(m)
}
