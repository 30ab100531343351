package trace

import (
	"net"
	"net/netip"
	"slices"
	"strconv"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// link is what joining needs to know of a network interface. It outlives the
// interface for a while, since its packets are judged later than they pass.
type link struct {
	key    netinfo.LinkKey
	name   string
	ns     *space
	master netinfo.LinkKey // zero: none
	parent netinfo.LinkKey // zero: none
	peer   netinfo.LinkKey // zero: none, or not to be seen from here
	mac    [6]byte         // zero: none
	bridge bool
	loop   bool
	uplink bool
	veth   bool
	up     bool   // it was seen up, and then had this name
	over   bool   // another link stands on top of this one (macvlan, VLAN)
	far    *space // at the other end of a veth; nil when that can't be seen
	since  int64  // when it was first there; 1 when it was before
	dead   int64  // when it was first told that nothing can pass; 0 while something can
	// wasDown: it was down itself then, and was not only without a carrier.
	wasDown bool
	stopped stop // the last one that is over
	// version changes with what is told of it.
	version uint32
	gone    int64 // when it was first missing; 0 while it is there
}

// stop is a time in which nothing could pass a link.
type stop struct {
	since, until int64 // when it was first told of, and when of its end; both 0: there was none
	down         bool
}

// linkDelay is how long after a change of a link a topology may tell of it.
const linkDelay = 500e6

// stoppedAt reports whether nothing could pass the link at a time, as topologies told
// before, and ever since or until well after; down, whether it was down itself.
func (l *link) stoppedAt(at int64) (stopped, down bool) {
	switch s := l.stopped; {
	case l.dead != 0 && l.dead < at:
		return true, l.wasDown
	case s.since != 0 && s.since < at && at < s.until-linkDelay:
		return true, s.down
	}
	return false, false
}

// space is a network namespace, likewise.
type space struct {
	id         netns.ID
	name       string
	containers []string
	own        map[[16]byte]struct{} // its links' addresses, IPv4 in its v4-mapped form
	wide       []netip.Prefix        // of what else it takes for itself: see widen
	since      int64                 // when its ring was attached; 0 before it has one
	until      int64                 // when its ring was detached; 0 before
	version    uint32                // changes with what is told of it
	lives      uint32                // how many namespaces had its number
	born       int64                 // when it was first heard of; 1 when it was there before
	gone       int64                 // when it was first missing; 0 while it is there
	self       bool
	// routed is how packets that came in were routed before, oldest first; and before
	// routedSince it is not known.
	routed      []formerRouting
	routedSince int64
}

// hosts is the memory of links and namespaces: the newest topology and what
// older ones had.
type hosts struct {
	topology *netinfo.Topology
	told     bool // topology is not the first one
	// former are some of those before, oldest first: see owner.
	former []*netinfo.Topology
	// youngUntil is until when something is so new that more may be heard of it.
	youngUntil int64
	links      map[netinfo.LinkKey]*link
	spaces     map[netns.ID]*space
	// places remembers what a point is, until the next topology.
	places map[capture.Point]place
	// near are the last of them, which saves most lookups.
	near [256]struct {
		point capture.Point
		place place
	}
}

// place is the link and the namespace of a point.
type place struct {
	link  *link // nil while no topology has told of it
	space *space
}

func newHosts() hosts {
	return hosts{topology: (&netinfo.Topology{}).Seal(), links: map[netinfo.LinkKey]*link{}, spaces: map[netns.ID]*space{},
		places: map[capture.Point]place{}}
}

// maxPlaces is how many points are remembered: a file can name any number of links.
const maxPlaces = 1 << 14

// keepGone is how long a link is remembered after it went: longer than any
// journey over it can stay open.
const keepGone = 30e9

// set takes in a new topology. Links and spaces that hops point to are changed
// in place, never replaced.
func (h *hosts) set(t *netinfo.Topology) {
	begun := t.Time.UnixNano()
	if !h.told {
		begun = 1
	}
	before := h.topology
	if h.told {
		h.remember(before)
	}
	h.topology, h.told = t, true
	clear(h.places)
	clear(h.near[:])
	now := t.Time.UnixNano()
	for _, l := range h.links {
		l.over = false
		if t.Link(l.key) == nil && l.gone == 0 {
			l.gone = now
		}
		if l.gone != 0 && l.gone < now-keepGone {
			delete(h.links, l.key)
		}
	}
	for id, s := range h.spaces {
		if t.Namespace(id) == nil && s.gone == 0 {
			s.gone = now
		}
		if s.gone != 0 && s.gone < now-keepGone && !s.watched(now) {
			delete(h.spaces, id)
		}
	}
	for _, n := range t.Namespaces {
		s := h.space(n.ID)
		if was := before.Namespace(n.ID); begun != 1 {
			s.reroute(was, n, now)
		}
		// Of one that is about to go less may be known than before.
		if s.own == nil || s.name != n.Name && (len(n.Containers) > 0 || len(s.containers) == 0) {
			s.version++
		}
		if s.gone != 0 { // another with its number
			s.lives++
			s.born = 0
		}
		s.name, s.self, s.gone = n.Name, n.ID == t.Self, 0
		if s.born == 0 {
			s.born = begun
			h.met(begun)
		}
		s.own, s.containers = map[[16]byte]struct{}{}, nil
		for _, c := range n.Containers {
			if n.ID != t.Self {
				s.containers = append(s.containers, c.Name)
			}
		}
		for _, nl := range n.Links {
			h.setLink(nl, s, begun)
			for _, p := range nl.Addresses {
				s.own[p.Addr().As16()] = struct{}{}
			}
		}
		s.widen(n.Routing)
	}
	for _, l := range h.links {
		if under := h.links[l.parent]; under != nil && l.gone == 0 {
			under.over = true
		}
		if far := h.spaces[l.peer.Namespace]; far != nil {
			l.far = far
		}
	}
}

func (h *hosts) setLink(nl *netinfo.Link, s *space, begun int64) {
	l := h.links[nl.Key]
	if l == nil {
		l = &link{key: nl.Key, ns: s, since: begun}
		h.links[nl.Key] = l
		h.met(begun)
	}
	// Packets pass a link that is up, by the name that it has then. Before that, and
	// afterwards, an engine gives it others, to move it.
	if l.name != nl.Name && (nl.Up || !l.up) {
		l.name = nl.Name
		l.version++
	}
	l.up = l.up || nl.Up
	switch can := carries(nl); {
	case can && l.dead != 0:
		l.stopped, l.dead = stop{l.dead, begun, l.wasDown}, 0
	case !can && l.dead == 0:
		l.dead = begun
	}
	if l.dead != 0 {
		l.wasDown = !nl.Up
	}
	l.gone, l.far = 0, nil
	l.bridge, l.loop, l.uplink = nl.Kind == "bridge", nl.Role == netinfo.RoleLoopback, nl.Role == netinfo.RoleUplink
	l.veth = nl.Kind == "veth"
	l.mac = [6]byte{}
	if hw, err := net.ParseMAC(nl.MAC); err == nil && len(hw) == len(l.mac) {
		l.mac = [6]byte(hw)
	}
	l.master, l.parent, l.peer = netinfo.LinkKey{}, netinfo.LinkKey{}, netinfo.LinkKey{}
	if nl.Master != nil {
		l.master = *nl.Master
	}
	if nl.Parent != nil {
		l.parent = *nl.Parent
	}
	if nl.Peer != nil && nl.Peer.Key.Namespace != 0 {
		l.peer = nl.Peer.Key
	}
}

// space returns the namespace, making an unnamed one when no topology has told
// of it yet.
func (h *hosts) space(id netns.ID) *space {
	s := h.spaces[id]
	if s == nil {
		s = &space{id: id, name: id.String()}
		h.spaces[id] = s
	}
	return s
}

// link returns the link of a point, or nil while no topology has told of it.
func (h *hosts) link(p capture.Point) *link {
	return h.links[netinfo.LinkKey{Namespace: p.Namespace, Index: p.Ifindex}]
}

// at returns what a point is.
func (h *hosts) at(p capture.Point) place {
	const golden = 0x9e3779b97f4a7c15 // Knuth's multiplicative hashing: the highest bits depend on all
	slot := &h.near[(uint64(p.Namespace)<<24^uint64(p.Ifindex)<<1^uint64(p.Direction))*golden>>56]
	if slot.point == p && slot.place.space != nil {
		return slot.place
	}
	found, known := h.places[p]
	if !known {
		if len(h.places) >= maxPlaces {
			clear(h.places)
		}
		found = place{h.link(p), h.space(p.Namespace)}
		h.places[p] = found
	}
	slot.point, slot.place = p, found
	return found
}

// watched reports whether the namespace had a ring at that time.
func (s *space) watched(at int64) bool {
	return s != nil && s.since != 0 && at >= s.since && (s.until == 0 || at < s.until)
}

// forgetTimes makes what is there look as if it had always been, after the
// clock was set.
func (h *hosts) forgetTimes() {
	for _, l := range h.links {
		l.gone, l.since, l.dead, l.stopped = min(l.gone, 1), min(l.since, 1), min(l.dead, 1), stop{}
	}
	for _, s := range h.spaces {
		s.since, s.until, s.gone, s.born = min(s.since, 1), min(s.until, 1), min(s.gone, 1), min(s.born, 1)
	}
	h.youngUntil, h.former = 0, nil
}

// has reports whether the address is one of the namespace's own, a loopback
// address included; false as long as no topology has told of it.
func (s *space) has(a netip.Addr) bool {
	if s.own == nil {
		return false
	}
	_, ok := s.own[a.As16()]
	return ok || a.IsLoopback() || len(s.wide) > 0 && s.takes(a)
}

// widen finds the addresses that no link has and that the namespace takes for its own all
// the same, as its local table has a route of type local to them ("ip route add local
// 203.0.113.0/24 dev lo").
func (s *space) widen(r *netinfo.Routing) {
	if s.wide = nil; r == nil {
		return
	}
	for i := range r.Routes {
		to := &r.Routes[i]
		if to.Table != netinfo.TableLocal || to.Type != netinfo.RouteLocal || to.Destination.Addr().IsLoopback() {
			continue
		}
		if _, ok := s.own[to.Destination.Addr().As16()]; !ok || !to.Destination.IsSingleIP() {
			s.wide = append(s.wide, to.Destination)
		}
	}
}

// takes reports whether the namespace takes the address for its own by a route alone.
func (s *space) takes(a netip.Addr) bool {
	return slices.ContainsFunc(s.wide, func(p netip.Prefix) bool { return p.Contains(a) })
}

// hasDestination reports whether a packet with that tuple is for the namespace
// itself.
func (s *space) hasDestination(t *packet.Tuple) bool {
	if s.own == nil {
		return false
	}
	to := t.Destination16()
	if _, ok := s.own[to]; ok {
		return true
	}
	a := netip.AddrFrom16(to).Unmap()
	return a.IsLoopback() || len(s.wide) > 0 && s.takes(a)
}

// farSide returns the namespace at the other end of a veth; nil when l is none
// or its other end cannot be seen.
func (h *hosts) farSide(l *link) *space {
	if l == nil {
		return nil
	}
	return l.far
}

// linkName returns the name of a sighting's link, or "if7" while it is unknown.
func (s *sighting) linkName() string {
	if s.link != nil {
		return s.link.name
	}
	return "if" + strconv.Itoa(int(s.point.Ifindex))
}

// layer3 returns the name by which rules know a link: for the port of a bridge
// that is the bridge.
func (h *hosts) layer3(l *link) string {
	if l == nil {
		return ""
	}
	if m := h.links[l.master]; m != nil {
		return m.name
	}
	return l.name
}
