package trace

import (
	"slices"
	"testing"
	"time"

	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// next is the world in which another container, in a namespace of that number, has the
// first one's address; with an empty name nobody has it.
func (s *stage) next(name string, ns netns.ID) *netinfo.Topology {
	w := world()
	w.Time = time.Unix(0, s.now)
	if name == "" {
		w.Namespaces = slices.DeleteFunc(w.Namespaces, func(n *netinfo.Namespace) bool { return n.ID == backNS })
		w.Containers = slices.DeleteFunc(w.Containers, func(c *netinfo.Container) bool { return c.Namespace == backNS })
		return w.Seal()
	}
	n := w.Namespace(backNS)
	n.ID, n.Name = ns, name
	n.Containers[0].Name, n.Containers[0].Namespace = name, ns
	n.Links[0].Key.Namespace = ns
	return w.Seal()
}

// A container goes, and the next one has its address before what was sent to the first is
// judged.
func TestOwnerOfThePacketsTime(t *testing.T) {
	const nextNS = 99
	for _, c := range []struct {
		name       string
		ns         netns.ID
		gone, next time.Duration // after the packet when that was read; 0: never
		want       string
	}{
		{"the next one", nextNS, 0, 2 * time.Second, "back"},
		{"the next one, soon", nextNS, 0, 700 * time.Millisecond, "back"},
		{"the next one with its namespace's number", backNS, 500 * time.Millisecond, 2 * time.Second, "back"},
		{"nobody for a while", nextNS, -time.Second, 2 * time.Second, ""},
		{"one that was there before it was told of", nextNS, -time.Second, 300 * time.Millisecond, "next"},
	} {
		s := newDropStage(t)
		s.pass(2 * time.Second)
		start := s.now + int64(2*time.Second)
		until := func(d time.Duration) { s.pass(time.Duration(start - s.now + int64(d))) }
		gone := func() { s.c.SetTopology(s.next("", 0)) }
		if c.gone < 0 {
			until(c.gone)
			gone()
		}
		until(0)
		s.see(bridgeOut, ping(t, gatewayIP, backIP, 5, 1, false))
		if c.gone > 0 {
			until(c.gone)
			gone()
		}
		until(c.next)
		s.c.SetTopology(s.next("next", c.ns))
		s.pass(50 * time.Millisecond)
		s.pass(4 * time.Second)
		if len(s.journeys) != 1 || s.journeys[0].To.Name != c.want {
			t.Errorf("%s: %d journeys, to %q, want %q", c.name, len(s.journeys), s.journeys[0].To.Name, c.want)
		}
	}
}

// Topologies that come in quick succession leave some of those that stood before.
func TestTopologiesThatAreKept(t *testing.T) {
	h := newHosts()
	for i := range int64(1000) {
		h.set((&netinfo.Topology{Time: time.Unix(0, 10*seconds+i*10e6)}).Seal())
	}
	oldest := h.former[0].Time.UnixNano()
	if n := len(h.former); n != maxFormer || oldest > 10*seconds+990*10e6-settlePending {
		t.Errorf("%d topologies, the oldest %v old", n, time.Duration(20*seconds-oldest))
	}
}
