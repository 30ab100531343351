package trace

import (
	"iter"
	"math"

	"natlens/capture/packet"
)

// footprints are the hops of an entry. While it follows a trail, whose steps tell the
// rest, only what differs from packet to packet is kept of them: else most of the
// memory that pairing touches would be theirs. Who asks for the hops has them written
// out.
type footprints struct {
	same  sameHeader
	later [maxSteps - 1]uint32 // how much later than the first the others were, in ns
	first int64                // the time of the first
	ttls  [maxSteps]uint8
	// packets are those of the hops; nil unless packets are kept.
	packets *[maxSteps]*keptPacket
}

// maxLater is how long after its first hop a packet can be on a trail.
const maxLater = math.MaxUint32

// time is that of a hop.
func (f *footprints) time(hop int) int64 {
	if hop == 0 {
		return f.first
	}
	return f.first + int64(f.later[hop-1])
}

// room is where an entry's hops are written out.
type room struct {
	written []sighting // the first of them in inline
	inline  [roomHops]sighting
	headers [roomHops]packet.Headers
}

// roomHops is how many hops are written out without an allocation. Most packets need
// no more: the container's link, its veth, the bridge, the uplink.
const roomHops = 4

// The headers of a plain packet on a trail are its tuple, which the step has, its time
// to live, and these two.

// hopHeader is what depends on where the packet is seen.
type hopHeader struct {
	layers              packet.Layers
	etherType, vlan     uint16
	icmpID              uint16 // it is translated, and in the tuple, too
	source, destination [6]byte
}

// sameHeader is what no hop changes.
type sameHeader struct {
	length, payloadLength                         uint32
	tcpSeq, tcpAck                                uint32
	networkOffset, transportOffset, payloadOffset uint16
	ipID, tcpWindow, icmpSeq                      uint16
	tos, tcpFlags, icmpType, icmpCode             uint8
	df                                            bool
}

func hopHeaderOf(h *packet.Headers) hopHeader {
	return hopHeader{h.Layers, h.EtherType, h.VLAN, h.ICMPID, h.SourceMAC, h.DestinationMAC}
}

func sameHeaderOf(h *packet.Headers) sameHeader {
	return sameHeader{
		length: h.Length, payloadLength: h.PayloadLength, tcpSeq: h.TCPSeq, tcpAck: h.TCPAck,
		networkOffset: h.NetworkOffset, transportOffset: h.TransportOffset, payloadOffset: h.PayloadOffset,
		ipID: h.IPID, tcpWindow: h.TCPWindow, icmpSeq: h.ICMPSeq,
		tos: h.TOS, tcpFlags: h.TCPFlags, icmpType: h.ICMPType, icmpCode: h.ICMPCode, df: h.DF,
	}
}

// of reports whether it is that of h.
func (x *sameHeader) of(h *packet.Headers) bool {
	return x.ipID == h.IPID && x.length == h.Length && x.payloadLength == h.PayloadLength &&
		x.tcpSeq == h.TCPSeq && x.tcpAck == h.TCPAck && x.tcpFlags == h.TCPFlags && x.tcpWindow == h.TCPWindow &&
		x.icmpSeq == h.ICMPSeq && x.icmpType == h.ICMPType && x.icmpCode == h.ICMPCode &&
		x.tos == h.TOS && x.df == h.DF &&
		x.networkOffset == h.NetworkOffset && x.transportOffset == h.TransportOffset && x.payloadOffset == h.PayloadOffset
}

// headers puts them together again.
func (x *sameHeader) headers(at *hopHeader, tuple packet.Tuple, ttl uint8) packet.Headers {
	return packet.Headers{
		Layers: at.layers, EtherType: at.etherType, VLAN: at.vlan, SourceMAC: at.source, DestinationMAC: at.destination,
		Tuple: tuple, Length: x.length, IPID: x.ipID, TOS: x.tos, TTL: ttl, DF: x.df,
		ICMPType: x.icmpType, ICMPCode: x.icmpCode, ICMPID: at.icmpID, ICMPSeq: x.icmpSeq,
		TCPSeq: x.tcpSeq, TCPAck: x.tcpAck, TCPFlags: x.tcpFlags, TCPWindow: x.tcpWindow,
		NetworkOffset: x.networkOffset, TransportOffset: x.transportOffset,
		PayloadOffset: x.payloadOffset, PayloadLength: x.payloadLength,
	}
}

// length is how many hops there are.
func (e *entry) length() int {
	if e.steps > 0 {
		return int(e.steps)
	}
	if e.room == nil {
		return 0
	}
	return len(e.written)
}

