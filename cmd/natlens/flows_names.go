package main

import (
	"fmt"
	"slices"
	"strings"

	"natlens/internal/explain"
	"natlens/internal/flows"
	"natlens/trace/filter"
)

// unknownName is a name in a filter that nothing has.
type unknownName struct{ what, name string } // what: container, network

// unknownNames finds the names in a filter that no flow of the table can have at its
// ends, however idle their owners are.
func unknownNames(pick *filter.Filter, t *flows.Table) (unknown []unknownName) {
	containers, networks, _ := pick.Names()
	look := func(what string, names, known []string) {
		for _, name := range names {
			if !slices.Contains(known, name) {
				unknown = append(unknown, unknownName{what, name})
			}
		}
	}
	look("container", containers, t.Containers())
	look("network", networks, t.Networks())
	return unknown
}

// sentence says what to do about it, in one line.
func (u unknownName) sentence(t *flows.Table) string {
	text := fmt.Sprintf("no %s is called %q", u.what, u.name)
	same, other, word := t.Containers(), t.Networks(), "network"
	if u.what == "network" {
		same, other, word = other, same, "container"
	}
	near := explain.Nearest(u.name, same)
	switch {
	case slices.Contains(other, u.name):
		return fmt.Sprintf("%s, but a %s is: say %[2]s %s", text, word, u.name)
	case len(near) > 0:
		return text + "; near matches: " + strings.Join(near, ", ")
	case len(same) == 0:
		return text + "; none is known at all"
	case t.Keep:
		return text + " in what was read; without FILTER natlens flows shows who is"
	}
	return fmt.Sprintf("%s; natlens list %ss shows what is", text, u.what)
}
