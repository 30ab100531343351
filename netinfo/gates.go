package netinfo

import (
	"bytes"
	"fmt"
	"path"
	"strconv"
	"strings"

	"natlens/netinfo/netns"
)

// gate is a running slirp4netns or pasta: a program that stands between the host and
// a namespace which somebody made without root. It takes packets from a tap there and
// makes connections of its own for them, as its user; nothing of the kernel leads from
// the one to the other.
type gate struct {
	pid       int
	uid       uint32
	program   string
	link      string // in the namespace; empty when the command line does not tell
	namespace netns.ID
}

// gateTarget is what a command line says of the namespace: a process in it, or where
// it is bound.
type gateTarget struct {
	pid  int
	path string
}

// parseGate reads a command line as /proc/PID/cmdline has it (slirp4netns(1),
// pasta(1)); ok is false when it is of another program, or names no namespace.
func parseGate(cmdline []byte) (g gate, at gateTarget, ok bool) {
	words := strings.Split(string(bytes.TrimRight(cmdline, "\x00")), "\x00")
	target := ""
	switch name, _, _ := strings.Cut(path.Base(words[0]), "."); name {
	case "slirp4netns": // [OPTION]... PID|PATH [TAPNAME]
		if n := len(words); n > 2 {
			target, g.link = words[n-2], words[n-1]
		}
		g.program = name
	case "pasta": // --netns PATH, or [OPTION]... PID; pasta.avx2 is the same for some processors
		for i := 1; i < len(words); i++ {
			if value, joined := strings.CutPrefix(words[i], "--netns="); joined {
				target = value
			} else if words[i] == "--netns" && i+1 < len(words) {
				target = words[i+1]
			}
		}
		if target == "" && len(words) > 1 {
			target = words[len(words)-1]
		}
		g.program = name
	}
	if pid, err := strconv.Atoi(target); err == nil && pid > 0 {
		at.pid = pid
	} else if path.IsAbs(target) {
		at.path = target
	}
	return g, at, at != gateTarget{}
}

// tellGates says what can't be seen from here of namespaces behind such a program,
// and how to look inside.
func tellGates(t *Topology, gates []gate) {
	for _, g := range gates {
		n := t.Namespace(g.namespace)
		if n == nil || n.ID == t.Self {
			continue
		}
		by := ""
		if g.link != "" {
			by = " by " + g.link
		}
		text := fmt.Sprintf("%s, process %d of user %d, carries what %s sends%s: on this host those are connections of that program, "+
			"and no link and no NAT rule joins the two sides", g.program, g.pid, g.uid, n.Name, by)
		switch {
		case len(n.PIDs) > 0:
			text += fmt.Sprintf("; to watch the inside: sudo nsenter -t %d -n natlens watch", n.PIDs[0])
		case len(n.Paths) > 0:
			text += fmt.Sprintf("; to watch the inside: sudo nsenter --net=%s natlens watch", n.Paths[0])
		}
		t.Notes = append(t.Notes, Note{About: "rootless", Text: text})
	}
}
