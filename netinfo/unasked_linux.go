package netinfo

import (
	"slices"
	"time"

	"natlens/netinfo/docker"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
	"natlens/netinfo/podman"
)

// takeInventory adds to what the engine said the containers that Podman runs
// without its service. The result is a new one unless nothing changed, and a search
// for its containers is due then.
func (s *scanner) takeInventory(d *discovery, now time.Time) {
	if s.noPodman {
		return
	}
	// A monitor is in the network namespace of its host: others are another's, on
	// a machine with several.
	monitors := slices.DeleteFunc(s.programs.listMonitors(), func(m podman.Monitor) bool {
		return d.namespaceOf[m.PID] != s.self
	})
	found := s.files.Inventory(monitors, now)
	if found != s.found {
		s.found, s.cgroupsDue = found, true
		s.ways = s.readWaysIn()
	}
	s.inventory = together(s.asked, found)
}

// readWaysIn reads what waysIn holds, of natlens's own namespace: nil when it may
// not, or is not there itself.
func (s *scanner) readWaysIn() *waysIn {
	if s.found == nil || s.inside != s.self {
		return nil
	}
	h, err := netns.Current()
	if err != nil {
		return nil
	}
	defer h.Close()
	rules, err := netfilter.ReadRuleset(h)
	if err != nil {
		return nil
	}
	listeners, err := readListeners("/proc/thread-self/net")
	if err != nil {
		return nil
	}
	return &waysIn{rules.NAT, listeners}
}

// together is what the engine said and what was found of another; either may be
// nil. Where both know a container or a network, the engine knows better.
func together(asked, found *docker.Inventory) *docker.Inventory {
	switch {
	case asked == nil:
		return found
	case found == nil:
		return asked
	}
	both := *asked
	both.Containers, both.Networks = slices.Clone(asked.Containers), slices.Clone(asked.Networks)
	for _, c := range found.Containers {
		if !slices.ContainsFunc(asked.Containers, func(o docker.Container) bool { return o.ID == c.ID }) {
			both.Containers = append(both.Containers, c)
		}
	}
	if len(both.Containers) == len(asked.Containers) {
		return asked
	}
	for _, n := range found.Networks {
		if !slices.ContainsFunc(asked.Networks, func(o docker.Network) bool { return o.ID == n.ID }) {
			both.Networks = append(both.Networks, n)
		}
	}
	return &both
}
