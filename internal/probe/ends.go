package probe

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	"natlens/internal/explain"
	"natlens/netinfo"
	"natlens/netinfo/docker"
)

// Source is where a probe begins.
type Source struct {
	Name      string // as asked
	Namespace *netinfo.Namespace
	// Container is the one whose networks and names FROM has: of containers that
	// share a namespace the one that it was made for. nil when there is none.
	Container *netinfo.Container
	Link      *netinfo.Link // the only link to send by; nil leaves that to the routes
}

// NotASource is a FROM from which nothing can be sent.
type NotASource struct {
	Word   string
	Reason string
}

func (e *NotASource) Error() string { return e.Word + ": " + e.Reason }

// FindSource finds what FROM names. A word that names nothing is an
// *explain.UnknownTarget, near to which are names that can be FROM; one that names
// something else is a *NotASource.
func FindSource(t *netinfo.Topology, word string) (Source, error) {
	found, err := explain.Find(t, word)
	if unknown := (*explain.UnknownTarget)(nil); errors.As(err, &unknown) && !unknown.Many {
		return Source{}, &explain.UnknownTarget{Word: word, Near: explain.Nearest(word, sources(t))}
	}
	if err != nil {
		return Source{}, err
	}
	s := Source{Name: word}
	switch target := found[0]; {
	case target.Container != nil:
		s.Container = networked(t, target.Container)
		s.Namespace = t.Namespace(target.Container.Namespace)
		if s.Namespace == nil {
			return Source{}, &NotASource{word, "its network namespace was not found on this host"}
		}
	case target.Link != nil:
		s.Link = target.Link
		s.Namespace = t.Namespace(target.Link.Key.Namespace)
		s.Container = containerIn(t, s.Namespace)
	case target.Namespace != nil:
		s.Namespace = target.Namespace
		s.Container = containerIn(t, s.Namespace)
	default:
		return Source{}, &NotASource{word, "that is " + kindOf(target) + "; FROM is a container, a link or host"}
	}
	return s, nil
}

// kindOf says what a target is that has no namespace of its own.
func kindOf(target explain.Target) string {
	if target.Network != nil {
		return "a network"
	}
	return "a topic of natlens explain"
}

// sources are the names that can be FROM.
func sources(t *netinfo.Topology) (all []string) {
	for _, c := range t.Containers {
		if c.Namespace != 0 {
			all = append(all, c.Name)
		}
	}
	for _, n := range t.Namespaces {
		all = append(all, n.Name)
		for _, l := range n.Links {
			if n.ID == t.Self {
				all = append(all, l.Name)
				continue
			}
			all = append(all, n.Name+":"+l.Name)
		}
	}
	return all
}

// containerIn returns the container that a namespace was made for, or nil.
func containerIn(t *netinfo.Topology, n *netinfo.Namespace) *netinfo.Container {
	if len(n.Containers) == 0 || n.ID == t.Self {
		return nil
	}
	return networked(t, n.Containers[0])
}

// joins begins the mode of a container that shares another one's namespace, and with
// it that one's hosts file and resolv.conf.
const joins = "container:"

// networked returns the container on whose networks c is: itself, or the one whose
// namespace it shares.
func networked(t *netinfo.Topology, c *netinfo.Container) *netinfo.Container {
	if id, shared := strings.CutPrefix(c.Mode, joins); shared {
		for _, other := range t.Containers {
			if other.ID == id || other.Name == id {
				return other
			}
		}
	}
	return c
}

// Destination is where a probe is to go.
type Destination struct {
	Word      string // as asked
	Address   netip.Addr
	Container *netinfo.Container // whose address it is, when TO names one
	Network   string             // of that address, when TO names a container
	// Others are further addresses of the container, which FROM could ask for,
	// too.
	Others []netip.Addr
	Lookup Lookup
}

// Lookup says what the name TO is to FROM itself.
type Lookup struct {
	// Asked: TO is a name, so that FROM would have to look it up.
	Asked    bool
	Resolves bool
	How      string // who would answer, or why nobody does
}

// NoAddress is a destination that has none.
type NoAddress struct {
	Word   string
	Reason string
}

func (e *NoAddress) Error() string { return e.Word + ": " + e.Reason }

// NotATarget is a TO that is something else than what has an address.
type NotATarget struct {
	Word string
	Kind string // "a network"
}

func (e *NotATarget) Error() string {
	return e.Word + " is " + e.Kind + "; TO is a container, a name or an address"
}

