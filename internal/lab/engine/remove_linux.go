package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockFolder marks a folder as taken care of. The kernel drops the mark when
// this process ends, however it ends (flock(2)).
func lockFolder(folder string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", folder, err), f.Close())
	}
	return f, nil
}

// makeLocked makes a folder that is locked before it has its name: a sweep in
// another process never meets it without.
func makeLocked(folder string) (*os.File, error) {
	early, err := os.MkdirTemp(filepath.Dir(folder), ".natlens-")
	if err != nil {
		return nil, err
	}
	lock, err := lockFolder(early)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(early))
	}
	if err := os.Rename(early, folder); err != nil {
		return nil, errors.Join(err, lock.Close(), os.RemoveAll(early))
	}
	return lock, nil
}

// sweep removes the engines whose test runs have died.
func sweep() error {
	folders, err := filepath.Glob(filepath.Join(os.TempDir(), namePrefix+"*"))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		lock, err := lockFolder(folder)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			continue // another run's, which lives, or just removes it
		}
		if err != nil {
			return err
		}
		if err := errors.Join(remove(folder), lock.Close()); err != nil {
			return err
		}
	}
	return nil
}

// remove takes away whatever is left of an engine, the folder last, so that a
// remove that was interrupted can be repeated.
func remove(folder string) error {
	name := filepath.Base(folder)
	spaces := []string{namespacePath(name + hostSuffix), namespacePath(name + internetSuffix)}
	binds, err := filepath.Glob(filepath.Join(folder, "exec/netns/*"))
	if err != nil {
		return err
	}
	errs := []error{endProcesses(folder, append(binds, spaces...))}
	errs = append(errs, unmountBelow(folder))
	for _, path := range spaces {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, &fs.PathError{Op: "unmount", Path: path, Err: err})
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	removeControlGroups(folder)
	return errors.Join(append(errs, removeAll(folder))...)
}

// removeAll removes a folder in which the kernel, or a program that is just being
// ended, may still make or take away files.
func removeAll(folder string) error {
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := os.RemoveAll(folder)
		if err == nil || time.Since(start) > stopTimeout || !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
}

// endProcesses ends the programs of the engine that owns the folder and
// everything that runs in its namespaces: containers, proxies, and what tests
// forgot there. An engine that still runs gets the time to end in order.
func endProcesses(folder string, spaces []string) error {
	inodes := make(map[uint64]bool)
	for _, path := range spaces {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && isNamespace(path) {
			inodes[st.Ino] = true
		}
	}
	asked := 0 // the dockerd that was: it gives up all order when asked thrice
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		left, err := processes(folder, inodes)
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Since(start) > stopTimeout {
			return fmt.Errorf("end engine of %s: processes %v remain", folder, left)
		}
		isEngine := func(p process) bool { return p.program == "dockerd" }
		inOrder := slices.ContainsFunc(left, isEngine) && time.Since(start) < stopTimeout/2
		for _, p := range left {
			var signal unix.Signal // none: the engine ends it
			switch {
			case !inOrder || !p.docker():
				signal = unix.SIGKILL
			case isEngine(p) && p.pid != asked:
				signal, asked = unix.SIGTERM, p.pid
			}
			if err := unix.Kill(p.pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("end %s, process %d: %w", p.program, p.pid, err)
			}
		}
	}
}

func isNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

type process struct {
	pid     int
	program string
}

// docker reports whether p is part of the engine, not of what it runs.
func (p process) docker() bool {
	return p.program == "dockerd" || p.program == "docker-proxy" || p.program == "runc" || strings.HasPrefix(p.program, "containerd")
}

// processes finds what belongs to an engine: docker's programs with its folder
// on their command line, all in its namespaces but this process, and Podman's
// containers.
func processes(folder string, spaces map[uint64]bool) ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// A process that ends meanwhile fails to be read and is not ours.
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			continue
		}
		p := process{pid, filepath.Base(exe)}
		var st unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &st) == nil && spaces[st.Ino] || monitored(pid, spaces) {
			found = append(found, p)
			continue
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && p.docker() && bytes.Contains(line, []byte(folder+"/")) {
			found = append(found, p)
		}
	}
	return found, nil
}

// monitored reports whether a process is a container of Podman's: its parent is a
// conmon in one of the namespaces.
func monitored(pid int, spaces map[uint64]bool) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The name in parentheses may hold anything (proc_pid_stat(5)).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 {
		return false
	}
	exe, err := os.Readlink("/proc/" + fields[1] + "/exe")
	var st unix.Stat_t
	return err == nil && filepath.Base(exe) == "conmon" && unix.Stat("/proc/"+fields[1]+"/ns/net", &st) == nil && spaces[st.Ino]
}

// unmountBelow lets go of the folder's mounts: the bind mount of the data,
// root file systems, namespaces. Later mounts may stand on earlier ones.
func unmountBelow(folder string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], folder+"/") {
			points = append(points, f[4])
		}
	}
	for _, point := range slices.Backward(points) {
		// EINVAL: it went with another one.
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return &fs.PathError{Op: "unmount", Path: point, Err: err}
		}
	}
	return nil
}

// removeControlGroups removes those of containers that were killed together
// with their engine; an engine that ends in order does so itself. Groups in
// use stay, as rmdir(2) has it, but a process that was killed may be in one for a while.
func removeControlGroups(folder string) {
	var ids []string
	if containers, err := os.ReadDir(filepath.Join(folder, "data/containers")); err == nil {
		for _, c := range containers {
			ids = append(ids, c.Name())
		}
	}
	if started, err := os.ReadFile(filepath.Join(folder, startedFile)); err == nil {
		ids = append(ids, strings.Fields(string(started))...)
	}
	start := time.Now()
	for _, id := range ids {
		for _, pattern := range []string{"*/docker/%s", "docker/%s", "system.slice/docker-%s.scope", "*/libpod_parent/libpod-%s", "libpod_parent/libpod-%s"} {
			groups, _ := filepath.Glob("/sys/fs/cgroup/" + fmt.Sprintf(pattern, id))
			for _, g := range groups {
				for errors.Is(os.Remove(g), unix.EBUSY) && time.Since(start) < stopTimeout {
					time.Sleep(20 * time.Millisecond)
				}
			}
		}
	}
}
