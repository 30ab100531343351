package text

import (
	"fmt"
	"strings"

	"natlens/capture/packet"
	"natlens/trace"
)

// ICMPv6 types of neighbour discovery (RFC 4861, section 4).
const (
	routerSolicitation     = 133
	routerAdvertisement    = 134
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
	redirect               = 137
)

// ARP shows a sighting of address resolution or group membership on one line.
func (st Style) ARP(d Detail, a *trace.ARP) string {
	h := &a.Headers
	t := h.Tuple
	var words string
	switch {
	case a.Membership != packet.NoMembership:
		words = st.membership(a)
	case h.Layers.Has(packet.LayerARP) && !t.Valid():
		words = fmt.Sprintf("ARP operation %d, %s", h.ARPOperation, addressless(h))
	case h.Layers.Has(packet.LayerARP) && h.ARPOperation == 1:
		words = fmt.Sprintf("ARP who has %v? tell %v", t.Destination(), t.Source())
	case h.Layers.Has(packet.LayerARP) && h.ARPOperation == 2:
		words = fmt.Sprintf("ARP %v is at %s", t.Source(), mac(a.Hardware))
	case h.Layers.Has(packet.LayerARP):
		words = fmt.Sprintf("ARP operation %d from %v about %v", h.ARPOperation, t.Source(), t.Destination())
	default:
		words = st.neighbourDiscovery(a)
	}
	where := st.name(a.Namespace, maxName) + " " + st.name(a.Interface, maxName) + " " + way(a.Type, a.Point)
	if !d.NoTime {
		where = st.Clock(a.Time) + " " + where
	}
	return strings.Join(st.lay(where, hang, []piece{{gap: 2, text: words, words: true, tone: Dim}}), "\n") + "\n"
}

// addressless says why a message of ARP has no addresses.
func addressless(h *packet.Headers) string {
	if h.Layers&(packet.Truncated|packet.Malformed) != 0 {
		return "cut short before its addresses"
	}
	return "not about IPv4"
}

// membership says who listens to what, or asks for it.
func (st Style) membership(a *trace.ARP) string {
	name, who := "IGMP", a.Headers.Tuple.Source()
	if a.Headers.Layers.Has(packet.LayerIPv6) {
		name = "MLD"
	}
	var listens, left []string
	for _, m := range a.Groups {
		if m.Left {
			left = append(left, m.Group.String())
		} else {
			listens = append(listens, m.Group.String())
		}
	}
	switch {
	case a.Membership == packet.MembershipQuery && len(listens) > 0:
		return fmt.Sprintf("%s: who listens to %s? asks %v", name, listens[0], who)
	case a.Membership == packet.MembershipQuery:
		return fmt.Sprintf("%s: who listens to any group? asks %v", name, who)
	case len(listens) > 0 && len(left) > 0:
		return fmt.Sprintf("%s: %v listens to %s, no longer to %s", name, who, strings.Join(listens, ", "), strings.Join(left, ", "))
	case len(listens) > 0:
		return fmt.Sprintf("%s: %v listens to %s", name, who, strings.Join(listens, ", "))
	case len(left) > 0:
		return fmt.Sprintf("%s: %v listens no longer to %s", name, who, strings.Join(left, ", "))
	case a.Membership == packet.MembershipReport:
		return fmt.Sprintf("%s: %v tells which groups it listens to", name, who)
	}
	return fmt.Sprintf("%s message from %v to %v", name, who, a.Headers.Tuple.Destination())
}

// neighbourDiscovery says what ARP would, or who looks for a router.
func (st Style) neighbourDiscovery(a *trace.ARP) string {
	h := &a.Headers
	source, destination := h.Tuple.Source(), h.Tuple.Destination()
	switch {
	case h.ICMPType == neighbourSolicitation && a.Target.IsValid() && source.IsUnspecified():
		return fmt.Sprintf("neighbour discovery: does anybody have %v already?", a.Target) // RFC 4862, section 5.4
	case h.ICMPType == neighbourSolicitation && a.Target.IsValid():
		return fmt.Sprintf("neighbour discovery: who has %v? tell %v", a.Target, source)
	case h.ICMPType == neighbourAdvertisement && a.Hardware != [6]byte{}:
		return fmt.Sprintf("neighbour discovery: %v is at %s", a.Target, mac(a.Hardware))
	case h.ICMPType == neighbourAdvertisement && a.Target.IsValid():
		return fmt.Sprintf("neighbour discovery: %v is there", a.Target)
	}
	kind := fmt.Sprintf("neighbour discovery, type %d,", h.ICMPType)
	switch h.ICMPType {
	case routerSolicitation:
		kind = "router solicitation"
	case routerAdvertisement:
		kind = "router advertisement"
	case neighbourSolicitation:
		kind = "neighbour solicitation"
	case neighbourAdvertisement:
		kind = "neighbour advertisement"
	case redirect:
		kind = "redirect to a better router"
	}
	return fmt.Sprintf("%s %v %s %v", kind, source, st.symbols().arrow, destination)
}
