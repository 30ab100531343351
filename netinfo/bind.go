package netinfo

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
)

// linkIndex finds links by what an engine knows of them.
type linkIndex struct {
	byMAC     map[string][]*Link
	byAddress map[netip.Addr][]*Link
}

func indexLinks(t *Topology) linkIndex {
	x := linkIndex{byMAC: map[string][]*Link{}, byAddress: map[netip.Addr][]*Link{}}
	for _, n := range t.Namespaces {
		for _, l := range n.Links {
			if l.Kind == "loopback" {
				continue
			}
			if l.Peer != nil && l.Peer.Key.Namespace == l.Key.Namespace {
				continue // both ends are here: an engine is about to move one, or to remove it
			}
			if l.MAC != "" {
				x.byMAC[l.MAC] = append(x.byMAC[l.MAC], l)
			}
			for _, p := range l.Addresses {
				x.byAddress[p.Addr()] = append(x.byAddress[p.Addr()], l)
			}
		}
	}
	return x
}

// bindContainers puts each container of the inventory into the namespace it
// was proven to be in. What the engine says of process ids and paths is a hint
// only: it may speak of another host, or of another process namespace.
func bindContainers(t *Topology, f *hostFacts) {
	x := indexLinks(t)
	foreign := foreignNamespaces(f)
	first := firstProcesses(f)
	for i := range f.inventory.Containers {
		c := &Container{Container: f.inventory.Containers[i]}
		c.Namespace, c.Proof = prove(t, f, x, foreign, first, &c.Container)
		n := t.Namespace(c.Namespace)
		if n == nil {
			c.Namespace, c.Proof = 0, ""
			if f.stale {
				continue
			}
		}
		t.Containers = append(t.Containers, c)
		if n == nil {
			continue
		}
		n.Containers = append(n.Containers, c)
		if c.Mode == "host" {
			continue
		}
		for _, l := range n.Links {
			if l.Kind != "loopback" {
				c.Links = append(c.Links, l.Key)
			}
		}
	}
	bindNamed(t, f, first)
	slices.SortFunc(t.Containers, func(a, b *Container) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	for _, n := range t.Namespaces {
		// The container that made the namespace comes first: in a pod the
		// others only joined it.
		slices.SortFunc(n.Containers, func(a, b *Container) int {
			return cmp.Or(cmp.Compare(joined(a), joined(b)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
		})
	}
}

// firstProcesses returns the first process of each namespace that was made for a
// container, by the container's id in its cgroup. It may have ended.
func firstProcesses(f *hostFacts) map[string]processFact {
	first := map[string]processFact{}
	for _, nf := range f.namespaces {
		if id := cgroupContainer(nf.cgroup); id != "" && nf.id != f.self {
			first[id] = processFact{nf.firstPID, nf.id}
		}
	}
	return first
}

// bindNamed puts containers that the engine does not list yet, or not any more, into
// the namespaces that were made for them. What they are connected to is not known.
func bindNamed(t *Topology, f *hostFacts, first map[string]processFact) {
	for i := range f.inventory.Containers {
		delete(first, f.inventory.Containers[i].ID)
	}
	for _, k := range f.named {
		process, there := first[k.ID]
		if !there {
			continue
		}
		c := &Container{Namespace: process.namespace, Proof: fmt.Sprintf("cgroup of pid %d", process.pid)}
		c.ID, c.Name, c.Image = k.ID, k.Name, k.Image
		n := t.Namespace(process.namespace)
		for _, l := range n.Links {
			if l.Kind != "loopback" {
				c.Links = append(c.Links, l.Key)
			}
		}
		n.Containers = append(n.Containers, c)
		t.Containers = append(t.Containers, c)
	}
}

func joined(c *Container) int {
	if c.Mode == "host" || strings.HasPrefix(c.Mode, "container:") {
		return 1
	}
	return 0
}

// foreignNamespaces returns those whose processes belong to containers that
// this engine does not know: equal MACs and addresses there are a coincidence,
// and a common one, because engines count addresses from the same start.
func foreignNamespaces(f *hostFacts) map[netns.ID]bool {
	known := map[string]bool{}
	for i := range f.inventory.Containers {
		known[f.inventory.Containers[i].ID] = true
	}
	foreign := map[netns.ID]bool{}
	for _, nf := range f.namespaces {
		if id := cgroupContainer(nf.cgroup); id != "" && !known[id] && nf.id != f.self {
			foreign[nf.id] = true
		}
	}
	return foreign
}

// prove finds the namespace of a container and says on what that rests.
func prove(t *Topology, f *hostFacts, x linkIndex, foreign map[netns.ID]bool, first map[string]processFact, c *docker.Container) (netns.ID, string) {
	process, hasProcess := f.cgroups[c.ID]
	if !hasProcess {
		process, hasProcess = first[c.ID]
	}
	candidates := map[netns.ID]string{}
	for _, e := range c.Endpoints {
		for _, l := range endpointLinks(x, e) {
			if id := l.Key.Namespace; !foreign[id] && candidates[id] == "" {
				if l.MAC == e.MAC {
					candidates[id] = fmt.Sprintf("mac %s on %s", e.MAC, l.Name)
				} else {
					candidates[id] = fmt.Sprintf("address %s on %s", firstAddress(e), l.Name)
				}
			}
		}
	}
	if hasProcess {
		if proof := candidates[process.namespace]; proof != "" {
			return process.namespace, proof
		}
		return process.namespace, fmt.Sprintf("cgroup of pid %d", process.pid)
	}
	if len(candidates) > 1 {
		// Several namespaces show the same MAC: take the one that the engine
		// itself mounted for this container, if it is among them.
		for id := range candidates {
			n := t.Namespace(id)
			if n == nil || !slices.ContainsFunc(n.Paths, func(p string) bool { return samePath(p, c.SandboxKey) }) {
				delete(candidates, id)
			}
		}
	}
	if len(candidates) == 1 {
		for id, proof := range candidates {
			return id, proof
		}
	}
	return 0, ""
}

// endpointLinks returns the links that carry an endpoint's MAC, and only if
// there are none, those that carry its address.
func endpointLinks(x linkIndex, e docker.Endpoint) []*Link {
	if e.MAC != "" {
		if links := x.byMAC[e.MAC]; len(links) > 0 {
			return links
		}
	}
	for _, p := range e.Addresses {
		if links := x.byAddress[p.Addr()]; len(links) > 0 {
			return links
		}
	}
	return nil
}

func firstAddress(e docker.Endpoint) netip.Addr {
	if len(e.Addresses) == 0 {
		return netip.Addr{}
	}
	return e.Addresses[0].Addr()
}

// samePath compares two paths under /run, which /var/run is a link to.
func samePath(a, b string) bool {
	return a != "" && strings.TrimPrefix(a, "/var") == strings.TrimPrefix(b, "/var")
}
