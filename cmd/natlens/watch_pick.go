package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"natlens/internal/explain"
	"natlens/netinfo"
	"natlens/trace"
	"natlens/trace/filter"
)

// pickJourneys adds to a filter what the flags ask for. Without containers or
// links the filter alone decides.
func pickJourneys(pick *filter.Filter, containers, links []string) func(*trace.Journey) bool {
	return func(j *trace.Journey) bool {
		return pick.Match(j) && (len(links) == 0 || passes(j, links)) && (len(containers) == 0 || concerns(j, containers))
	}
}

// passes reports whether the journey was seen at one of the links: LINK is one of
// natlens's own namespace, as for tcpdump, or of a file of another program; one
// elsewhere is NAMESPACE:LINK or CONTAINER:LINK.
func passes(j *trace.Journey, links []string) bool {
	for i := range j.Hops {
		if slices.ContainsFunc(links, func(l string) bool { return filter.AtLink(j, &j.Hops[i], l) }) {
			return true
		}
	}
	return false
}

// concerns reports whether one of the containers is an end of the journey.
func concerns(j *trace.Journey, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		return slices.Contains(j.From.Containers, n) || slices.Contains(j.To.Containers, n)
	})
}

// minIDPrefix is how much of a container's id is taken for it. Shorter words may
// be the name of a container that starts later.
const minIDPrefix = 4

// containerName returns the name of the container that a word stands for, its
// name, its service of Docker Compose or the beginning of its id; "" when there is
// none, or several.
func containerName(t *netinfo.Topology, word string) string {
	found := t.FindContainer(word)
	switch {
	case len(found) == 0:
		return ""
	case found[0].Name == word:
	case len(found) > 1, !found[0].IsService(word) && len(word) < minIDPrefix:
		return ""
	}
	return found[0].Name
}

// selected finds the containers and links that flags name, and has a sentence for
// each that will show nothing, or nothing yet. t is nil for files that know no
// names: which links they have is found out on the way.
func selected(t *netinfo.Topology, containers, links []string) (names, remarks []string) {
	if t == nil {
		for _, word := range containers {
			remarks = append(remarks, nameless("container", word))
		}
		return containers, remarks
	}
	for _, word := range containers {
		name := containerName(t, word)
		switch c := t.FindContainer(name); {
		case name == "":
			name = word
			remarks = append(remarks, fmt.Sprintf("no container %q yet; waiting for one", word))
		case len(c) == 1 && c[0].Namespace == t.Self:
			remarks = append(remarks, fmt.Sprintf("%s uses the host's own network: its packets look like the host's, "+
				"and only its sockets tell which are %[1]s's; of a ping nothing does", name))
		}
		names = append(names, name)
	}
	for _, word := range links {
		if !hasLink(t, word) {
			remarks = append(remarks, fmt.Sprintf("no link %q yet; waiting for one", word))
		}
	}
	return names, remarks
}

// unheardOf has a sentence for each container, network and link that a filter names and
// that is not there yet: a mistyped name matches nothing. t is nil for files that
// know no names.
func unheardOf(t *netinfo.Topology, pick *filter.Filter) (remarks []string) {
	named, netted, linked := pick.Names()
	if t == nil {
		for _, name := range named {
			remark := nameless("container", name)
			if hint := filter.Hint(name); hint != "" {
				remark += "; " + hint
			}
			remarks = append(remarks, remark)
		}
		for _, name := range netted {
			remarks = append(remarks, nameless("network", name))
		}
		return remarks
	}
	var containers, networks []string // and what may stand for one
	for _, c := range t.Containers {
		containers = append(containers, c.Name)
	}
	for _, n := range t.Namespaces {
		containers = append(containers, n.Name)
	}
	for _, n := range t.Networks {
		networks = append(networks, n.Name)
	}
	look := func(what string, names, known []string) {
		for _, name := range names {
			if slices.Contains(known, name) {
				continue
			}
			remark := fmt.Sprintf("no %s %q yet; waiting for one", what, name)
			if near := explain.Nearest(name, known); len(near) > 0 {
				remark += " (near matches: " + strings.Join(near, ", ") + ")"
			}
			remarks = append(remarks, remark)
		}
	}
	look("container", named, containers)
	look("network", netted, networks)
	for _, word := range linked {
		if !hasLink(t, word) {
			remarks = append(remarks, fmt.Sprintf("no link %q yet; waiting for one", word))
		}
	}
	return remarks
}

// nameless says that files of other programs have no such names.
func nameless(what, name string) string {
	return fmt.Sprintf("no %s %q: files of other programs know no %[1]ss", what, name)
}

// absent has a sentence for each thing that a filter asks for and that makes no
// journeys; with events, some are shown.
func absent(pick *filter.Filter, events bool) (remarks []string) {
	shown, others := pick.Absent()
	for _, what := range shown {
		if !events {
			remarks = append(remarks, what+" makes no journeys: --events shows it")
		}
	}
	for _, what := range others {
		remarks = append(remarks, what+" makes no journeys")
	}
	return remarks
}

// hasLink reports whether there is a link of that name, as passes understands it.
func hasLink(t *netinfo.Topology, word string) bool {
	word = strings.ReplaceAll(word, "/", ":")
	for _, n := range t.Namespaces {
		for _, l := range n.Links {
			if n.ID == t.Self && l.Name == word || n.Name+":"+l.Name == word {
				return true
			}
			for _, c := range n.Containers {
				if c.Name+":"+l.Name == word {
					return true
				}
			}
		}
	}
	return false
}

// parseFilter turns a filter's mistakes into usage errors that point at the
// place. t is nil where names are not known, or not yet.
func parseFilter(expression string, t *netinfo.Topology) (*filter.Filter, error) {
	pick, err := filter.Parse(expression, func(word string) string {
		if t == nil && filter.Hint(word) != "" {
			return word // perhaps a container's, which only the files tell
		}
		return containerName(t, word)
	})
	var syntax *filter.SyntaxError
	if errors.As(err, &syntax) {
		return nil, usagef("%w\n%s", err, syntax.Picture())
	}
	return pick, err
}
