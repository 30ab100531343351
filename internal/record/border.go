package record

import (
	"cmp"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/trace"
)

// border is what a packet looks like where it leaves a host or comes to one: what
// no router changes. Two borders that are equal are one packet, or packets that
// nobody can tell apart.
type border struct {
	protocol packet.Protocol
	id       uint32 // IPv4 identification, or that of the fragment
	length   uint32
	place    uint32 // of a fragment
	seq, ack uint32
	flags    uint8
	icmp     [2]uint8
	echo     uint16
	print    uint64 // packet.Fingerprint; 0 of a fragment, whose id is enough
}

func borderOf(h *packet.Headers) border {
	b := border{
		protocol: h.Tuple.Protocol, id: uint32(h.IPID), length: h.Length, seq: h.TCPSeq, ack: h.TCPAck,
		flags: h.TCPFlags, icmp: [2]uint8{h.ICMPType, h.ICMPCode}, echo: h.ICMPSeq,
	}
	if h.Layers.Has(packet.LayerFragment) {
		b.id, b.place = h.FragmentID, uint32(h.FragmentOffset)+1
	}
	return b
}

// gate is where a journey leaves the files of a host, or comes to it: the hops
// there, several where the packet is in fragments, in the order of its bytes.
type gate struct {
	hops  []int
	looks []border
}

// entryOf returns the gate by which a journey began; nil when it began on this
// host, or when packets to many are not one packet.
func entryOf(j *trace.Journey, foreign bool) *gate {
	h := &j.Hops[0]
	switch {
	case h.Point.Direction == capture.Out && !foreign,
		h.Type == capture.OtherHost && !foreign, h.Type == capture.Broadcast, h.Type == capture.Multicast,
		h.Headers.Tuple.Destination().IsMulticast():
		return nil
	}
	return gateAt(j, 0)
}

// exitOf returns the gate by which a journey left; nil when it did not, or nobody
// knows.
func exitOf(j *trace.Journey, foreign bool) *gate {
	at := j.Verdict.Hop
	if at < 0 || j.Verdict.Result != trace.Left && !(foreign && j.Verdict.Result == trace.Unfinished) ||
		j.Hops[at].Headers.Tuple.Destination().IsMulticast() {
		return nil
	}
	return gateAt(j, at)
}

func gateAt(j *trace.Journey, at int) *gate {
	h := &j.Hops[at]
	if !h.Headers.Layers.Has(packet.LayerFragment) {
		look, first := borderOf(&h.Headers), borderOf(&j.Hops[0].Headers)
		if h.Part != nil || look != first {
			return nil // a piece of a segment, or one that was put together
		}
		look.print = packet.Fingerprint(&j.Hops[0].Headers, j.Data)
		return &gate{[]int{at}, []border{look}}
	}
	g := &gate{}
	for i := range j.Hops {
		o := &j.Hops[i]
		if o.Point == h.Point && o.Headers.Layers.Has(packet.LayerFragment) && o.Headers.FragmentID == h.Headers.FragmentID {
			g.hops = append(g.hops, i)
		}
	}
	slices.SortStableFunc(g.hops, func(a, b int) int {
		return cmp.Compare(j.Hops[a].Headers.FragmentOffset, j.Hops[b].Headers.FragmentOffset)
	})
	for _, i := range g.hops {
		g.looks = append(g.looks, borderOf(&j.Hops[i].Headers))
	}
	return g
}

// tuple is that of the packet at the gate; only its first piece has ports.
func (g *gate) tuple(j *trace.Journey) packet.Tuple { return j.Hops[g.hops[0]].Headers.Tuple }
