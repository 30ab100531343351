package probe

import (
	"slices"

	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// Namespaces returns those that the packets of the requests are expected to pass,
// and those of both ends. To watch all of a host's instead would be to depend on
// traffic that has nothing to do with the question.
func Namespaces(t *netinfo.Topology, predict func(Source, Destination, Request) *Expectation, requests []Request) (all []netns.ID) {
	add := func(n *netinfo.Namespace) {
		if n != nil && !slices.Contains(all, n.ID) {
			all = append(all, n.ID)
		}
	}
	for _, r := range requests {
		from, err := FindSource(t, r.From)
		if err != nil {
			continue
		}
		add(from.Namespace)
		to, known, err := FindDestination(t, from, r.To)
		if err != nil || !known {
			continue
		}
		_, owner := t.OwnerOf(to.Address, from.Namespace.ID)
		add(owner)
		for _, s := range predict(from, to, r).Stages {
			add(s.Namespace)
		}
	}
	return all
}
