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

// ARP shows a sighting of address resolution on one line.
func (st Style) ARP(d Detail, a *trace.ARP) string {
	h := &a.Headers
	t := h.Tuple
	var words string
	switch {
	case h.Layers.Has(packet.LayerARP) && h.ARPOperation == 1:
		words = fmt.Sprintf("ARP who has %v? tell %v", t.Destination(), t.Source())
	case h.Layers.Has(packet.LayerARP) && h.ARPOperation == 2:
		words = fmt.Sprintf("ARP %v is at %s", t.Source(), mac(h.SourceMAC))
	case h.Layers.Has(packet.LayerARP):
		words = fmt.Sprintf("ARP operation %d from %v about %v", h.ARPOperation, t.Source(), t.Destination())
	default:
		words = st.neighbourDiscovery(a)
	}
	where := st.name(a.Namespace, maxName) + " " + st.name(a.Interface, maxName) + " " + a.Point.Direction.String()
	if !d.NoTime {
		where = st.Clock(a.Time) + " " + where
	}
	return strings.Join(st.lay(where, hang, []piece{{gap: 2, text: words, words: true, tone: Dim}}), "\n") + "\n"
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
	case h.ICMPType == neighbourAdvertisement && a.Target.IsValid():
		return fmt.Sprintf("neighbour discovery: %v is at %s", a.Target, mac(h.SourceMAC))
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
