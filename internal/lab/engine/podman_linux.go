package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// StartPodman makes a host on which Podman, with netavark and aardvark-dns as
// Debian has them, takes the place of the Docker Engine, and removes it at the
// test's end. Docker, Run and Network run the program podman there. Its folders
// (/var/lib/containers, /run/containers, …) are where they are on any host, but in a
// mount namespace of its own, which Command enters, too.
//
// No service runs: nobody can be asked what runs there until Serve is called.
func StartPodman(tb testing.TB) *Engine {
	tb.Helper()
	need(tb)
	d, err := newDaemon()
	if err == nil {
		d.podman = true
		err = d.begin(d.startPodman)
	}
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

// mountsScript makes the mount namespace of a Podman and keeps it: private
// folders, the names of both namespaces, and no socket of the machine's engine. It
// writes "ready" when all is there.
const mountsScript = `set -e
exec 3</run/netns/$1 4</run/netns/$2
for folder in /var/lib/containers /run/containers /run/libpod /run/podman /run/netns /etc/containers/networks; do
	mkdir -p $folder
	mount -t tmpfs natlens $folder
done
touch /run/netns/$1 /run/netns/$2
mount --bind /proc/self/fd/3 /run/netns/$1
mount --bind /proc/self/fd/4 /run/netns/$2
for socket in /run/docker.sock; do
	[ ! -S $socket ] || mount --bind /dev/null $socket
done
exec 3<&- 4<&-
echo ready
exec sleep 1000000000
`

func (d *daemon) startPodman() error {
	if err := d.holdMounts(); err != nil {
		return err
	}
	return d.importImage()
}

// holdMounts starts the process that keeps the mount namespace.
func (d *daemon) holdMounts() error {
	cmd := inNamespace(context.Background(), namespacePath(d.name+hostSuffix), "unshare", "--mount", "--propagation", "slave",
		"sh", "-c", mountsScript, "sh", d.name+hostSuffix, d.name+internetSuffix)
	words, err := os.Create(d.path("log"))
	if err != nil {
		return err
	}
	defer words.Close()
	cmd.Stdout, cmd.Stderr = words, words
	if err := d.launch(cmd); err != nil {
		return err
	}
	for deadline := time.Now().Add(readyTimeout); time.Now().Before(deadline); {
		select {
		case <-d.ended:
			return fmt.Errorf("mounts of podman: %s", d.lastWords())
		case <-time.After(20 * time.Millisecond):
		}
		if strings.Contains(d.lastWords(), "ready") {
			return nil
		}
	}
	return fmt.Errorf("mounts of podman are not there after %v: %s", readyTimeout, d.lastWords())
}

// podmanOptions keep Podman from what a machine has or lacks: systemd, which would
// put containers into slices of the machine's, its journal, and CNI, which older
// hosts have beside netavark.
var podmanOptions = []string{"--cgroup-manager", "cgroupfs", "--events-backend", "file", "--network-backend", "netavark"}

// podmanCommand prepares the program podman on its host.
func (d *daemon) podmanCommand(ctx context.Context, args []string) *exec.Cmd {
	if len(args) > 0 {
		switch args[0] {
		case "run", "create":
			// Podman asks for more than a root without CAP_SYS_RESOURCE may give.
			args = append([]string{args[0], "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"}, args[1:]...)
		case "rm":
			args = append([]string{args[0], "--time", "0"}, args[1:]...)
		}
	}
	return d.inHost(ctx, "podman", append(podmanOptions, args...)...)
}

// startedFile lists the containers that Podman was told to run: its own folders
// vanish with the mounts.
const startedFile = "started"

// note keeps the id that podman run printed.
func (d *daemon) note(id string) error {
	f, err := os.OpenFile(d.path(startedFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, id)
	return errors.Join(err, f.Close())
}

// inHost prepares a program to run in the host's network namespace, and where its
// folders are the host's own.
func (d *daemon) inHost(ctx context.Context, name string, args ...string) *exec.Cmd {
	return inNamespaces(ctx, namespacePath(d.name+hostSuffix), d.mounts(), name, args...)
}

// mounts is the mount namespace of the host's own; empty where that is the
// machine's.
func (d *daemon) mounts() string {
	if !d.podman || d.process == nil {
		return ""
	}
	return fmt.Sprintf("/proc/%d/ns/mnt", d.process.Pid)
}

// Serve starts Podman's service, which answers Docker's calls at its usual socket,
// until the test ends.
func (e *Engine) Serve() {
	e.tb.Helper()
	const socket = "/run/podman/podman.sock"
	cmd := e.podmanCommand(context.Background(), []string{"system", "service", "--time", "0", "unix://" + socket})
	cmd.Env = e.env()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		e.tb.Fatal(err)
	}
	e.tb.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	inside := filepath.Join("/proc", strconv.Itoa(e.process.Pid), "root", socket)
	for deadline := time.Now().Add(readyTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if info, err := os.Stat(inside); err == nil && info.Mode()&os.ModeSocket != 0 {
			return
		}
	}
	e.tb.Fatalf("podman's service has no socket after %v", readyTimeout)
}

// shutPodman removes what runs, and with it Podman's own processes.
func (d *daemon) shutPodman() error {
	_, err := d.docker(nil, "rm", "--force", "--all")
	if e := d.process.Kill(); e != nil && !errors.Is(e, os.ErrProcessDone) {
		err = errors.Join(err, e)
	}
	<-d.ended
	return err
}
