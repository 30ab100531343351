package main

import (
	"slices"
	"strings"

	"natlens/netinfo"
	"natlens/trace/filter"
)

// known is all that files told of hosts, at any time: a container may come when the
// watch has begun.
type known struct{ netinfo.Topology }

func (k *known) add(t *netinfo.Topology) {
	k.Self = t.Self
	for _, n := range t.Namespaces {
		if !slices.ContainsFunc(k.Namespaces, func(o *netinfo.Namespace) bool {
			return o.ID == n.ID && o.Name == n.Name && len(o.Links) >= len(n.Links)
		}) {
			k.Namespaces = append(k.Namespaces, n)
		}
	}
	for _, c := range t.Containers {
		if !slices.ContainsFunc(k.Containers, func(o *netinfo.Container) bool { return o.Name == c.Name }) {
			k.Containers = append(k.Containers, c)
		}
	}
	for _, n := range t.Networks {
		if !slices.ContainsFunc(k.Networks, func(o *netinfo.Network) bool { return o.Name == n.Name }) {
			k.Networks = append(k.Networks, n)
		}
	}
}

// early returns the remarks that can be made before anything is shown: what natlens's
// own files do not name is known when they were read.
func (k *known) early(remarks []string, t *netinfo.Topology) []string {
	if k != nil && t != nil {
		return nil
	}
	return remarks
}

// missing has a sentence for each name that was asked for and that no file has. Nobody
// waits for one there.
func (k *known) missing(f *showFlags, pick *filter.Filter) (remarks []string) {
	_, said := selected(&k.Topology, f.containers, f.links)
	for _, r := range append(said, unheardOf(&k.Topology, pick)...) {
		remarks = append(remarks, strings.Replace(r, "yet; waiting for one", "in what was read", 1))
	}
	return remarks
}
