// Package netinfo knows what is on this host: network namespaces, links, veth
// peers, bridges, addresses, routes, containers and their networks.
package netinfo

import (
	"net/netip"
	"time"

	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
)

// Topology is one snapshot of the host. It is immutable and safe for concurrent
// use; a change on the host makes a new one with a higher Number. Its lookups
// work on a nil *Topology too, which knows nothing.
type Topology struct {
	Number     uint64
	Time       time.Time
	Self       netns.ID     // the namespace natlens runs in, named "host"
	Namespaces []*Namespace // Self first, then by name
	Containers []*Container // by name
	Networks   []*Network   // by name
	Engine     *Engine      // nil: no engine was found, or none could be asked (see Notes)
	Proxies    []Proxy      // by process
	Notes      []Note       // what could not be seen, and what to do about it
	// index: see lookup.go
	byNamespace map[netns.ID]*Namespace
	byLink      map[LinkKey]*Link
	owners      map[netip.Addr][]owner
	component   map[netns.ID]int
}

// Namespace is one network namespace.
type Namespace struct {
	ID netns.ID
	// Name is what people call it: "host", a container's name, the name that
	// ip netns gave, else one made of its processes' cgroup or command. It is
	// unique in its Topology.
	Name string
	// NameFrom says what Name rests on: "self", "container", "mount",
	// "cgroup", "command", "inode".
	NameFrom   string
	Paths      []string     // ways to open it: /run/netns/x, /proc/PID/ns/net
	PIDs       []int        // processes in it, lowest first, at most 16; may lag behind in a stream of Topologies
	Containers []*Container // all that share it
	Links      []*Link      // by index
	Routes     []Route
	// Routing decides where packets that come in go; nil where it is not known.
	Routing *Routing `json:",omitempty"`
	// Unreadable is why the namespace could not be entered; nil when it was.
	Unreadable error

	containerNames []string // see ContainerNames
	ofContainer    bool     // it was made for a container
}

// LinkKey identifies a link on this host: an index is unique only in its
// namespace.
type LinkKey struct {
	Namespace netns.ID
	Index     int32
}

// Role says what part a link plays.
type Role string

const (
	RoleLoopback Role = "loopback"
	RoleUplink   Role = "uplink" // a default route uses it and no container is behind it
	RoleBridge   Role = "bridge"
	RoleVeth     Role = "veth"
	RoleOther    Role = "other"
)

// Link is one network interface.
type Link struct {
	Key       LinkKey
	Name      string
	Kind      string // as ip -d link shows it: veth, bridge, macvlan, …; "device" for hardware, "loopback"
	Role      Role
	MAC       string // lower case; empty when it has none
	Addresses []netip.Prefix
	MTU       int
	State     string // up, down, unknown, lowerlayerdown, … (RFC 2863 operational state)
	Up        bool   // administratively up
	Promisc   bool
	Master    *LinkKey // the bridge this is a port of
	Hairpin   string   // of a bridge's port: HairpinOn, HairpinOff; empty when not known
	Parent    *LinkKey // macvlan, ipvlan, vlan: the link underneath, which may be in another namespace
	Mode      string   // macvlan only, as ip -d link shows it: bridge, private, vepa, passthru, source
	Peer      *Peer    // veth only
	Network   string   // the engine's network that this link belongs to
	// PeerIndex and PeerNSID are IFLA_LINK and IFLA_LINK_NETNSID as the
	// kernel gave them; PeerNSID is -1 when absent (same namespace).
	PeerIndex int32
	PeerNSID  int32
}

// Whether the port of a bridge sends a frame back that came in by it
// (bridge(8), hairpin).
const (
	HairpinOn  = "on"
	HairpinOff = "off"
)

// Peer is the other end of a veth.
type Peer struct {
	Key LinkKey // Namespace is 0 when the other end's namespace could not be opened
	// Name of the link at the other end; empty when it could not be read.
	Name string
	// Mutual: the other end's own index and namespace id point back here.
	Mutual bool
}

// Route is one unicast route of the main or local table.
type Route struct {
	Destination netip.Prefix // 0.0.0.0/0 or ::/0 for a default route
	Gateway     netip.Addr   // invalid when directly connected
	Link        int32        // index; 0 for none (blackhole, …)
	Source      netip.Addr   // preferred source; may be invalid
	Metric      int
	Local       bool // of the local table: addresses that are this host's own
}

// Default reports whether r is a default route.
func (r Route) Default() bool { return r.Destination.Bits() == 0 && !r.Local }

// Container is a container and the namespace it was proven to be in.
type Container struct {
	docker.Container
	Namespace netns.ID // 0 when not proven
	// Proof is what binds it: "mac 02:42:ac:11:00:02 on eth0", "address …",
	// "cgroup of pid 4711". Empty when Namespace is 0.
	Proof string
	// Links are its links in that namespace, loopback excepted; none in host
	// mode, where the links are the host's.
	Links []LinkKey
}

// Network is an engine's network, and where it shows on this host.
type Network struct {
	docker.Network
	BridgeLink *LinkKey // nil when the network has no bridge here
	Members    []Member // by container name
}

// Member is one container on one network.
type Member struct {
	Container *Container
	Addresses []netip.Prefix
	Link      *LinkKey // the container's own link; nil when not found
	HostLink  *LinkKey // its veth's host end; nil when there is none
}

// Engine is the container engine that was asked, and whether what it runs is
// on this host at all.
type Engine struct {
	docker.Engine
	// Elsewhere is empty when its containers were found here. Else it says
	// why not ("remote engine", "rootless", "Docker Desktop's virtual
	// machine") and what to run there.
	Elsewhere string
	// UserlandProxy says whether it publishes ports by a docker-proxy as well as
	// by NAT: "on" when one runs, "off" when ports are published here and none
	// does, "" when nothing tells. The engine itself does not say.
	UserlandProxy string
}

// Note is something a person should know about what is missing.
type Note struct {
	About string // the object: "engine", "namespace net:[4026532001]"
	Text  string // what, and what to do
}
