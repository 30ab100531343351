package netinfo

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// dumpAttempts is how often a dump that the kernel calls inconsistent is
// asked for again. What the last attempt gave is taken: a host on which links
// come and go all the time must be shown too.
const dumpAttempts = 4

// probe keeps one namespace open and asks rtnetlink about it. It owns a
// descriptor of the namespace and a socket inside it. Both keep the namespace
// alive, so a probe must be closed as soon as nothing else does.
type probe struct {
	handle *netns.Handle
	rtnl   *netlink.Handle
	events *subscription // nil when nobody asked for it
	inside bool          // the calling process is in that namespace

	links    []linkFacts
	routes   []Route
	routing  *Routing
	defaults map[int32]bool
	// peers is the namespace that each id of this namespace stands for. An id
	// is fixed as long as the other namespace lives, and that lives as long
	// as its probe.
	peers map[int32]netns.ID
	dirty bool  // has to be read (again)
	err   error // why it could not be read
}

// openProbe opens the namespace that one of the paths leads to. inside says
// that the calling process is in that namespace and need not enter it, which
// takes no privilege. With listen, the probe has a subscription, which begins
// before anything is read, so that no change falls in between. openProbe
// returns errVanished when no path leads to the namespace anymore.
func openProbe(id netns.ID, paths []string, inside, listen bool) (*probe, error) {
	h, err := openAny(id, paths)
	if err != nil {
		return nil, err
	}
	p := &probe{handle: h, inside: inside, dirty: true, peers: map[int32]netns.ID{}}
	dial := func() error {
		var err error
		if listen {
			if p.events, err = subscribe(); err != nil {
				return err
			}
		}
		p.rtnl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	}
	if inside {
		err = dial()
	} else {
		err = h.Do(dial)
	}
	if err != nil {
		if p.events != nil {
			p.events.close()
		}
		return nil, errors.Join(fmt.Errorf("open rtnetlink in %v: %w", id, err), h.Close())
	}
	return p, nil
}

// openAny tries the paths in turn and takes the first that leads to the
// namespace id: a process id may have been reused, a mount replaced.
func openAny(id netns.ID, paths []string) (*netns.Handle, error) {
	var denied error
	for _, path := range paths {
		h, err := netns.Open(path)
		if err != nil {
			if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
				denied = err
			}
			continue
		}
		if h.ID() == id {
			return h, nil
		}
		_ = h.Close() // read-only: nothing is lost
	}
	if denied != nil {
		return nil, denied
	}
	return nil, fmt.Errorf("open namespace %v: %w", id, errVanished)
}

func (p *probe) close() {
	if p.events != nil {
		p.events.close()
	}
	p.rtnl.Close()
	_ = p.handle.Close() // read-only: nothing is lost
}

// read takes links, addresses and routes anew.
func (p *probe) read() error {
	links, err := dump(p.rtnl.LinkList)
	if err != nil {
		return fmt.Errorf("list links of %v: %w", p.handle.ID(), err)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return p.rtnl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses of %v: %w", p.handle.ID(), err)
	}
	routes, err := dump(func() ([]netlink.Route, error) {
		// Table "unspecified" with the filter on means all tables.
		all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
		return p.rtnl.RouteListFiltered(netlink.FAMILY_ALL, all, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("list routes of %v: %w", p.handle.ID(), err)
	}
	prefixes := map[int32][]netip.Prefix{}
	for _, a := range addrs {
		if prefix, ok := prefixFromNet(a.IPNet); ok {
			index := int32(a.LinkIndex)
			prefixes[index] = append(prefixes[index], prefix)
		}
	}
	p.links = make([]linkFacts, 0, len(links))
	for _, l := range links {
		f := newLinkFacts(l)
		f.Addresses = prefixes[f.Key.Index]
		slices.SortStableFunc(f.Addresses, func(a, b netip.Prefix) int {
			return cmp.Compare(a.Addr().BitLen(), b.Addr().BitLen())
		})
		p.links = append(p.links, f)
	}
	p.setHairpin()
	p.routes, p.defaults = nil, map[int32]bool{}
	for _, r := range routes {
		p.addRoute(r)
	}
	slices.SortFunc(p.routes, compareRoutes)
	p.routes = slices.Compact(p.routes)
	p.readRouting(routes)
	return nil
}

// dump asks again when the kernel says that a dump was interrupted by a change.
func dump[T any](list func() ([]T, error)) (items []T, err error) {
	for range dumpAttempts {
		if items, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return items, err
		}
	}
	return items, nil
}

// wanted returns the namespace ids that this namespace's links carry and that
// are not resolved yet.
func (p *probe) wanted() map[int32]bool {
	var ids map[int32]bool
	for _, l := range p.links {
		if l.PeerNSID < 0 || p.peers[l.PeerNSID] != 0 || (l.Kind != "veth" && !l.stacked) {
			continue
		}
		if ids == nil {
			ids = map[int32]bool{}
		}
		ids[l.PeerNSID] = true
	}
	return ids
}

// resolve finds out which of the other probes' namespaces the wanted ids stand
// for. The kernel answers only the reverse question, "which id has this
// namespace here" (RTM_GETNSID), so the likely ones are asked first: those
// with a link that points back, then hub, then all.
func (p *probe) resolve(probes map[netns.ID]*probe, order []netns.ID) {
	wanted := p.wanted()
	if len(wanted) == 0 {
		return
	}
	asked := map[netns.ID]bool{p.handle.ID(): true}
	ask := func(id netns.ID) {
		if asked[id] || len(wanted) == 0 {
			return
		}
		asked[id] = true
		nsid, err := p.rtnl.GetNetNsIdByFd(probes[id].handle.Fd())
		// -1: it has no id here. An error: it was not to be had, as with
		// every other id that stays unknown.
		if err == nil && nsid >= 0 {
			p.peers[int32(nsid)] = id
			delete(wanted, int32(nsid))
		}
	}
	for _, l := range p.links {
		if !wanted[l.PeerNSID] || l.Kind != "veth" {
			continue
		}
		for _, id := range order {
			if wanted[l.PeerNSID] && probes[id].pointsAt(l.PeerIndex, l.Key.Index) {
				ask(id)
			}
		}
	}
	for _, id := range order {
		ask(id)
	}
}

// pointsAt reports whether the link with that index is a veth whose peer has
// the other index, in whatever namespace.
func (p *probe) pointsAt(index, peer int32) bool {
	for i := range p.links {
		if l := &p.links[i]; l.Key.Index == index {
			return l.Kind == "veth" && l.PeerIndex == peer && l.PeerNSID != -1
		}
	}
	return false
}

// facts returns what is known of the namespace. The slices are shared with the
// probe, which replaces and never changes them.
func (p *probe) facts() *namespaceFacts {
	peers := make(map[int32]netns.ID, len(p.peers))
	for nsid, id := range p.peers {
		peers[nsid] = id
	}
	return &namespaceFacts{
		id: p.handle.ID(), links: p.links, routes: p.routes, routing: p.routing, defaults: p.defaults, peers: peers, unreadable: p.err,
	}
}
