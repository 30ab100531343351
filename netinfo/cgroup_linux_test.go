package netinfo

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestNamespacesWithoutAnEngine runs processes in control groups as containerd, LXC
// and systemd's machines name them, each in a network namespace of its own: nobody is
// there to ask.
func TestNamespacesWithoutAnEngine(t *testing.T) {
	needRoot(t)
	id := fmt.Sprintf("%08x%s", os.Getpid(), strings.Repeat("0a", 28))
	mine := fmt.Sprintf("natlens-%d", os.Getpid())
	for group, want := range map[string]string{
		"natlens-k8s/kubepods/pod1/" + id:                                               "kubepods-" + id[:12],
		"natlens-default/" + id:                                                         "container-" + id[:12],
		"natlens-cri/cri-containerd-" + id + ".scope":                                   "cri-containerd-" + id[:12],
		"lxc.payload." + mine + "/init.scope":                                           mine,
		"natlens-machines/machine-" + strings.ReplaceAll(mine, "-", `\x2d`) + "m.scope": mine + "m",
	} {
		pid := inControlGroup(t, group)
		top, err := Scan(t.Context(), Options{NoEngine: true})
		if err != nil {
			t.Fatal(err)
		}
		target, err := os.Readlink(processPath(pid))
		if err != nil {
			t.Fatal(err)
		}
		key, _ := parseNamespace(target)
		if n := top.Namespace(key); n == nil || n.Name != want || n.NameFrom != "cgroup" {
			t.Errorf("%s: %+v, want the name %s", group, n, want)
		}
	}
}

// inControlGroup runs a process with a network namespace of its own in a control
// group, which is removed with it.
func inControlGroup(t *testing.T, group string) int {
	t.Helper()
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/cgroup.procs"); err != nil {
		root += "/pids" // version 1
	}
	folder := filepath.Join(root, group)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Skipf("needs to make control groups: %v", err)
	}
	t.Cleanup(func() {
		for ; len(folder) > len(root); folder = filepath.Dir(folder) {
			_ = os.Remove(folder) // other groups may be in it
		}
	})
	c := exec.Command("sleep", "1000")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // says that it was killed
	})
	if err := os.WriteFile(filepath.Join(folder, "cgroup.procs"), fmt.Append(nil, c.Process.Pid), 0); err != nil {
		t.Skipf("needs to move a process to a control group: %v", err)
	}
	return c.Process.Pid
}
