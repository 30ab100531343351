package podman

import (
	"bytes"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// Monitor is a running conmon that Podman started: one stays with each container
// as long as that runs, and its command line says whose it is (conmon(8)).
type Monitor struct {
	PID       int    // of conmon itself
	UID       uint32 // who runs it; 0 unless Podman is rootless
	Container string // 64 hexadecimal digits
	Name      string
	Bundle    string // folder with the container's config.json (OCI runtime specification)
	PIDFile   string // file with the process id of the container's first process
	Backend   string // of networks: "netavark" or "cni"; empty before Podman 4
	Networks  string // folder of network configurations; empty for the default
}

var fullID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ParseMonitor reads a command line as /proc/PID/cmdline has it. ok is false for
// another program, a conmon that other engines started, and one that serves podman
// exec. PID and UID are left to the caller.
func ParseMonitor(cmdline []byte) (m Monitor, ok bool) {
	words := strings.Split(string(bytes.TrimRight(cmdline, "\x00")), "\x00")
	if path.Base(words[0]) != "conmon" {
		return Monitor{}, false
	}
	var instance, command string
	var passed []string // what conmon runs when the container ends: podman with its global options
	for i := 1; i+1 < len(words); i++ {
		field := map[string]*string{
			"-c": &m.Container, "--cid": &m.Container, "-u": &instance, "--cuuid": &instance, "-n": &m.Name, "--name": &m.Name,
			"-b": &m.Bundle, "--bundle": &m.Bundle, "-p": &m.PIDFile, "--container-pidfile": &m.PIDFile, "--exit-command": &command,
		}[words[i]]
		switch {
		case field != nil:
			i++
			*field = words[i]
		case words[i] == "--exit-command-arg":
			i++
			passed = append(passed, words[i])
		case words[i] == "--runtime-arg":
			i++
		}
	}
	for i := 0; i+1 < len(passed); i++ {
		switch passed[i] {
		case "--network-config-dir":
			m.Networks = passed[i+1]
		case "--network-backend":
			m.Backend = passed[i+1]
		}
	}
	ok = fullID.MatchString(m.Container) && instance == m.Container && m.Name != "" && path.Base(command) == "podman"
	return m, ok
}

// store is the folder of Podman's storage that holds containers.json, and ok
// whether the bundle is where Podman puts it.
func (m Monitor) store() (folder string, ok bool) {
	folder, rest := filepath.Dir(filepath.Dir(m.Bundle)), filepath.Base(m.Bundle)
	return folder, rest == "userdata" && filepath.Base(filepath.Dir(m.Bundle)) == m.Container && filepath.IsAbs(folder)
}
