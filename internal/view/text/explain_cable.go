package text

import (
	"fmt"

	"natlens/netinfo"
)

// cable tells what the two ends of a veth say of each other. l is the end that
// the reader asked about or the container's.
func (e *explanation) cable(l *netinfo.Link) {
	if l.Peer == nil {
		return
	}
	here := e.Topology.Namespace(l.Key.Namespace)
	far := e.Topology.Link(l.Peer.Key)
	e.say("%s %s (index %d) is one end of a veth, a virtual cable with two ends. It says: my peer has index %d %s.",
		sentence(e.of(l.Key.Namespace)), e.Escape(l.Name), l.Key.Index, l.PeerIndex, nsidWords(l.PeerNSID))
	switch {
	case l.Peer.Key.Namespace == 0:
		e.say("Which namespace that is could not be seen, so the other end is unknown. Root sees more.")
	case far == nil:
		e.say("That namespace is %s, but the link itself could not be read.", e.theNamespace(l))
	default:
		e.say("That namespace is %s. Index %d there is %s, and it says: my peer has index %d %s.",
			e.theNamespace(l), far.Key.Index, e.Escape(far.Name), far.PeerIndex, nsidWords(far.PeerNSID))
		if l.Peer.Mutual {
			e.say("Each points at the other, so these two are one cable. The @if%d that ip shows would not prove it: every namespace "+
				"counts its own links, and others may have an index %d as well.", far.PeerIndex, far.PeerIndex)
		} else {
			e.say("It does not point back, so this is what one end says, not proof.")
		}
	}
	e.showLink(here, l)
	if far != nil {
		e.showLink(e.Topology.Namespace(far.Key.Namespace), far)
	}
	if l.PeerNSID >= 0 {
		e.checkAsRoot("lsns -t net -o NETNSID,NS,PID,COMMAND")
	}
}

func (e *explanation) showLink(n *netinfo.Namespace, l *netinfo.Link) {
	if n != nil {
		e.inside(n, "ip -d link show "+quote(e.Escape(l.Name)))
	}
}

// nsidWords says where a veth's end looks for the other (IFLA_LINK_NETNSID).
func nsidWords(nsid int32) string {
	if nsid < 0 {
		return "in my own namespace"
	}
	return fmt.Sprintf("in the namespace that I call id %d", nsid)
}

// theNamespace says what namespace a veth's other end is in.
func (e *explanation) theNamespace(l *netinfo.Link) string {
	if id := l.Peer.Key.Namespace; id != l.Key.Namespace {
		return e.of(id) + ", " + id.String()
	}
	return "the same one"
}

// stations draws the way from a link to the outside: the cable, the bridge,
// the uplink.
func (e *explanation) stations(l *netinfo.Link) []station {
	way := e.WayOut(l.Key.Namespace)
	stop := func(l *netinfo.Link, notes ...string) station {
		s := station{space: e.Escape(e.Topology.NamespaceName(l.Key.Namespace)), name: e.Escape(l.Name)}
		s.below = append([]string{first(l)}, notes...)
		return s
	}
	index := func(l *netinfo.Link) string { return fmt.Sprintf("index %d", l.Key.Index) }
	all := []station{stop(l, index(l))}
	at := l
	if l.Peer != nil {
		far := e.Topology.Link(l.Peer.Key)
		if far == nil {
			return all
		}
		all[0].to = "veth"
		all = append(all, stop(far, index(far)))
		at = far
	}
	if at.Parent != nil {
		if parent := e.Topology.Link(*at.Parent); parent != nil {
			all[0].to = e.Escape(at.Kind)
			return append(all, stop(parent, index(parent)))
		}
	}
	if at.Master != nil {
		if bridge := e.Topology.Link(*at.Master); bridge != nil {
			all = append(all, stop(bridge, "bridge"))
			at = bridge
		}
	}
	// The uplink is drawn where the way really goes by this link.
	if len(way) > 1 && way[0].Out == l && way[1].In == at {
		last := &all[len(all)-1]
		last.arrow = true
		if e.masquerades(&way[1]) {
			last.to = "NAT"
		}
		all = append(all, stop(way[1].Out, "uplink"))
	}
	return all
}
