package text

import (
	"strconv"
	"strings"

	"natlens/internal/explain"
	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// Explain tells what the targets are, in words and small drawings; without
// targets, what this host is. After each statement stands the ordinary command
// that checks it.
func (st Style) Explain(f *explain.Facts, targets ...explain.Target) string {
	e := &explanation{story: &story{Style: st}, Facts: f}
	if len(targets) == 0 {
		e.host(f.Topology.Namespace(f.Topology.Self))
	}
	for _, t := range targets {
		e.unasked = t.Container != nil && t.Container.Unasked || t.Network != nil && t.Network.Unasked
		switch {
		case t.Topic == "veth":
			e.lessonVeth()
		case t.Topic == "nat":
			e.lessonNAT()
		case t.Container != nil:
			e.container(t.Container)
		case t.Link != nil:
			e.link(t.Link)
		case t.Network != nil:
			e.network(t.Network)
		case t.Namespace != nil && t.Namespace.ID == f.Topology.Self:
			e.host(t.Namespace)
		case t.Namespace != nil:
			e.namespace(t.Namespace)
		}
	}
	return e.finish()
}

// explanation is a story about facts.
type explanation struct {
	*story
	*explain.Facts
	unasked bool // the subject is another engine's: Podman's, whose service was not asked
}

// inside returns a command that runs in a namespace: as it is in natlens's own,
// by nsenter elsewhere. It tells whether root is needed for that.
func (e *explanation) inside(n *netinfo.Namespace, command string) {
	switch {
	case n.ID == e.Topology.Self:
		e.check("%s", command)
	case len(n.PIDs) > 0:
		e.checkAsRoot("nsenter -t %d -n %s", n.PIDs[0], command)
	case len(n.Paths) > 0:
		e.checkAsRoot("nsenter --net=%s %s", quote(e.Escape(n.Paths[0])), command)
	}
}

// quote makes s one word for a shell. What Escape left is printable.
func quote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@%+=,") == "" && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// of returns the name of a namespace as a possessive: "back's", "the host's".
func (e *explanation) of(id netns.ID) string { return e.place(id) + "'s" }

// place returns a namespace's name in a sentence.
func (e *explanation) place(id netns.ID) string {
	if id == e.Topology.Self {
		return "the host"
	}
	return e.Escape(e.Topology.NamespaceName(id))
}

// sentence returns s with a capital letter, if it begins with "the": names keep
// their own.
func sentence(s string) string {
	if rest, ok := strings.CutPrefix(s, "the "); ok {
		return "The " + rest
	}
	return s
}

// cli returns the engine's own command.
func (e *explanation) cli() string {
	if e.unasked {
		return "podman"
	}
	if engine := e.Topology.Engine; engine != nil && strings.Contains(engine.Name, "Podman") {
		return "podman"
	}
	return "docker"
}

// linkName returns the name of a link, or how else to call it.
func (e *explanation) linkName(k netinfo.LinkKey) string {
	if l := e.Topology.Link(k); l != nil {
		return e.Escape(l.Name)
	}
	return "link " + strconv.Itoa(int(k.Index))
}

// networkOf returns the engine's network that a link belongs to, or nil.
func (e *explanation) networkOf(l *netinfo.Link) *netinfo.Network {
	if l.Network == "" {
		return nil
	}
	for _, n := range e.Topology.Networks {
		if n.Name == l.Network {
			return n
		}
	}
	return nil
}

// own returns a link's addresses for a sentence, or "no address".
func (e *explanation) own(l *netinfo.Link) string {
	if len(l.Addresses) == 0 {
		return "no address"
	}
	a := usefulAddresses(l.Addresses)
	if len(a) == 0 {
		a = l.Addresses
	}
	words := make([]string, len(a))
	for i, p := range a {
		words[i] = p.String()
	}
	return enumerate(words)
}

// enumerate returns "a", "a and b" or "a, b and c".
func enumerate(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// first returns the first address of a link worth drawing, or "".
func first(l *netinfo.Link) string {
	if l == nil {
		return ""
	}
	if a := usefulAddresses(l.Addresses); len(a) > 0 {
		return a[0].String()
	}
	return ""
}
