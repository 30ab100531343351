package netinfo

import (
	"fmt"
	"io/fs"

	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
)

// hostFacts is what one scan read, before anything is concluded from it.
// assemble turns it into a Topology and does no input or output of its own.
type hostFacts struct {
	self       netns.ID
	namespaces []*namespaceFacts
	inventory  *docker.Inventory // nil: no engine
	named      []docker.Named    // may not run yet, and then be missing in inventory
	// stale says that the engine did not confirm the inventory just now:
	// containers in it that can't be proven are taken to have ended.
	stale bool
	// cgroups maps a container's id to a process whose cgroup holds it.
	cgroups map[string]processFact
	// names are those the namespaces had before, so that a name stays with
	// its namespace when another one wants it.
	names map[netns.ID]string
	// blind says that namespaces exist which this user may not look into.
	blind   bool
	proxies []Proxy
	gates   []gate
	// ways tell what is published for containers whose engine was not asked; nil
	// when that is not known.
	ways  *waysIn
	notes []Note
}

// processFact is a process and the namespace it was found in.
type processFact struct {
	pid       int
	namespace netns.ID
}

// namespaceFacts is what one namespace showed.
type namespaceFacts struct {
	id         netns.ID
	mounts     []string // bind mounts, ip netns's own folder first
	pids       []int    // lowest first
	paths      []string // mounts, then processes, then descriptors
	command    string   // of the first process
	cgroup     string   // /proc/PID/cgroup of the first process
	firstPID   int      // of that process, which may have ended; 0: there was none
	links      []linkFacts
	routes     []Route
	routing    *Routing
	defaults   map[int32]bool // links that a default route of any table uses
	peers      map[int32]netns.ID
	unreadable error
}

// linkFacts is a Link without the pointers that only a Topology can fill.
type linkFacts struct {
	Link
	master  int32 // index, 0 for none
	stacked bool  // PeerIndex and PeerNSID name the link underneath, not a peer
}

// errVanished marks a namespace that went away while it was read.
var errVanished = fmt.Errorf("vanished: %w", fs.ErrNotExist)
