package text

import (
	"strconv"
	"strings"

	"natlens/capture/packet"
	"natlens/trace"
)

// quotation shows which packet an ICMP error is about, as it quotes it at that hop
// (RFC 792; RFC 4443, section 3): at the first one and wherever NAT changed it.
func (c *card) quotation(h, previous *trace.Hop) {
	if !quotes(h) {
		return
	}
	q := h.Headers.Quoted
	changed := quotes(previous) && previous.Headers.Quoted != q
	if quotes(previous) && !changed {
		return
	}
	source, destination := sourceOf(q), destinationOf(q)
	var sourceTone, destinationTone Tone
	if changed && source != sourceOf(previous.Headers.Quoted) {
		sourceTone = After
	}
	if changed && destination != destinationOf(previous.Headers.Quoted) {
		destinationTone = After
	}
	prefix := "      quotes " + c.Escape(q.Protocol.String())
	pieces := c.between(1, source, destination, sourceTone, destinationTone, hopHang)
	if isICMP(q) && q.SourcePort != 0 {
		pieces = append(pieces, piece{gap: 2, text: "id " + strconv.Itoa(int(q.SourcePort))})
	}
	if changed {
		pieces = append(pieces, piece{gap: 2, text: "(translated as well)"})
	}
	c.add(c.lay(prefix, hopHang, pieces))
}

func quotes(h *trace.Hop) bool { return h != nil && h.Headers.Layers.Has(packet.LayerQuoted) }

// withoutQuotation takes the quoted packet out of what is said of an ICMP error.
func withoutQuotation(info string, j *trace.Journey) string {
	if len(j.Hops) == 0 || !quotes(&j.Hops[0]) {
		return info
	}
	return strings.TrimSuffix(info, ": "+j.Hops[0].Headers.Quoted.String())
}
