package netinfo

import (
	"errors"
	"slices"

	"natlens/netinfo/netns"
)

// LeftOut is a namespace that is not watched.
type LeftOut struct {
	Namespace *Namespace // nil for a container that no namespace was found for
	Name      string     // of the namespace or the container
	Reason    string
	// Wanted says that it would be watched if it could be. The others are
	// left out on purpose.
	Wanted bool
}

// WatchSet picks the namespaces to attach to: natlens's own and those of the
// engine's containers; without an engine, or with one that runs elsewhere,
// natlens's own and those with a veth whose peer is a port of a bridge there;
// with all, every one; and those in also. A namespace that can't be entered is never
// in the set. Both results are in the Topology's order.
func WatchSet(t *Topology, all bool, also ...netns.ID) (watch []*Namespace, left []LeftOut) {
	engine := t.Engine != nil && t.Engine.Elsewhere == ""
	for _, n := range t.Namespaces {
		wanted := all || n.ID == t.Self || slices.Contains(also, n.ID) || (engine && len(n.Containers) > 0) || (!engine && hangsOnBridge(t, n))
		switch {
		case wanted && n.Unreadable == nil:
			watch = append(watch, n)
		case wanted:
			left = append(left, LeftOut{n, n.Name, reasonOf(n.Unreadable), true})
		case engine:
			left = append(left, LeftOut{n, n.Name, "not of the engine's containers; --all-namespaces takes it", false})
		default:
			left = append(left, LeftOut{n, n.Name, "not on a bridge of this host; --all-namespaces takes it", false})
		}
	}
	if !engine {
		return watch, left
	}
	for _, c := range t.Containers {
		if c.Namespace == 0 {
			left = append(left, LeftOut{nil, c.Name, "its namespace was not found", true})
		}
	}
	return watch, left
}

func hangsOnBridge(t *Topology, n *Namespace) bool {
	for _, l := range n.Links {
		if onBridgeOf(t, l, t.Self) {
			return true
		}
	}
	return false
}

// reasonOf takes the last link of an error's chain: what the kernel said.
func reasonOf(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
