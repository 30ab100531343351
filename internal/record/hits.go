package record

import (
	"time"

	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// hits is a netfilter.HitBatch.
type hits struct {
	Namespace      netns.ID
	Through        int64
	Hits           []hit         `json:",omitempty"`
	Overruns, Lost uint64        `json:",omitempty"`
	Malformed      uint64        `json:",omitempty"`
	Paused         time.Duration `json:",omitempty"`
	PausedAt       int64         `json:",omitempty"`
}

// hit shadows what can be computed again.
type hit struct {
	netfilter.Hit
	Packet *tracedPacket `json:",omitempty"`
}

type tracedPacket struct {
	netfilter.TracedPacket
	Headers *struct{} `json:",omitempty"` // in Data
}

func hitsOf(b *netfilter.HitBatch) hits {
	h := hits{Namespace: b.Namespace, Through: b.Through, Overruns: b.Overruns, Lost: b.Lost, Malformed: b.Malformed, Paused: b.Paused, PausedAt: b.PausedAt}
	for i := range b.Hits {
		one := hit{Hit: b.Hits[i]}
		if p := b.Hits[i].Packet; p != nil {
			one.Packet = &tracedPacket{TracedPacket: *p}
		}
		h.Hits = append(h.Hits, one)
	}
	return h
}

// batch is the reverse of what a Tape writes.
func (h *hits) batch() *netfilter.HitBatch {
	b := &netfilter.HitBatch{Namespace: h.Namespace, Through: h.Through, Overruns: h.Overruns, Lost: h.Lost, Malformed: h.Malformed, Paused: h.Paused, PausedAt: h.PausedAt}
	for i := range h.Hits {
		one := h.Hits[i].Hit
		if p := h.Hits[i].Packet; p != nil {
			made := p.TracedPacket
			made.SetData(made.Data)
			one.Packet = &made
		}
		b.Hits = append(b.Hits, one)
	}
	return b
}
