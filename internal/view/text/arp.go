package text

import (
	"fmt"
	"strings"

	"natlens/capture/packet"
	"natlens/trace"
)

// ICMPv6 types of neighbour discovery (RFC 4861, section 4).
const (
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
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
	case h.ICMPType == neighbourSolicitation:
		words = fmt.Sprintf("neighbour solicitation %v %s %v", t.Source(), st.symbols().arrow, t.Destination())
	case h.ICMPType == neighbourAdvertisement:
		words = fmt.Sprintf("neighbour advertisement %v %s %v", t.Source(), st.symbols().arrow, t.Destination())
	default:
		words = fmt.Sprintf("neighbour discovery, type %d, %v %s %v", h.ICMPType, t.Source(), st.symbols().arrow, t.Destination())
	}
	where := st.name(a.Namespace, maxName) + " " + st.name(a.Interface, maxName) + " " + a.Point.Direction.String()
	if !d.NoTime {
		where = st.Clock(a.Time) + " " + where
	}
	return strings.Join(st.lay(where, hang, []piece{{gap: 2, text: words, words: true, tone: Dim}}), "\n") + "\n"
}
