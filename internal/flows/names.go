package flows

import (
	"slices"

	"natlens/netinfo"
)

// nameSet is names of containers and of networks.
type nameSet struct{ containers, networks map[string]bool }

func newNameSet() nameSet { return nameSet{map[string]bool{}, map[string]bool{}} }

// add takes the names of a topology. Namespaces that are no container's are at the
// ends of flows by their names, too.
func (s nameSet) add(t *netinfo.Topology) {
	for _, c := range t.Containers {
		s.containers[c.Name] = true
	}
	for _, n := range t.Namespaces {
		s.containers[n.Name] = true
	}
	for _, n := range t.Networks {
		s.networks[n.Name] = true
	}
}

// Containers returns the names that flows of this table can have at their ends, in
// order: of what is here now and of what a flow in it was to or from; with Keep, also
// of what was here.
func (t *Table) Containers() []string {
	all := newNameSet()
	all.add(t.topology)
	for name := range t.was.containers {
		all.containers[name] = true
	}
	ends := func(e *Entry) {
		for _, end := range []string{e.Journey.From.Name, e.Journey.To.Name} {
			all.containers[end] = true
		}
	}
	for _, e := range t.living {
		ends(e)
	}
	for _, e := range t.ended {
		ends(e)
	}
	return sorted(all.containers)
}

// Networks returns the names of the engine's networks: of those that are here and,
// with Keep, of those that were.
func (t *Table) Networks() []string {
	all := newNameSet()
	all.add(t.topology)
	for name := range t.was.networks {
		all.networks[name] = true
	}
	return sorted(all.networks)
}

func sorted(set map[string]bool) []string {
	names := make([]string, 0, len(set))
	for name := range set {
		if name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
