package engine

import (
	"debug/elf"
	_ "embed"
	"os"
	"os/exec"
	"strings"
)

// packages is a line for each Debian package: its name and a program that
// shows that it is there. Scripts read the same file.
//
//go:embed packages.txt
var packages string

// missing says what keeps an engine from running here, or nothing.
func missing() string {
	if os.Geteuid() != 0 {
		return "root"
	}
	var names []string
	for line := range strings.Lines(packages) {
		name, program, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || name == "#" {
			continue
		}
		path, err := exec.LookPath(program)
		if err != nil || program == "busybox" && !static(path) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		return "Debian packages " + strings.Join(names, ", ")
	}
	// dockerd does not start without. systemd mounts them; so does the package
	// cgroupfs-mount where there is no systemd.
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || !strings.Contains(string(mounts), " - cgroup") {
		return "control groups mounted on /sys/fs/cgroup"
	}
	return ""
}

// static reports whether a program needs no loader. Debian's package busybox
// has the same program as busybox-static, but it does not run in an empty
// image.
func static(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}
