package lab

import (
	"net/netip"
	"sync"
)

// names are those that containers of one network find each other by. A resolver
// reads them while the host changes.
type names struct {
	mu sync.Mutex
	of map[string]netip.Addr
}

func (n *names) set(name string, a netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil {
		n.of = map[string]netip.Addr{}
	}
	n.of[name] = a
}

func (n *names) remove(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.of, name)
}

func (n *names) find(name string) (netip.Addr, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a, ok := n.of[name]
	return a, ok
}
