package jsonl

import (
	"time"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/trace"
)

// event is something that happened on the host and is no journey.
type event struct {
	header
	Time           string `json:"time"`
	Object         string `json:"object"`
	Action         string `json:"action"`
	Name           string `json:"name,omitempty"`
	Namespace      string `json:"namespace,omitempty"`
	NamespaceInode uint64 `json:"namespace_inode,omitempty"`
	Detail         string `json:"detail,omitempty"`
}

// resolution is a sighting of address resolution or group membership, an event too.
type resolution struct {
	event
	Interface   string   `json:"interface,omitempty"`
	Ifindex     int32    `json:"ifindex"`
	Direction   string   `json:"direction,omitempty"`
	Source      *end     `json:"source,omitempty"`
	Destination *end     `json:"destination,omitempty"`
	Target      string   `json:"target,omitempty"`
	Hardware    mac      `json:"hardware,omitzero"`
	Groups      []string `json:"groups,omitempty"`
	Left        []string `json:"left,omitempty"`
	MAC         *macs    `json:"mac,omitempty"`
}

// Change writes what came, went or changed on the host, kind "event".
func Change(c *netinfo.Change, at time.Time) ([]byte, error) {
	return line(event{
		header: kind("event"), Time: stamp(at.UnixNano()), Object: c.Kind, Action: c.Action, Name: c.Name,
		Namespace: c.NamespaceName, NamespaceInode: c.Namespace.Inode(), Detail: c.Detail,
	})
}

// ARP writes one sighting of address resolution or group membership, kind "event".
func ARP(a *trace.ARP) ([]byte, error) {
	h := &a.Headers
	x := resolution{
		event: event{
			header: kind("event"), Time: stamp(a.Time), Object: "arp", Action: "other",
			Namespace: a.Namespace, NamespaceInode: a.Point.Namespace.Inode(),
		},
		Interface: a.Interface, Ifindex: a.Point.Ifindex, Direction: way(a.Type, a.Point),
		Source: newEnd(h.Tuple.Source(), 0, false), Destination: newEnd(h.Tuple.Destination(), 0, false),
		MAC: newMACs(h), Hardware: a.Hardware,
	}
	if h.Layers.Has(packet.LayerARP) {
		switch h.ARPOperation {
		case 1:
			x.Action = "request"
		case 2:
			x.Action = "reply"
		}
		return line(x)
	}
	if a.Membership != packet.NoMembership {
		x.membership(a)
		return line(x)
	}
	x.Object = "neighbour"
	if a.Target.IsValid() {
		x.Target = a.Target.String()
	}
	switch h.ICMPType { // RFC 4861, section 4
	case 133:
		x.Action = "router_solicitation"
	case 134:
		x.Action = "router_advertisement"
	case 135:
		x.Action = "solicitation"
	case 136:
		x.Action = "advertisement"
	case 137:
		x.Action = "redirect"
	}
	return line(x)
}

// membership says who listens to what.
func (x *resolution) membership(a *trace.ARP) {
	x.Object = "igmp"
	if a.Headers.Layers.Has(packet.LayerIPv6) {
		x.Object = "mld"
	}
	switch a.Membership {
	case packet.MembershipQuery:
		x.Action = "query"
	case packet.MembershipReport:
		x.Action = "report"
	case packet.MembershipLeave:
		x.Action = "leave"
	}
	for _, m := range a.Groups {
		if m.Left {
			x.Left = append(x.Left, m.Group.String())
		} else {
			x.Groups = append(x.Groups, m.Group.String())
		}
	}
}
