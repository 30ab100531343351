// Package engine runs a real Docker Engine for tests, in a network namespace
// that no packet can leave:
//
//	internet (198.51.100.7, 192.0.2.1) --eth0-- host (192.0.2.10, docker0, veths) -- containers
//
// The engine shares everything else with the machine: its processes, mounts
// and control groups are there to see, as on any Docker host. It has its own
// data, socket and image, "box", which is busybox with all its applets and a
// folder /www to serve.
//
// Engines of test runs that were killed are removed by the next run.
package engine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"natlens/netinfo/netns"
)

// commandTimeout bounds every program that a test waits for.
const commandTimeout = time.Minute

// Engine is a running engine, as one test sees it: what fails, fails that
// test, and what is made through Run and Network ends with it. It may be used
// by several goroutines, those methods excepted that fail a test
// (testing.TB.FailNow).
type Engine struct {
	tb testing.TB
	*daemon
}

// Start starts an engine for one test and stops it at the test's end. The
// arguments are dockerd's, in addition to those that keep it apart. The test is
// skipped without root or the packages in packages.txt.
func Start(tb testing.TB, args ...string) *Engine {
	tb.Helper()
	need(tb)
	d, err := start(args)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := d.stop(); err != nil {
			tb.Error(err)
		}
	})
	return &Engine{tb, d}
}

// shared is the engine of all tests that call Shared.
var shared struct {
	sync.Mutex
	daemon *daemon
	err    error
	main   bool
}

// Main is a whole TestMain: it runs the tests of the package, stops the engine
// that they shared, if any, and returns the exit status for os.Exit.
func Main(m *testing.M) (status int) {
	shared.main = true
	defer func() {
		if shared.daemon == nil {
			return
		}
		if err := shared.daemon.stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}()
	return m.Run()
}

// Shared returns the engine that the tests of a package share, with dockerd's
// defaults. The first call starts it; the package's TestMain must call Main,
// which stops it. The test is skipped without root or the packages in
// packages.txt.
func Shared(tb testing.TB) *Engine {
	tb.Helper()
	need(tb)
	if !shared.main {
		tb.Fatal("this package's TestMain does not call engine.Main")
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.daemon == nil && shared.err == nil {
		shared.daemon, shared.err = start(nil)
	}
	if shared.err != nil {
		tb.Fatal(shared.err)
	}
	return &Engine{tb, shared.daemon}
}

func need(tb testing.TB) {
	tb.Helper()
	if what := missing(); what != "" {
		tb.Skip("needs " + what)
	}
}

// Socket is the path of the engine's socket.
func (e *Engine) Socket() string { return e.path("docker.sock") }

// Env is the environment in which programs find this engine and no other, and
// no settings of the user's.
func (e *Engine) Env() []string { return e.env() }

// Host is the namespace with the engine, docker0 and the uplink. It belongs to
// e.
func (e *Engine) Host() *netns.Handle { return e.host }

// HostPath is where Host is bound.
func (e *Engine) HostPath() string { return namespacePath(e.name + hostSuffix) }

// Internet is the namespace at the other end of the uplink. It belongs to e.
func (e *Engine) Internet() *netns.Handle { return e.internet }

// InternetPath is where Internet is bound.
func (e *Engine) InternetPath() string { return namespacePath(e.name + internetSuffix) }

// Docker runs the docker program with these arguments and returns what it
// printed, without blanks around it. It fails the test when docker fails.
func (e *Engine) Docker(args ...string) string {
	e.tb.Helper()
	out, err := e.docker(nil, args...)
	if err != nil {
		e.tb.Fatal(err)
	}
	return out
}

// Run is docker run -d: it starts a container and returns its id. The
// container is removed when the test ends.
func (e *Engine) Run(args ...string) string {
	e.tb.Helper()
	id := e.Docker(append([]string{"run", "-d"}, args...)...)
	e.tb.Cleanup(func() {
		if _, err := e.docker(nil, "rm", "-f", "-v", id); err != nil && !strings.Contains(strings.ToLower(err.Error()), "no such container") {
			e.tb.Error(err)
		}
	})
	return id
}

// Network is docker network create: it makes a network and returns its id. The
// network is removed when the test ends.
func (e *Engine) Network(args ...string) string {
	e.tb.Helper()
	id := e.Docker(append([]string{"network", "create"}, args...)...)
	e.tb.Cleanup(func() {
		if _, err := e.docker(nil, "network", "rm", id); err != nil && !strings.Contains(err.Error(), "not found") {
			e.tb.Error(err)
		}
	})
	return id
}

// PID is the process of a container as the machine numbers it.
func (e *Engine) PID(container string) int {
	e.tb.Helper()
	pid, err := strconv.Atoi(e.Docker("inspect", "-f", "{{.State.Pid}}", container))
	if err != nil || pid == 0 {
		e.tb.Fatalf("container %s has no process: %v", container, err)
	}
	return pid
}

// Namespace opens a container's network namespace until the test ends.
func (e *Engine) Namespace(container string) *netns.Handle {
	e.tb.Helper()
	ns, err := netns.OfProcess(e.PID(container))
	if err != nil {
		e.tb.Fatal(err)
	}
	e.tb.Cleanup(func() {
		if err := ns.Close(); err != nil {
			e.tb.Error(err)
		}
	})
	return ns
}

// Command prepares a program of the machine to run in the host's network
// namespace, where the engine is the only one it finds.
func (e *Engine) Command(name string, args ...string) *exec.Cmd {
	return e.command(e.HostPath(), name, args)
}

// CommandIn prepares a program of the machine to run in a container's network
// namespace, needing nothing of its image.
func (e *Engine) CommandIn(container, name string, args ...string) *exec.Cmd {
	e.tb.Helper()
	return e.command(fmt.Sprintf("/proc/%d/ns/net", e.PID(container)), name, args)
}

// CommandOutside prepares a program of the machine to run in the internet's
// network namespace.
func (e *Engine) CommandOutside(name string, args ...string) *exec.Cmd {
	return e.command(e.InternetPath(), name, args)
}

// command ends with the test: its process, not what that starts.
func (e *Engine) command(namespace, name string, args []string) *exec.Cmd {
	cmd := inNamespaces(e.tb.Context(), namespace, e.mounts(), name, args...)
	cmd.Env = e.env()
	return cmd
}

// inNamespace enters nothing but the network: ip netns exec would mount /sys
// anew, without the control groups.
func inNamespace(ctx context.Context, namespace, name string, args ...string) *exec.Cmd {
	return inNamespaces(ctx, namespace, "", name, args...)
}

// inNamespaces enters a mount namespace, too, if one is named.
func inNamespaces(ctx context.Context, namespace, mounts, name string, args ...string) *exec.Cmd {
	words := []string{"--net=" + namespace}
	if mounts != "" {
		words = append(words, "--mount="+mounts)
	}
	return exec.CommandContext(ctx, "nsenter", append(append(words, "--", name), args...)...)
}
