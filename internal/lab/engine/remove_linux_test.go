package engine

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// keepVariable makes the test binary a run that starts an engine, "docker" or
// "podman", with a container and waits to be killed.
const keepVariable = "ENGINE_TEST_KEEP"

func keep() {
	d, err := newDaemon()
	if err == nil && os.Getenv(keepVariable) == "podman" {
		d.podman = true
		err = d.begin(d.startPodman)
	} else if err == nil {
		d, err = start(nil)
	}
	var id string
	if err == nil {
		id, err = d.docker(nil, "run", "-d", "box")
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(id)
	select {}
}

func TestStopLeavesNothingBehind(t *testing.T) {
	before := settled(t)
	var ids []string
	t.Run("engine", func(t *testing.T) {
		e := Start(t)
		e.Docker("network", "create", "n")
		for _, args := range [][]string{
			{"--network", "n", "-p", "8000:80", "box", "httpd", "-f"},
			{"--network", "host", "box"},
			{"--network", "none", "box"},
		} {
			ids = append(ids, e.Docker(append([]string{"run", "-d"}, args...)...))
		}
	})
	compare(t, before, ids)
}

func TestKilledRunIsSweptByTheNext(t *testing.T) {
	for _, kind := range []string{"docker", "podman"} {
		t.Run(kind, func(t *testing.T) {
			before := settled(t)
			id := startAndKill(t, kind)
			if err := sweep(); err != nil {
				t.Fatal(err)
			}
			compare(t, before, []string{id})
		})
	}
}

// startAndKill runs an engine in a process that is killed, and returns the id
// of the container that ran there.
func startAndKill(t *testing.T, kind string) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), keepVariable+"="+kind)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if e := cmd.Process.Kill(); e != nil {
		t.Fatal(e)
	}
	cmd.Wait()
	id := strings.TrimSpace(line)
	if err != nil || len(id) != 64 {
		t.Fatalf("engine to be killed: %q, %v", line, err)
	}
	return id
}

func TestSweepSparesTheLiving(t *testing.T) {
	e := Shared(t)
	if err := sweep(); err != nil {
		t.Fatal(err)
	}
	e.Docker("version")
}

func TestLockTellsTheLivingFromTheDead(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "engine")
	first, err := makeLocked(folder)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := lockFolder(folder); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("lock of a locked folder: %v, %v; want EWOULDBLOCK", second, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	third, err := lockFolder(folder)
	if err != nil {
		t.Fatalf("lock of a folder whose owner is gone: %v", err)
	}
	third.Close()
}

// snapshot is what an engine of this process, or of one that died, could leave
// on the machine.
type snapshot struct{ Namespaces, Mounts, Folders, Programs, Groups []string }

// settled is a snapshot before which all that was dead has been removed.
func settled(t *testing.T) snapshot {
	t.Helper()
	need(t)
	if err := sweep(); err != nil {
		t.Fatal(err)
	}
	return takeSnapshot(t, nil)
}

// compare fails the test unless the machine soon is as it was before. It looks
// more than once since another run may be sweeping.
func compare(t *testing.T, before snapshot, containers []string) {
	t.Helper()
	var d string
	for deadline := time.Now().Add(stopTimeout); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if d = cmp.Diff(before, takeSnapshot(t, containers)); d == "" {
			return
		}
	}
	t.Errorf("something was left behind (-before +after):\n%s", d)
}

func takeSnapshot(t *testing.T, containers []string) snapshot {
	t.Helper()
	glob := func(pattern string) []string {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(found, notOurs)
	}
	var s snapshot
	s.Namespaces = glob("/run/netns/" + namePrefix + "*")
	s.Folders = glob(filepath.Join(os.TempDir(), namePrefix+"*"))
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	s.Mounts = slices.DeleteFunc(strings.Split(string(mounts), "\n"), notOurs)
	pids, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		line, err := os.ReadFile(pid + "/cmdline")
		ofContainer := slices.ContainsFunc(containers, func(id string) bool { return strings.Contains(string(line), id) })
		if err == nil && (ofContainer || !notOurs(string(line))) {
			s.Programs = append(s.Programs, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	slices.Sort(s.Programs)
	for _, id := range containers {
		for _, pattern := range []string{"*/*", "*/*/*"} {
			groups, err := filepath.Glob("/sys/fs/cgroup/" + pattern + id + "*")
			if err != nil {
				t.Fatal(err)
			}
			s.Groups = append(s.Groups, groups...)
		}
	}
	return s
}

// notOurs reports whether a name or line is about no engine at all or about
// one of another process that lives: packages are tested side by side.
func notOurs(s string) bool {
	_, rest, found := strings.Cut(s, namePrefix)
	if !found {
		return true
	}
	digits, _, _ := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(digits)
	return err != nil || pid != os.Getpid() && syscall.Kill(pid, 0) == nil
}

// The group of a process that was killed is in use until the kernel has done away with
// it; here that takes a moment.
func TestControlGroupOfTheDyingIsRemoved(t *testing.T) {
	need(t)
	id := "natlens-test-" + strconv.Itoa(os.Getpid())
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
		root = filepath.Join(root, "pids")
	}
	parent := filepath.Join(root, "docker")
	if err := os.Mkdir(parent, 0o755); err == nil {
		t.Cleanup(func() { _ = os.Remove(parent) }) // if nobody else has come to use it
	} else if !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	group := filepath.Join(parent, id)
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(group) })
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, startedFile), []byte(id+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer stdin.Close()
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { stdin.Close() })
	removeControlGroups(folder)
	if _, err := os.Stat(group); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("group of a process that has ended since: %v", err)
	}
}
