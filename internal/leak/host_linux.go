package leak

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/nftables"
)

// CheckHost makes the test fail if, when it ends, there are links or nf_tables
// tables in this process's network namespace, or mounts, that were not there
// when CheckHost was called. Tables are left out where the process may not list
// them. On a host where others make links meanwhile, call it inside a namespace
// that belongs to the test.
func CheckHost(t testing.TB) {
	t.Helper()
	compareAtEnd(t, host)
}

func host() (inventory, error) {
	all := inventory{}
	for _, take := range []func() (inventory, error){links, tables, mounts} {
		some, err := take()
		if err != nil {
			return nil, err
		}
		maps.Copy(all, some)
	}
	return all, nil
}

func links() (inventory, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	found := inventory{}
	for _, l := range list {
		line := fmt.Sprintf("link %d: %s", l.Index, l.Name)
		found[line] = line
	}
	return found, nil
}

func tables() (inventory, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nf_tables: %w", err)
	}
	list, err := conn.ListTables()
	if errors.Is(err, os.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	found := inventory{}
	for _, table := range list {
		line := fmt.Sprintf("table %s of family %d", table.Name, table.Family)
		found[line] = line
	}
	return found, nil
}

func mounts() (inventory, error) {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return mountsIn(string(content)), nil
}

func mountsIn(mountinfo string) inventory {
	found := inventory{}
	for line := range strings.Lines(mountinfo) {
		// proc_pid_mountinfo(5): id, parent, device, root, mount point. What came from
		// the mount namespace that this one follows was mounted there, by anybody.
		if f := strings.Fields(line); len(f) > 4 && !strings.Contains(line, " master:") {
			found[f[0]+" "+f[4]] = fmt.Sprintf("mount %s on %s", f[3], f[4])
		}
	}
	return found
}

// marker is the environment variable that Mark gives to programs.
const marker = "NATLENS_LEAK_MARKER"

// Mark makes the test fail if, when it ends, a process lives that descends from
// cmd, however it was orphaned. It does so by an environment variable that
// children inherit, so it must be called before cmd starts and sees only
// descendants that keep their environment.
func Mark(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	mark := marker + "=" + rand.Text()
	cmd.Env = append(cmd.Environ(), mark)
	compareAtEnd(t, func() (inventory, error) { return processesWith(mark) })
}

// processesWith lists the processes that have the variable in their environment,
// as far as this process may read it.
func processesWith(mark string) (inventory, error) {
	found := inventory{}
	err := eachProcess(func(pid string) {
		environ, err := os.ReadFile(filepath.Join("/proc", pid, "environ"))
		if err != nil {
			return // it ended, or belongs to somebody else
		}
		for variable := range strings.SplitSeq(string(environ), "\x00") {
			if variable == mark {
				command, _ := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
				found[pid] = fmt.Sprintf("process %s: %s", pid, strings.ReplaceAll(string(command), "\x00", " "))
			}
		}
	})
	return found, err
}
