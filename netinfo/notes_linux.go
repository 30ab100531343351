package netinfo

import (
	"errors"
	"fmt"
	"os"

	"natlens/netinfo/docker"
)

// notes says what the scan could not see, and what to do about it.
func (s *scanner) notes() []Note {
	var notes []Note
	if s.seen.hidden > 0 {
		remedy := "run as root: sudo natlens"
		if os.Geteuid() == 0 {
			remedy = "the kernel refuses it to this root (ptrace(2)), as it does without CAP_SYS_PTRACE"
		}
		notes = append(notes, Note{
			About: "namespaces",
			Text: fmt.Sprintf("the namespaces of %s could not be looked up and may be missing; %s",
				count(s.seen.hidden, "process", "processes"), remedy),
		})
	}
	forbidden := 0
	for id, err := range s.refused {
		if errors.Is(err, os.ErrPermission) {
			forbidden++
			continue
		}
		notes = append(notes, Note{About: "namespace " + id.String(), Text: "could not be entered: " + err.Error()})
	}
	if forbidden > 0 {
		notes = append(notes, Note{
			About: "namespaces",
			Text:  count(forbidden, "namespace", "namespaces") + " may not be entered by this user; run as root: sudo natlens",
		})
	}
	for id, p := range s.probes {
		if p.err != nil {
			notes = append(notes, Note{About: "namespace " + id.String(), Text: "could not be read: " + p.err.Error()})
		}
	}
	if s.unsearched > 0 {
		notes = append(notes, Note{
			About: "namespaces",
			Text:  "the open descriptors of " + count(s.unsearched, "process", "processes") + " were not searched, for lack of time",
		})
	}
	return append(notes, engineNotes(s.engineError, s.asked != nil, s.inventory)...)
}

// engineNotes says why names of containers are missing or old.
func engineNotes(err error, stale bool, known *docker.Inventory) []Note {
	notes := unaskedNotes(known)
	switch {
	case err == nil:
		return notes
	case errors.Is(err, docker.ErrNone) && len(notes) > 0:
	case errors.Is(err, docker.ErrNone):
		notes = append(notes, Note{About: "engine", Text: "no container engine found: DOCKER_HOST is not set and the sockets of " +
			"Docker and Podman are not there; namespaces are named after what runs in them"})
	case errors.Is(err, os.ErrPermission):
		notes = append(notes, Note{About: "engine", Text: "this user may not ask the container engine (" + err.Error() +
			"); run as root: sudo natlens, or join its group"})
	case stale:
		notes = append(notes, Note{About: "engine", Text: err.Error() + "; container names are from its last answer"})
	default:
		notes = append(notes, Note{About: "engine", Text: err.Error() + "; namespaces are named after what runs in them"})
	}
	for _, host := range docker.RootlessCandidates() {
		notes = append(notes, Note{About: "engine", Text: "a rootless engine listens at " + host + "; to ask it, set DOCKER_HOST=" + host})
	}
	return notes
}

// unaskedNotes says what is not known of containers whose engine nobody asked.
func unaskedNotes(known *docker.Inventory) []Note {
	if known == nil {
		return nil
	}
	unasked := 0
	for i := range known.Containers {
		if known.Containers[i].Unasked {
			unasked++
		}
	}
	if unasked == 0 {
		return nil
	}
	text := "Podman's service was not asked: " + count(unasked, "container is", "containers are") + " known by their conmon processes"
	if known.Engine.Unasked && known.Engine.Rootless {
		return []Note{{About: "engine", Text: text + ", which a user runs without root; which ports are published is not known. " +
			"To ask it: systemctl --user start podman.socket, as that user, and DOCKER_HOST=unix:///run/user/UID/podman/podman.sock"}}
	}
	text += ", their networks by Podman's files, published ports by the host's rules. To ask it: systemctl start podman.socket"
	if !known.Engine.Unasked {
		text += ", and DOCKER_HOST=unix:///run/podman/podman.sock"
	}
	return []Note{{About: "engine", Text: text}}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
