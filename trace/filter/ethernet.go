package filter

import (
	"net"
	"strconv"

	"natlens/capture"
	"natlens/capture/packet"
)

// station is ether host, src and dst. Links without Ethernet's header have no
// MACs, nor has a place that no tap saw.
type station struct {
	direction direction
	mac       [6]byte
}

func (e station) match(s sighting) bool {
	if s.hop == nil || !s.has(packet.LayerEthernet) {
		return false
	}
	return e.direction.of(s.headers.SourceMAC == e.mac, s.headers.DestinationMAC == e.mac)
}

func (e station) bounds() bounds { return anyKind() }

func (e station) String() string {
	return "ether " + e.direction.prefix() + "host " + net.HardwareAddr(e.mac[:]).String()
}

// many is broadcast and multicast: a destination MAC that is not a station's.
type many struct{ broadcast bool }

func (m many) match(s sighting) bool {
	if s.hop == nil || !s.has(packet.LayerEthernet) {
		return false
	}
	to := s.headers.DestinationMAC
	if m.broadcast {
		return to == [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	return to[0]&1 != 0 // broadcast is multicast, too (IEEE 802)
}

func (m many) bounds() bounds { return anyKind() }

func (m many) String() string {
	if m.broadcast {
		return "broadcast"
	}
	return "multicast"
}

// anyVLAN is a tag with any id.
const anyVLAN = -1

// vlan is a frame with a tag, whose outermost has that id.
type vlan struct{ id int }

func (v vlan) match(s sighting) bool {
	return s.hop != nil && s.has(packet.LayerVLAN) && (v.id == anyVLAN || int(s.headers.VLAN) == v.id)
}

func (v vlan) bounds() bounds { return anyKind() }

func (v vlan) String() string {
	if v.id == anyVLAN {
		return "vlan"
	}
	return "vlan " + strconv.Itoa(v.id)
}

// needsTag reports whether n can be true of tagged frames only.
func needsTag(n node) bool {
	if c, ok := n.(combination); ok && c.and {
		return needsTag(c.left) || needsTag(c.right)
	}
	_, ok := n.(vlan)
	return ok
}

// way is inbound and outbound: which way the packet passed the link. It is neither
// where a file does not tell.
type way capture.Direction

func (w way) match(s sighting) bool {
	return s.hop != nil && s.hop.Type != capture.UnknownType && s.hop.Point.Direction == capture.Direction(w)
}

func (w way) bounds() bounds { return anyKind() }

func (w way) String() string { return capture.Direction(w).String() + "bound" }
