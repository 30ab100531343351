package capture

import (
	"slices"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// appendBlock copies the packets of a block out of the ring, parses them and
// appends them to obs. It returns also how many packets the block promised and
// did not hold; the kernel never does that.
//
// The copies of one block share one allocation of exactly their size, so that a
// Batch keeps nothing alive but its own packets.
func appendBlock(obs []Observation, ns netns.ID, block []byte, snaplen int) ([]Observation, uint64) {
	var f frame
	packets, bytes := 0, 0
	for w := framesOf(block); w.next(&f); packets++ {
		bytes += min(f.size(), snaplen)
	}
	obs = slices.Grow(obs, packets)
	arena := make([]byte, 0, bytes+tagLength)
	w := framesOf(block)
	for w.next(&f) {
		begin := len(arena)
		arena = f.appendTo(arena)
		arena = arena[:min(len(arena), begin+snaplen)]
		data := arena[begin:len(arena):len(arena)]

		obs = append(obs, Observation{
			Time: f.time, Namespace: ns, Ifindex: f.ifindex, Type: f.pktType,
			LinkType: f.link(), WireLength: f.wireLength(), Data: data,
		})
		o := &obs[len(obs)-1]
		o.Headers.Parse(o.LinkType, data, o.WireLength)
		o.Fingerprint = packet.Fingerprint(&o.Headers, data)
	}
	return obs, uint64(w.left)
}
