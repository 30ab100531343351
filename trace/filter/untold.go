package filter

import (
	"natlens/capture"
	"natlens/capture/packet"
	"natlens/trace"
)

// Untold has a sentence for each word of the filter that nothing in j's file answers
// at one of its hops, and that is true of no packet there for this reason. What was
// seen live, and what natlens recorded, answers all.
func (f *Filter) Untold(j *trace.Journey) (sentences []string) {
	if f == nil {
		return nil
	}
	for _, word := range f.framed {
		for i := range j.Hops {
			h := &j.Hops[i]
			if why := word.untold(h); why != "" && ofFile(j, h) {
				sentences = append(sentences, word.String()+" is true of no packet of "+h.Namespace+": the file "+why)
				break
			}
		}
	}
	return sentences
}

// framed is a node that asks what is around an IP packet rather than in it: the
// frame's header, or its way.
type framed interface {
	node
	// untold says what a file lacks to answer at h; empty for nothing.
	untold(h *trace.Hop) string
}

// framedIn finds what n asks of frames.
func framedIn(n node) []framed {
	switch n := n.(type) {
	case negation:
		return framedIn(n.of)
	case combination:
		return append(framedIn(n.left), framedIn(n.right)...)
	case framed:
		return []framed{n}
	}
	return nil
}

func (w way) untold(h *trace.Hop) string {
	if h.Type == capture.UnknownType {
		return "does not tell which way packets went"
	}
	return ""
}

func (e station) untold(h *trace.Hop) string { return withoutEthernet(h) }

func (m many) untold(h *trace.Hop) string { return withoutEthernet(h) }

func (v vlan) untold(h *trace.Hop) string {
	if h.Headers.Layers.Has(packet.LayerVLAN) {
		return ""
	}
	return withoutEthernet(h)
}

func (r relation) untold(h *trace.Hop) string {
	if asksEthernet(r.left) || asksEthernet(r.right) {
		return withoutEthernet(h)
	}
	return ""
}

func asksEthernet(v value) bool {
	switch v := v.(type) {
	case field:
		return v.header == etherHeader
	case captured:
		return v.header == etherHeader || asksEthernet(v.offset)
	case operation:
		return asksEthernet(v.left) || asksEthernet(v.right)
	}
	return false
}

// withoutEthernet: tcpdump -i any writes a header of its own in its place.
func withoutEthernet(h *trace.Hop) string {
	if !h.Headers.Layers.Has(packet.LayerEthernet) {
		return "has no Ethernet headers"
	}
	return ""
}
