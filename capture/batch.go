package capture

import (
	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// readBlock copies the packets of a block out of the ring and parses them. It
// returns also how many packets the block promised and did not hold; the kernel
// never does that.
//
// Both allocations are of exactly their size, so that a Batch keeps nothing alive
// but its own packets.
func readBlock(ns netns.ID, block []byte, snaplen int) (obs []Observation, unread uint64) {
	var f frame
	packets, bytes := 0, 0
	for w := framesOf(block); w.next(&f); packets++ {
		bytes += min(f.size(), snaplen)
	}
	obs = make([]Observation, packets)
	arena := make([]byte, 0, bytes+tagLength)
	w := framesOf(block)
	for i := 0; w.next(&f); i++ {
		begin := len(arena)
		arena = f.appendTo(arena)
		arena = arena[:min(len(arena), begin+snaplen)]
		data := arena[begin:len(arena):len(arena)]

		o := &obs[i]
		o.Time, o.Namespace, o.Ifindex, o.Type = f.time, ns, f.ifindex, f.pktType
		o.LinkType, o.WireLength, o.Data = f.link(), f.wireLength(), data
		o.Headers.Parse(o.LinkType, data, o.WireLength)
		o.Fingerprint = packet.Fingerprint(&o.Headers, data)
	}
	return obs, uint64(w.left)
}
