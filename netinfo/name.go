package netinfo

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A candidate name and what it rests on, best kind first.
type nameSource struct {
	name, from string
	rank       int
}

// nameNamespaces gives every namespace a name of its own. Where two want the
// same, the better source wins, then the one that had it before, then the
// lower inode; the other gets a number appended.
func nameNamespaces(t *Topology, f *hostFacts) {
	type wish struct {
		n *Namespace
		nameSource
		newness int // 0 had just this name, 1 had it with a number, 2 neither
	}
	wishes := make([]wish, 0, len(t.Namespaces))
	for _, nf := range f.namespaces {
		n := t.Namespace(nf.id)
		w := wish{n: n, nameSource: sourceOf(t, n, nf)}
		switch old := f.names[n.ID]; {
		case old == w.name:
		case strings.HasPrefix(old, w.name+"-"):
			w.newness = 1
		default:
			w.newness = 2
		}
		wishes = append(wishes, w)
	}
	slices.SortFunc(wishes, func(a, b wish) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.name, b.name),
			cmp.Compare(a.newness, b.newness), cmp.Compare(a.n.ID, b.n.ID))
	})
	taken := map[string]bool{}
	for _, w := range wishes {
		name := w.name
		// The number a namespace had stays its own if it is free.
		if old := f.names[w.n.ID]; taken[name] && strings.HasPrefix(old, name+"-") && !taken[old] {
			name = old
		}
		for i := 2; taken[name]; i++ {
			name = w.name + "-" + strconv.Itoa(i)
		}
		taken[name] = true
		w.n.Name, w.n.NameFrom = name, w.from
	}
}

// randomName is what Podman and containerd call their mounts in the folder of
// ip netns. It says nothing to people.
var randomName = regexp.MustCompile(`^(netns|cni)-[0-9a-f]{8}-[0-9a-f-]{27}$`)

func sourceOf(t *Topology, n *Namespace, nf *namespaceFacts) nameSource {
	if n.ID == t.Self {
		return nameSource{"host", "self", 0}
	}
	for _, c := range n.Containers {
		if c.Mode != "host" {
			return nameSource{c.Name, "container", 1}
		}
	}
	for _, m := range nf.mounts {
		if dir, base := path.Split(m); (dir == "/run/netns/" || dir == "/var/run/netns/") && !randomName.MatchString(base) {
			return nameSource{base, "mount", 2}
		}
	}
	if name := cgroupName(nf.cgroup); name != "" {
		return nameSource{name, "cgroup", 3}
	}
	if nf.command != "" {
		return nameSource{nf.command, "command", 4}
	}
	for _, m := range nf.mounts {
		if base := path.Base(m); base != "net" && base != "." && base != "/" {
			return nameSource{base, "mount", 5}
		}
	}
	return nameSource{n.ID.String(), "inode", 6}
}

// containerID is what engines put into the names of cgroups: 64 hexadecimal
// digits, bare or with a prefix and ".scope".
var containerID = regexp.MustCompile(`(?:^|[-/])([0-9a-f]{64})(?:[./]|$)`)

// cgroupContainer returns the id of the container that a process belongs to,
// from the text of its /proc/PID/cgroup (cgroups(7)); empty if it is in none.
// Of nested containers the innermost counts: the process is in that one.
func cgroupContainer(text string) string {
	for line := range strings.Lines(text) {
		if i := strings.LastIndexByte(line, ':'); i >= 0 {
			// Matches may share a slash, so search from the end by hand.
			parts := strings.Split(strings.TrimSpace(line[i+1:]), "/")
			for _, part := range slices.Backward(parts) {
				if m := containerID.FindStringSubmatch(part); m != nil {
					return m[1]
				}
			}
		}
	}
	return ""
}

// enginePrefixes are what engines put before an id in a cgroup's name.
var enginePrefixes = []string{"docker", "libpod", "cri-containerd", "crio"}

// cgroupName makes a name of a process's cgroups: the container's short id
// with its engine, a system container's own name, a service.
func cgroupName(text string) string {
	var service string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 {
			continue
		}
		elements := strings.Split(strings.Trim(parts[2], "/"), "/")
		for i, element := range slices.Backward(elements) {
			if m := containerID.FindStringSubmatch(element); m != nil {
				return engineOf(element, elements[:i]) + m[1][:12]
			}
			for _, prefix := range []string{"lxc.payload.", "machine-"} {
				if name, ok := strings.CutPrefix(element, prefix); ok && name != "" {
					return unescapeUnit(strings.TrimSuffix(strings.TrimSuffix(name, ".scope"), ".service"))
				}
			}
			if i > 0 && elements[i-1] == "lxc" {
				return element
			}
			if name, ok := strings.CutSuffix(element, ".service"); ok && service == "" && !strings.HasPrefix(element, "user@") {
				service = unescapeUnit(name)
			}
		}
	}
	return service
}

func engineOf(element string, parents []string) string {
	for _, prefix := range enginePrefixes {
		if strings.HasPrefix(element, prefix+"-") {
			return prefix + "-"
		}
		if len(parents) > 0 && parents[len(parents)-1] == prefix {
			return prefix + "-"
		}
	}
	for _, p := range parents {
		if strings.HasPrefix(p, "kubepods") {
			return "kubepods-"
		}
	}
	return "container-"
}

// unescapeUnit undoes systemd's escapes (systemd-escape(1)): \x2d is a dash.
func unescapeUnit(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.HasPrefix(s[i:], `\x`) && i+4 <= len(s) {
			if v, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
