package netinfo

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"natlens/netinfo/netns"
)

// maxPIDs is how many processes a Namespace lists.
const maxPIDs = 16

// assemble concludes a Topology from what was read. The order of its steps
// matters: containers are proven by links, names come from containers, roles
// need both.
func assemble(f *hostFacts, now time.Time) *Topology {
	t := &Topology{Time: now, Self: f.self, Proxies: f.proxies, Notes: f.notes}
	for _, nf := range f.namespaces {
		t.Namespaces = append(t.Namespaces, newNamespace(nf))
	}
	t.Seal()
	for _, nf := range f.namespaces {
		connectLinks(t, nf)
	}
	for _, n := range t.Namespaces {
		for _, l := range n.Links {
			readPeer(t, l)
		}
	}
	if f.inventory != nil {
		bindContainers(t, f)
		attachUnasked(t, f.inventory.Networks, f.ways)
		placeNetworks(t, f)
		placeEngine(t, f)
	}
	nameNamespaces(t, f)
	tellGates(t, f.gates)
	for _, nf := range f.namespaces {
		n := t.Namespace(nf.id)
		n.ofContainer = ownContainers(n) || foreignContainer(t, n, nf)
	}
	for _, nf := range f.namespaces {
		assignRoles(t, nf)
	}
	slices.SortFunc(t.Namespaces, func(a, b *Namespace) int {
		if (a.ID == t.Self) != (b.ID == t.Self) {
			if a.ID == t.Self {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	slices.SortStableFunc(t.Notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(a.About, b.About), cmp.Compare(a.Text, b.Text))
	})
	t.Notes = slices.Compact(t.Notes)
	return t.Seal()
}

func newNamespace(nf *namespaceFacts) *Namespace {
	n := &Namespace{
		ID: nf.id, Paths: nf.paths, PIDs: nf.pids[:min(maxPIDs, len(nf.pids))],
		Routes: nf.routes, Routing: nf.routing, Unreadable: nf.unreadable,
	}
	for _, lf := range nf.links {
		l := lf.Link
		l.Key = LinkKey{nf.id, l.Key.Index}
		n.Links = append(n.Links, &l)
	}
	slices.SortFunc(n.Links, func(a, b *Link) int { return cmp.Compare(a.Key.Index, b.Key.Index) })
	return n
}

// connectLinks resolves the indexes that a link of nf carries: its master in
// the same namespace, and the link that IFLA_LINK names, which is in the
// namespace that IFLA_LINK_NETNSID stands for here.
func connectLinks(t *Topology, nf *namespaceFacts) {
	for _, lf := range nf.links {
		l := t.Link(LinkKey{nf.id, lf.Key.Index})
		if l == nil {
			continue
		}
		if lf.master != 0 {
			l.Master = &LinkKey{nf.id, lf.master}
		}
		if l.PeerIndex == 0 {
			continue
		}
		other := LinkKey{nf.id, l.PeerIndex}
		if l.PeerNSID != -1 {
			other.Namespace = nf.peers[l.PeerNSID]
		}
		switch {
		case l.Kind == "veth":
			l.Peer = &Peer{Key: other}
		case lf.stacked:
			l.Parent = &other
		}
	}
}

// readPeer completes a Peer from the link at the other end, if that was read.
func readPeer(t *Topology, l *Link) {
	if l.Peer == nil {
		return
	}
	other := t.Link(l.Peer.Key)
	if other == nil || other.Kind != "veth" {
		return
	}
	l.Peer.Name = other.Name
	l.Peer.Mutual = other.Peer != nil && other.Peer.Key == l.Key
}

// behindContainer reports whether a container is at the other end of a veth.
func behindContainer(t *Topology, l *Link) bool {
	return l.Peer != nil && l.Peer.Key.Namespace != l.Key.Namespace && l.Peer.Key.Namespace != 0 &&
		t.Namespace(l.Peer.Key.Namespace) != nil && t.Namespace(l.Peer.Key.Namespace).ofContainer
}

// ownContainers reports whether the namespace was made for a container. A
// container in host mode lives in a namespace but does not make it its own.
func ownContainers(n *Namespace) bool {
	return slices.ContainsFunc(n.Containers, func(c *Container) bool { return c.Mode != "host" })
}

// foreignContainer reports whether the namespace belongs to a container that
// no engine was asked about, as its processes' cgroup says. One with a bridge
// is a host to others.
func foreignContainer(t *Topology, n *Namespace, nf *namespaceFacts) bool {
	return n.ID != t.Self && cgroupContainer(nf.cgroup) != "" && !hasKind(n, "bridge")
}

// assignRoles says what part each link of a namespace plays.
func assignRoles(t *Topology, nf *namespaceFacts) {
	n := t.Namespace(nf.id)
	uplinks := uplinks(t, n, nf.defaults)
	for _, l := range n.Links {
		switch {
		case l.Kind == "loopback":
			l.Role = RoleLoopback
		case uplinks[l.Key.Index]:
			l.Role = RoleUplink
		case l.Kind == "bridge":
			l.Role = RoleBridge
		case l.Kind == "veth":
			l.Role = RoleVeth
		default:
			l.Role = RoleOther
		}
	}
}

// uplinks picks the links that lead out of n: those that a default route uses
// and that have no container behind them. Inside a container nothing is an
// uplink, its eth0 is one end of a veth like any other; without an engine a
// namespace that hangs on a bridge of natlens's own counts as a container,
// unless it has a bridge itself and so is a host to others.
func uplinks(t *Topology, n *Namespace, defaults map[int32]bool) map[int32]bool {
	if n.ID != t.Self && n.ofContainer {
		return nil
	}
	found := map[int32]bool{}
	for _, l := range n.Links {
		if !defaults[l.Key.Index] || l.Kind == "loopback" || behindContainer(t, l) {
			continue
		}
		if n.ID != t.Self && t.Engine == nil && onBridgeOf(t, l, t.Self) && !hasKind(n, "bridge") {
			continue
		}
		if l.Kind != "bridge" {
			found[l.Key.Index] = true
			continue
		}
		ports := t.Ports(l.Key)
		if !slices.ContainsFunc(ports, func(p *Link) bool { return behindContainer(t, p) }) {
			found[l.Key.Index] = true
			continue
		}
		// A bridge that carries the default route and containers as well:
		// what leads out is its port that is not a container's.
		for _, p := range ports {
			if p.Kind == "device" || p.Kind == "bond" || p.Kind == "vlan" {
				found[p.Key.Index] = true
			}
		}
	}
	return found
}

// onBridgeOf reports whether l's peer is a bridge port in the namespace.
func onBridgeOf(t *Topology, l *Link, id netns.ID) bool {
	if l.Peer == nil || l.Peer.Key.Namespace != id {
		return false
	}
	peer := t.Link(l.Peer.Key)
	if peer == nil || peer.Master == nil {
		return false
	}
	master := t.Link(*peer.Master)
	return master != nil && master.Kind == "bridge"
}

func hasKind(n *Namespace, kind string) bool {
	return slices.ContainsFunc(n.Links, func(l *Link) bool { return l.Kind == kind })
}

// placeEngine says whether what the engine runs is on this host.
func placeEngine(t *Topology, f *hostFacts) {
	t.Engine = &Engine{Engine: f.inventory.Engine}
	if !f.blind && !t.Engine.Rootless && !strings.Contains(t.Engine.Name, "Podman") {
		t.Engine.UserlandProxy = userlandProxy(t)
	}
	if len(t.Containers) == 0 ||
		slices.ContainsFunc(t.Containers, func(c *Container) bool { return c.Namespace != 0 }) {
		return
	}
	e := f.inventory.Engine
	scheme, _, _ := strings.Cut(e.Host, "://")
	switch {
	case scheme == "ssh" || scheme == "tcp" || scheme == "http" || scheme == "https":
		t.Engine.Elsewhere = "remote engine at " + e.Host + ": its containers are not on this host; on that host run: sudo natlens watch"
	case strings.Contains(e.OperatingSystem, "Docker Desktop") || e.Hostname == "docker-desktop":
		t.Engine.Elsewhere = "Docker Desktop's virtual machine: its containers are not on this host; run natlens inside it: " +
			"docker run --rm -it --net=host --pid=host --privileged -v /var/run/docker.sock:/var/run/docker.sock -v /run:/run natlens watch"
	case f.blind:
		t.Notes = append(t.Notes, Note{About: "engine", Text: "no container could be matched with a namespace, because this user " +
			"may not look into them; run as root: sudo natlens"})
	case strings.Contains(strings.ToLower(e.KernelVersion), "microsoft"):
		t.Engine.Elsewhere = "WSL: the engine runs in another distribution's namespaces; run natlens inside them: " +
			"docker run --rm -it --net=host --pid=host --privileged -v /var/run/docker.sock:/var/run/docker.sock -v /run:/run natlens watch"
	case e.Rootless && strings.Contains(e.Name, "Podman"):
		t.Engine.Elsewhere = "rootless engine: its containers are in namespaces of a user's own that could not be matched; " +
			"run inside them, as that user: podman unshare --rootless-netns natlens watch"
	case e.Rootless:
		t.Engine.Elsewhere = "rootless engine: its containers are in namespaces of a user's own that could not be matched; " +
			"run inside them: nsenter -U --preserve-credentials -n -t \"$(cat $XDG_RUNTIME_DIR/docker.pid)\" natlens watch"
	default:
		t.Engine.Elsewhere = "none of its containers is in a namespace or process seen here: it runs elsewhere, or in another " +
			"process namespace; run natlens beside it: docker run --rm -it --net=host --pid=host --privileged " +
			"-v /var/run/docker.sock:/var/run/docker.sock -v /run:/run natlens watch"
	}
}
