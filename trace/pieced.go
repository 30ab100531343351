package trace

import "natlens/capture/packet"

// pieced says why a packet is not one packet everywhere; empty when it is, or when
// no tap saw the difference. It counts nothing, so that packets of one way say the
// same.
func pieced(j *Journey) string {
	first, whole := &j.Hops[0], -1
	for i := range j.Hops {
		h := &j.Hops[i]
		fragment := h.Headers.Layers.Has(packet.LayerFragment)
		switch {
		case h.MergedWith > 0:
			return h.Interface + " is the first to show it as one with others: a link joins what comes in together (generic receive offload)"
		case first.Part == nil && h.Part != nil && h.Part.Of > 1 && fragment:
			return "cut into fragments for " + h.Interface + ", which takes no more at once"
		case first.Part == nil && h.Part != nil && h.Part.Of > 1:
			return "one packet until " + h.Interface + ", which sends it as several: the kernel moves them together and cuts as late as it can (segmentation offload)"
		case first.Part != nil && first.Headers.Layers.Has(packet.LayerFragment) && h.Part == nil && whole < 0:
			whole = i
		}
	}
	if whole < 0 {
		return ""
	}
	return "whole at " + j.Hops[whole].Interface + ": the kernel puts fragments together before it asks its rules, and cuts again what a link does not take"
}
