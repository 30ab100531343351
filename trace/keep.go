package trace

import (
	"bytes"
	"math"

	"natlens/capture"
)

// keptPacket is a packet that is kept until its journey is shown. Where pieces
// are merged, one packet belongs to several journeys.
type keptPacket struct {
	packet *capture.Observation // nil when a Journey had it
}

// belongsTo says of which journey the packet is. Of several it has the number of the
// first.
func (k *keptPacket) belongsTo(journey uint64) {
	if k.packet.Journey == 0 {
		k.packet.Journey = journey
	}
}

const (
	// maxKept is how many bytes of packets are kept. A flood that nobody answers
	// would fill the memory otherwise: each packet waits for its next hop.
	maxKept = 256 << 20
	// keptBeside is about how many bytes are kept with the captured ones of each:
	// of most packets it is more.
	keptBeside = 256
)

// KeepPackets makes Journeys carry the packets themselves (Hop.Packet). It costs
// memory for every packet whose journey is open. Call it before the first
// Observe.
func (c *Correlator) KeepPackets() { c.keep = true }

// keepPacket copies a packet: its bytes share memory with a whole block of the
// ring.
func (c *Correlator) keepPacket(o *capture.Observation) *keptPacket {
	packet := *o
	packet.Data = bytes.Clone(o.Data)
	c.kept += len(packet.Data) + keptBeside
	for c.kept > maxKept && c.evictOpen() {
	}
	return &keptPacket{packet: &packet}
}

// told lets go of the packets that a Journey had.
func (c *Correlator) told(e *entry) {
	for _, k := range e.kept() {
		c.kept -= len(k.packet.Data) + keptBeside
		k.packet = nil
	}
}

func (c *Correlator) passOn(o *capture.Observation) {
	if c.sink.Other != nil {
		c.sink.Other(o)
	}
}

// nextID numbers a journey that begins with the packet: as it was numbered when
// it was recorded, else with the next number.
func (c *Correlator) nextID(o *capture.Observation) uint64 {
	if o.Journey != 0 {
		c.lastID = max(c.lastID, o.Journey)
		return o.Journey
	}
	c.lastID++
	return c.lastID
}

// Now returns the watermark: all packets before that time were judged, none
// after.
func (c *Correlator) Now() int64 { return c.now }

// Oldest returns the time of the oldest packet that no Journey had yet, or that
// of the watermark when there is none older. Only what KeepPackets keeps counts.
func (c *Correlator) Oldest() int64 {
	oldest, ok := c.waiting.oldest()
	if !ok {
		oldest = math.MaxInt64
	}
	for _, chunk := range c.slab.chunks {
		for i := range chunk {
			if chunk[i].state == stateFree {
				continue
			}
			for at := range chunk[i].kept() {
				oldest = min(oldest, at)
			}
		}
	}
	return min(oldest, c.now)
}
