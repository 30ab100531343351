package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

const (
	// namePrefix begins the names of everything an engine needs on the
	// machine: its folder and its namespaces.
	namePrefix     = "natlens-engine-"
	hostSuffix     = "-host"
	internetSuffix = "-inet"

	readyTimeout = time.Minute
	stopTimeout  = 30 * time.Second
)

// daemon is one engine and what it needs.
type daemon struct {
	name           string // namePrefix, our process, a number
	folder         string
	lock           *os.File // held as long as this process takes care of the folder
	host, internet *netns.Handle
	podman         bool          // instead of the Docker Engine
	process        *os.Process   // dockerd, or what keeps Podman's mounts
	ended          chan struct{} // closed when the process is gone
}

var started atomic.Int32

// start makes an engine. On error nothing of it is left.
func start(args []string) (*daemon, error) {
	d, err := newDaemon()
	if err == nil {
		err = d.begin(func() error { return d.startDocker(args) })
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// newDaemon names a new engine, of which nothing is there yet.
func newDaemon() (*daemon, error) {
	if err := sweep(); err != nil {
		return nil, fmt.Errorf("remove engines of earlier runs: %w", err)
	}
	name := fmt.Sprintf("%s%d-%d", namePrefix, os.Getpid(), started.Add(1))
	return &daemon{name: name, folder: filepath.Join(os.TempDir(), name)}, nil
}

// begin makes the folder and the network, and then all else.
func (d *daemon) begin(rest func() error) error {
	var err error
	if d.lock, err = makeLocked(d.folder); err == nil {
		if err = d.makeNetwork(); err == nil {
			err = rest()
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start engine: %w", err), d.stop())
	}
	return nil
}

func (d *daemon) startDocker(args []string) error {
	// The machine's own settings must not reach in.
	if err := os.WriteFile(d.path("daemon.json"), []byte("{}"), 0o600); err != nil {
		return err
	}
	if err := d.launchDocker(args); err != nil {
		return err
	}
	if err := d.awaitReady(); err != nil {
		return err
	}
	return d.importImage()
}

func (d *daemon) path(name string) string { return filepath.Join(d.folder, name) }

// env leads docker's programs to this engine.
func (d *daemon) env() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "DOCKER_") && !strings.HasPrefix(v, "CONTAINER_HOST=") {
			env = append(env, v)
		}
	}
	if d.podman {
		return env
	}
	return append(env, "DOCKER_HOST=unix://"+d.path("docker.sock"), "DOCKER_CONFIG="+d.path("client"))
}

// launchDocker starts dockerd.
func (d *daemon) launchDocker(args []string) error {
	log, err := os.Create(d.path("log"))
	if err != nil {
		return err
	}
	defer log.Close()
	own := []string{
		"--data-root", d.path("data"), "--exec-root", d.path("exec"), "--pidfile", d.path("docker.pid"),
		"--host", "unix://" + d.path("docker.sock"), "--config-file", d.path("daemon.json"), "--shutdown-timeout", "1",
	}
	cmd := inNamespace(context.Background(), namespacePath(d.name+hostSuffix), "dockerd", append(own, args...)...)
	cmd.Env = d.env()
	cmd.Stdout, cmd.Stderr = log, log
	return d.launch(cmd)
}

// launch starts the process that the host stands on: dockerd, or the one that keeps
// the mounts.
func (d *daemon) launch(cmd *exec.Cmd) error {
	// Ctrl-C at a test is for the test, which then takes the engine down. A
	// test that is killed takes dockerd along, which stops what it runs.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	d.ended = make(chan struct{})
	begun := make(chan error, 1)
	go func() {
		// The death signal comes when the thread that started it ends.
		runtime.LockOSThread()
		defer close(d.ended)
		err := cmd.Start()
		begun <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in the log
		}
	}()
	if err := <-begun; err != nil {
		return err
	}
	d.process = cmd.Process
	return nil
}

func (d *daemon) awaitReady() error {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", d.path("docker.sock"))
		},
	}}
	for deadline := time.Now().Add(readyTimeout); time.Now().Before(deadline); {
		select {
		case <-d.ended:
			return fmt.Errorf("dockerd ended: %s", d.lastWords())
		case <-time.After(50 * time.Millisecond):
		}
		resp, err := client.Get("http://docker/_ping")
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("dockerd is not ready after %v: %s", readyTimeout, d.lastWords())
}

// lastWords is the end of dockerd's log.
func (d *daemon) lastWords() string {
	log, err := os.ReadFile(d.path("log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// docker runs the docker program, or podman, and returns its standard output.
func (d *daemon) docker(stdin io.Reader, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	var out, words bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker", args...)
	if d.podman {
		cmd = d.podmanCommand(ctx, args)
	}
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = d.env(), stdin, &out, &words
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(words.String()))
	}
	printed := strings.TrimSpace(out.String())
	if d.podman && args[0] == "run" {
		return printed, d.note(printed)
	}
	return printed, nil
}

// stop ends the engine and removes all of it. It works on a half-started one,
// too.
func (d *daemon) stop() error {
	var errs []error
	switch {
	case d.process == nil:
	case d.podman:
		errs = append(errs, d.shutPodman())
	default:
		errs = append(errs, d.shutDown())
	}
	if d.host != nil {
		errs = append(errs, d.host.Close())
	}
	if d.internet != nil {
		errs = append(errs, d.internet.Close())
	}
	errs = append(errs, remove(d.folder))
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop engine: %w", err)
	}
	return nil
}

func (d *daemon) shutDown() error {
	select {
	case <-d.ended:
		return nil
	default:
	}
	// Containers whose first process ignores SIGTERM would be waited for.
	ids, err := d.docker(nil, "ps", "-aq")
	if err == nil && ids != "" {
		_, err = d.docker(nil, append([]string{"rm", "-f", "-v"}, strings.Fields(ids)...)...)
	}
	if e := d.process.Signal(unix.SIGTERM); e != nil && !errors.Is(e, os.ErrProcessDone) {
		err = errors.Join(err, e)
	}
	select {
	case <-d.ended:
	case <-time.After(stopTimeout):
		err = errors.Join(err, errors.New("dockerd does not end"), d.process.Kill())
		<-d.ended
	}
	return err
}