// FindDestination finds what TO names for that source, as far as it can be known
// without asking the network: an address, a container by its engine's address, a
// namespace of this host, "host". ok is false for any other name; one of a network is a
// *NotATarget.
func FindDestination(t *netinfo.Topology, from Source, word string) (d Destination, ok bool, err error) {
	d = Destination{Word: word}
	if a, err := netip.ParseAddr(word); err == nil {
		d.Address = a.Unmap()
		return d, true, nil
	}
	found, err := explain.Find(t, word)
	var unknown *explain.UnknownTarget
	switch {
	case errors.As(err, &unknown) && !unknown.Many:
		return d, false, nil // a name, then
	case err != nil:
		return d, false, err
	}
	var ways []way
	switch target := found[0]; {
	case target.Container != nil:
		d.Container = target.Container
		d.Lookup = lookUp(t, from, d.Container)
		if ways = waysTo(t, from, d.Container); len(ways) == 0 {
			return d, true, &NoAddress{word, "it has no address: " + whyNone(d.Container)}
		}
	case target.Namespace != nil:
		if ways = addressesOf(t, from, target.Namespace); len(ways) == 0 {
			return d, true, &NoAddress{word, "it has no address"}
		}
	case target.Network != nil:
		return d, true, &NotATarget{word, kindOf(target)}
	default:
		return d, false, nil
	}
	d.Address, d.Network = ways[0].address, ways[0].network
	for _, w := range ways[1:] {
		d.Others = append(d.Others, w.address)
	}
	return d, true, nil
}

// whyNone says why a container has no address.
func whyNone(c *netinfo.Container) string {
	switch {
	case c.Mode == "none", c.Mode == "host", strings.HasPrefix(c.Mode, joins):
		return "its network mode is " + c.Mode
	}
	return "it is on no network"
}

// way is one address to ask for, and why it comes before others.
type way struct {
	address netip.Addr
	network string
	rank    int // lowest first
}

const (
	sharedNetwork = iota
	otherNetwork
	notIPv4 // added to the above
)

// waysTo returns the container's addresses, those on a network that FROM is on
// first, IPv4 before IPv6.
func waysTo(t *netinfo.Topology, from Source, c *netinfo.Container) []way {
	var ways []way
	for _, e := range c.Endpoints {
		for _, p := range e.Addresses {
			w := way{address: p.Addr(), network: e.Network, rank: otherNetwork}
			if from.Container != nil && shares(from.Container, e) {
				w.rank = sharedNetwork
			}
			if !w.address.Is4() {
				w.rank += notIPv4
			}
			ways = append(ways, w)
		}
	}
	if len(ways) == 0 {
		if n := t.Namespace(c.Namespace); n != nil {
			return addressesOf(t, from, n)
		}
	}
	sortWays(ways)
	return ways
}

func sortWays(ways []way) {
	slices.SortStableFunc(ways, func(a, b way) int { return a.rank - b.rank })
}

// addressesOf returns the addresses of a namespace's links: those that are on one
// of FROM's own subnets first.
func addressesOf(t *netinfo.Topology, from Source, n *netinfo.Namespace) []way {
	if n.ID == from.Namespace.ID {
		return []way{{address: netip.AddrFrom4([4]byte{127, 0, 0, 1})}}
	}
	var ways []way
	for _, l := range n.Links {
		if l.Role == netinfo.RoleLoopback {
			continue
		}
		for _, p := range l.Addresses {
			if p.Addr().IsLinkLocalUnicast() {
				continue
			}
			w := way{address: p.Addr(), network: l.Network, rank: otherNetwork}
			if onSubnet(from.Namespace, p.Addr()) {
				w.rank = sharedNetwork
			}
			if !w.address.Is4() {
				w.rank += notIPv4
			}
			ways = append(ways, w)
		}
	}
	sortWays(ways)
	return ways
}

func onSubnet(n *netinfo.Namespace, a netip.Addr) bool {
	return slices.ContainsFunc(n.Links, func(l *netinfo.Link) bool {
		return slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Contains(a) })
	})
}

func shares(c *netinfo.Container, e docker.Endpoint) bool {
	return slices.ContainsFunc(c.Endpoints, func(own docker.Endpoint) bool { return own.Network == e.Network })
}

// defaultBridge is the network whose members the engine's DNS does not name.
const defaultBridge = "bridge"

// lookUp says whether FROM could have resolved the container's name: the engine
// answers for names of containers that share a network of the user's making.
func lookUp(t *netinfo.Topology, from Source, to *netinfo.Container) Lookup {
	l := Lookup{Asked: true}
	if from.Container != nil && ofPodman(t, to) {
		return askPodman(t, from, to)
	}
	if from.Container == nil {
		l.How = "outside of containers nobody asks the engine's DNS"
		return l
	}
	for _, e := range to.Endpoints {
		if e.Network != defaultBridge && shares(from.Container, e) {
			return Lookup{Asked: true, Resolves: true, How: "the engine's DNS, 127.0.0.11"}
		}
	}
	switch {
	case from.Namespace.ID == t.Self:
		l.How = "on the host's own network nobody asks the engine's DNS"
	case from.Container.Mode == "none":
		l.How = "it is on no network"
	case to.Mode == "host" || to.Mode == "none" || strings.HasPrefix(to.Mode, joins):
		l.How = "the engine's DNS names only containers on its networks"
	case slices.ContainsFunc(to.Endpoints, func(e docker.Endpoint) bool { return shares(from.Container, e) }):
		l.How = "the default network has no DNS of its own"
	default:
		l.How = "no network has both of them"
	}
	return l
}
