package packet

import (
	"encoding/binary"
	"net/netip"
)

// IGMP is the protocol by which hosts tell routers and bridges on their link which
// groups they listen to (RFC 3376). IPv6 has messages of ICMPv6 for it: MLD.
const IGMP Protocol = 2

// Membership is what a message of group membership says of one group.
type Membership struct {
	Group netip.Addr
	Left  bool // nobody there listens to it any more; else somebody does
}

// MembershipKind is what a message of group membership is.
type MembershipKind uint8

// The kinds; NoMembership is any other packet.
const (
	NoMembership MembershipKind = iota
	MembershipQuery
	MembershipReport
	MembershipLeave
	MembershipOther // of a kind that is not known here
)

// Types of IGMP (RFC 1112, RFC 2236, RFC 3376) and of MLD (RFC 2710, RFC 3810).
const (
	igmpQuery, igmpReport1, igmpReport2, igmpLeave, igmpReport3 = 0x11, 0x12, 0x16, 0x17, 0x22
	mldQuery, mldReport1, mldDone, mldReport2                   = 130, 131, 132, 143
)

// Membership says what the packet is to group membership. It does not allocate.
func (h *Headers) Membership(data []byte) MembershipKind {
	switch {
	case h.Tuple.Protocol == ICMPv6 && h.Layers.Has(LayerICMP|LayerIPv6):
		switch h.ICMPType {
		case mldQuery:
			return MembershipQuery
		case mldReport1, mldReport2:
			return MembershipReport
		case mldDone:
			return MembershipLeave
		}
	case h.Tuple.Protocol == IGMP && h.Layers.Has(LayerIPv4):
		if p := h.Payload(data); len(p) > 0 && h.FragmentOffset == 0 {
			switch p[0] {
			case igmpQuery:
				return MembershipQuery
			case igmpReport1, igmpReport2, igmpReport3:
				return MembershipReport
			case igmpLeave:
				return MembershipLeave
			}
		}
		return MembershipOther
	}
	return NoMembership
}

// Record types of a report (RFC 3376, section 4.2.12; RFC 3810, section 5.2.12).
const (
	modeIsInclude   = 1
	changeToInclude = 3
	blockOldSources = 6
)

// Memberships returns what a message of group membership says of groups, as far as
// the captured bytes tell; a query that asks for one names it. data must be what h was
// parsed from.
func (h *Headers) Memberships(data []byte) []Membership {
	kind := h.Membership(data)
	if kind == NoMembership || kind == MembershipOther {
		return nil
	}
	// Both begin with type, code, checksum. An old message goes on with the group, in
	// MLD behind 4 bytes more; a report of the newer version with how many records
	// there are, behind 2 bytes, in both.
	body, size, at := h.Payload(data), 4, 4
	records := len(body) > 0 && body[0] == igmpReport3
	if h.Layers.Has(LayerIPv6) {
		body, size, at = data[h.TransportOffset:], 16, 8
		records = h.ICMPType == mldReport2
	}
	if !records {
		if group, ok := groupAt(body, at, size); ok {
			return []Membership{{Group: group, Left: kind == MembershipLeave}}
		}
		return nil
	}
	if len(body) < 8 {
		return nil
	}
	var list []Membership
	for n, b := int(binary.BigEndian.Uint16(body[6:])), body[8:]; n > 0 && len(b) >= 4+size; n-- {
		typ, auxiliary, sources := b[0], 4*int(b[1]), int(binary.BigEndian.Uint16(b[2:]))
		group, ok := groupAt(b, 4, size)
		switch {
		case !ok || typ == blockOldSources: // of some senders only
		case typ == changeToInclude && sources == 0:
			list = append(list, Membership{Group: group, Left: true})
		case typ == modeIsInclude && sources == 0:
		default:
			list = append(list, Membership{Group: group})
		}
		b = b[min(len(b), 4+size+sources*size+auxiliary):]
	}
	return list
}

// groupAt reads an address of a group; false where there is none, as in a query for
// all.
func groupAt(b []byte, at, size int) (netip.Addr, bool) {
	if len(b) < at+size {
		return netip.Addr{}, false
	}
	a, _ := netip.AddrFromSlice(b[at : at+size])
	return a, a.IsMulticast()
}
