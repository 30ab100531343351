package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// TestCompletion: a Tab offers what is really here, also to an ordinary user who
// may ask the engine.
func TestCompletion(t *testing.T) {
	e := engine.Shared(t)
	e.Network("tabnet")
	e.Run("--name", "tabby", "--network", "tabnet", "--expose", "8000", "box")
	program := filepath.Join(t.TempDir(), "natlens")
	for _, dir := range []string{filepath.Dir(program), filepath.Dir(filepath.Dir(program))} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyProgram(t, natlens, program)
	socket := forward(t, e.Socket(), filepath.Dir(program))
	user := []string{"--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", program}
	for _, c := range []struct {
		typed string // a blank at the end: a new word
		want  string
		root  string // what only root is offered
	}{
		{"explain tab", "tabby tabnet", "tabby:eth0"},
		{"explain dock", "docker0", ""},
		{"watch --container ta", "tabby", ""},
		{"watch -i do", "docker0", ""},
		{"watch -i tab", "", "tabby:eth0"},
		{"watch tabby and network ta", "tabnet", ""},
		{"watch icmp and container ta", "tabby", ""},
		{"watch not t", "tabby tcp", ""},
		{"probe ta", "tabby", "tabby:eth0"},
		{"probe host ta", "tabby tabby:8000", ""},
	} {
		words := append([]string{"__complete"}, strings.Split(c.typed, " ")...)
		for who, cmd := range map[string][]string{"root": append([]string{program}, words...), "user": append(append([]string{"setpriv"}, user...), words...)} {
			want := strings.Fields(c.want)
			if who == "root" {
				want = append(want, strings.Fields(c.root)...)
			}
			// What a busy machine does not tell in time is not offered: Tab again.
			await(t, 20*time.Second, fmt.Sprintf("%q, which %s is offered who types %q", want, who, c.typed), func() bool {
				run := e.Command(cmd[0], cmd[1:]...)
				run.Env = append(run.Env, "DOCKER_HOST=unix://"+socket)
				out, _, status := finish(t, run)
				same(t, "status", status, 0)
				got := map[string]bool{}
				for line := range strings.Lines(out) {
					name, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
					got[name] = true
				}
				if !strings.Contains(out, ":4\n") {
					t.Errorf("%s types %q: files are offered, too\n%s", who, c.typed, out)
				}
				return !slices.ContainsFunc(want, func(w string) bool { return !got[w] })
			})
		}
	}
}

// forward makes a socket in the folder, which every user may use, that leads to
// another until the test ends. It returns its path.
func forward(t *testing.T, to, folder string) string {
	t.Helper()
	path := filepath.Join(folder, "engine.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); open.Wait() })
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	open.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer from.Close()
				engine, err := net.Dial("unix", to)
				if err != nil {
					return
				}
				defer engine.Close()
				open.Go(func() { _, _ = io.Copy(engine, from); _ = engine.Close() })
				_, _ = io.Copy(from, engine)
			})
		}
	})
	return path
}
