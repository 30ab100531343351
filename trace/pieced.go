package trace

import (
	"fmt"

	"natlens/capture/packet"
)

// pieced says why a packet is not one packet everywhere; empty when it is, or when
// no tap saw the difference.
func pieced(j *Journey) string {
	first, whole := &j.Hops[0], -1
	for i := range j.Hops {
		h := &j.Hops[i]
		fragment := h.Headers.Layers.Has(packet.LayerFragment)
		switch {
		case h.MergedWith > 0:
			return fmt.Sprintf("%s is the first to show it as one with %d others: a link joins what comes in together (generic receive offload)",
				h.Interface, h.MergedWith)
		case first.Part == nil && h.Part != nil && h.Part.Of > 1 && fragment:
			return fmt.Sprintf("cut into %d fragments for %s, which takes no more at once", h.Part.Of, h.Interface)
		case first.Part == nil && h.Part != nil && h.Part.Of > 1:
			return fmt.Sprintf("one packet until %s, which sends it as %d: the kernel moves several at once and cuts them as late as it can (segmentation offload)",
				h.Interface, h.Part.Of)
		case first.Part != nil && first.Headers.Layers.Has(packet.LayerFragment) && h.Part == nil && whole < 0:
			whole = i
		}
	}
	if whole < 0 {
		return ""
	}
	return fmt.Sprintf("whole at %s: the kernel puts fragments together before it asks its rules, and cuts again what a link does not take", j.Hops[whole].Interface)
}
