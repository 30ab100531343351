package trace

import (
	"net/netip"

	"natlens/netinfo"
	"natlens/netinfo/netns"
)

const (
	// maxFormer is how many topologies are kept beside the newest, and formerGrain how
	// far apart they are: together for longer than a journey waits for its next hop.
	maxFormer   = 8
	formerGrain = 500e6
	// topologyDelay is how long after a change a topology may tell of it.
	topologyDelay = 1.5e9
)

// remember keeps a topology that another is about to replace.
func (h *hosts) remember(t *netinfo.Topology) {
	if n := len(h.former); n > 0 && t.Time.UnixNano() < h.former[n-1].Time.UnixNano()+formerGrain {
		return
	}
	if len(h.former) == maxFormer {
		h.former = append(h.former[:0], h.former[1:]...)
	}
	h.former = append(h.former, t)
}

// owner says whose an address was at a time, as seen from a namespace: by the last topology
// before, and, of what nobody had, by those that were read so soon after it that they may
// tell of it.
func (h *hosts) owner(ip netip.Addr, from netns.ID, at int64) (name string, n *netinfo.Namespace) {
	first := len(h.former) // the newest
	for first > 0 && h.topologyAt(first).Time.UnixNano() >= at {
		first--
	}
	for i := first; i <= len(h.former); i++ {
		t := h.topologyAt(i)
		if i > first && t.Time.UnixNano() >= at+topologyDelay {
			break
		}
		if name, n = t.OwnerOf(ip, from); name != "" {
			break
		}
	}
	return name, n
}

// topologyAt is one of those that are kept, oldest first; the last is the newest.
func (h *hosts) topologyAt(i int) *netinfo.Topology {
	if i < len(h.former) {
		return h.former[i]
	}
	return h.topology
}

// name says whose the address of an end was, as seen from a namespace.
func (c *Correlator) name(e *Endpoint, ns netns.ID, at int64) {
	if e.IP.IsMulticast() || e.IP.IsUnspecified() {
		return
	}
	name, n := c.hosts.owner(e.IP, ns, at)
	if n == nil {
		e.Name = name // a container that no namespace was proven for
		return
	}
	if s := c.hosts.space(n.ID); s.born <= at || n == c.hosts.topology.Namespace(n.ID) {
		e.own(s)
		return
	}
	// Another has its number by now.
	e.Name, e.Containers = n.Name, nil
	for _, container := range n.Containers {
		e.Containers = append(e.Containers, container.Name)
	}
}
