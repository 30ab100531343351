package netfilter

import (
	"sync"

	"natlens/netinfo/netns"
)

// askedCounts are the namespaces whose counters somebody wants to be read. It has a
// lock of its own, so that who asks never waits for a reading.
type askedCounts struct {
	mu sync.Mutex
	of map[netns.ID]bool
}

// put asks, and reports whether nobody had.
func (a *askedCounts) put(id netns.ID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of[id] {
		return false
	}
	if a.of == nil {
		a.of = map[netns.ID]bool{}
	}
	a.of[id] = true
	return true
}

func (a *askedCounts) has(id netns.ID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.of[id]
}

func (a *askedCounts) take(id netns.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.of, id)
}
