package trace

import (
	"natlens/capture"
	"natlens/capture/packet"
)

// A segment that begins or ends a connection takes a sequence number, though it bears
// no data (RFC 9293, section 3.4), and is sent again until that is acknowledged.

// isControl reports whether the packet is such a segment.
func isControl(h *packet.Headers) bool {
	return h.TCPFlags&(packet.SYN|packet.FIN) != 0 && h.TCPFlags&packet.RST == 0 && h.PayloadLength == 0 &&
		h.Layers.Has(packet.LayerTCP) && !h.Layers.Has(packet.LayerFragment)
}

// controlKey is what such a segment has in common with itself when it is sent again. PSH
// is set as it comes, and who asked for ECN and got no answer asks without it (RFC 3168,
// section 6.1.1.1).
type controlKey struct {
	point capture.Point
	tuple packet.Tuple
	seq   uint32
	flags uint8
}

// control is the last journey that began with such a segment.
type control struct {
	id   uint64
	used int64
	ipID uint16
}

func (x control) lastUsed() int64 { return x.used }

// keepControl is how long one is remembered. The sixth SYN of a connection is followed
// by the seventh 32 s later (tcp(7), tcp_syn_retries), when its journey is long over.
const keepControl = 60e9

// begun remembers the segment that begins a journey, and returns the one that it sends
// again; 0 when there is none. With the identification of that it would be the same
// packet.
func (p *parts) begun(id uint64, s *sighting) (resends uint64) {
	key := controlKey{s.point, s.tuple, s.h.TCPSeq, s.h.TCPFlags & (packet.SYN | packet.FIN | packet.ACK)}
	last, again := p.controls[key]
	switch {
	case again && (last.ipID != s.h.IPID || s.h.IPID == 0):
		resends = last.id
	case !again && len(p.controls) >= maxStreams:
		delete(p.controls, stalest(p.controls))
	}
	p.controls[key] = control{id, s.time, s.h.IPID}
	return resends
}