// began is the time of the hop that was added first.
func (e *entry) began() int64 {
	if e.steps > 0 {
		return e.first
	}
	return e.written[0].time
}

// lastSeen is the time of the hop that was added last.
func (e *entry) lastSeen() int64 {
	if e.steps > 0 {
		return e.time(int(e.steps) - 1)
	}
	return e.written[len(e.written)-1].time
}

// layers are the headers of the hop that was added first.
func (e *entry) layers() packet.Layers {
	if e.steps > 0 {
		return e.trail.headers[0].layers
	}
	return e.written[0].h.Layers
}

// stepFirst adds the hop that is the first step of the entry's trail.
func (e *entry) stepFirst(time int64, h *packet.Headers, kept *keptPacket) {
	e.same, e.first, e.ttls[0] = sameHeaderOf(h), time, h.TTL
	e.steps = 1
	if kept != nil {
		e.packets = &[maxSteps]*keptPacket{kept}
		kept.belongsTo(e.id)
	}
}

// step adds a hop that is the next step of the entry's trail.
func (e *entry) step(time int64, ttl uint8, kept *keptPacket) {
	n := e.steps
	e.later[n-1], e.ttls[n] = uint32(time-e.first), ttl
	e.steps = n + 1
	if kept != nil {
		e.packets[n] = kept
		kept.belongsTo(e.id)
	}
}

// kept returns the packets that no Journey had yet, and when they were seen.
func (e *entry) kept() iter.Seq2[int64, *keptPacket] {
	return func(yield func(int64, *keptPacket) bool) {
		for i := range e.length() {
			var at int64
			var kept *keptPacket
			switch {
			case e.steps == 0:
				at, kept = e.written[i].time, e.written[i].kept
			case e.packets != nil:
				at, kept = e.time(i), e.packets[i]
			}
			if kept != nil && kept.packet != nil && !yield(at, kept) {
				return
			}
		}
	}
}

// hops returns all hops, written out. They can be changed in place.
func (e *entry) hops() []sighting {
	if e.steps > 0 {
		e.writeOut()
	}
	if e.room == nil {
		return nil
	}
	return e.written
}

func (e *entry) writeOut() {
	steps := e.steps
	e.steps = 0
	e.enter()
	for i := range steps {
		was := &e.trail.seen[i]
		h := e.roomFor(int(i))
		*h = e.same.headers(&e.trail.headers[i], was.tuple, e.ttls[i])
		e.written = append(e.written, sighting{seen: *was, time: e.time(int(i)), h: h, extent: extentOf(h)})
		if e.packets != nil {
			e.written[i].kept = e.packets[i]
		}
	}
}

// fold undoes what hops did to an entry that had gone so many steps, if all is still as
// it was written out.
func (e *entry) fold(steps uint8) {
	if e.steps > 0 || steps == 0 || e.trail == nil || e.room == nil || len(e.written) != int(steps) {
		return
	}
	for i := range e.written {
		if s := &e.written[i]; s.seen != e.trail.seen[i] || s.time != e.time(i) || s.others != 0 {
			return
		}
	}
	e.vacate()
	e.steps = steps
}

// add appends a sighting, takes its headers over and returns it as the entry has it.
func (e *entry) add(s *sighting) *sighting {
	n := len(e.hops())
	if n == 0 {
		e.enter()
	}
	e.written = append(e.written, *s)
	added := &e.written[n]
	added.h = e.roomFor(n)
	*added.h = *s.h
	if s.kept != nil {
		s.kept.belongsTo(e.id)
	}
	return added
}

// enter takes a room for hops that are to be written out.
func (e *entry) enter() {
	e.room = e.slab.takeRoom()
	e.written = e.inline[:0]
}

// roomFor returns where the headers of hop i go.
func (r *room) roomFor(i int) *packet.Headers {
	if i < roomHops {
		return &r.headers[i]
	}
	return new(packet.Headers)
}

// vacate forgets all hops.
func (e *entry) vacate() {
	e.steps = 0
	if e.room == nil {
		return
	}
	e.written = nil
	clear(e.inline[:]) // its pointers would keep flows and links
	e.slab.rooms = append(e.slab.rooms, e.room)
	e.room = nil
}

// takeRoom returns an empty room.
func (s *slab) takeRoom() *room {
	n := len(s.rooms)
	if n == 0 {
		return new(room)
	}
	r := s.rooms[n-1]
	s.rooms = s.rooms[:n-1]
	return r
}
