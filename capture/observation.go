// Package capture brings packets in: from the kernel, on all links of a network
// namespace at once, and from files.
package capture

import (
	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// PacketType is the kernel's opinion of whom a packet is for
// (include/uapi/linux/if_packet.h).
type PacketType uint8

const (
	Host      PacketType = 0 // to this link's own address
	Broadcast PacketType = 1
	Multicast PacketType = 2
	OtherHost PacketType = 3 // to somebody else: a veth's host end always sees this
	Outgoing  PacketType = 4 // sent by this link
	// UnknownType is not the kernel's: a file need not tell. Direction is In
	// then, which means nothing.
	UnknownType PacketType = 255
)

// String returns the word that the JSON of natlens uses.
func (t PacketType) String() string {
	switch t {
	case Host:
		return "host"
	case Broadcast:
		return "broadcast"
	case Multicast:
		return "multicast"
	case OtherHost:
		return "otherhost"
	case Outgoing:
		return "outgoing"
	}
	return "unknown"
}

// Direction is which way a packet passed its observation point.
type Direction uint8

const (
	In  Direction = iota // from the link into the namespace
	Out                  // from the namespace out by the link
)

// String returns "in" or "out".
func (d Direction) String() string {
	if d == Out {
		return "out"
	}
	return "in"
}

// Point is an observation point (RFC 5475): where in the host a packet was
// seen, and in which direction. It is comparable.
type Point struct {
	Namespace netns.ID
	Ifindex   int32
	Direction Direction
}

// Observation is one packet at one point. It is immutable once it has left this
// package.
type Observation struct {
	Time       int64 // nanoseconds since the Unix epoch: the kernel's stamp at the tap
	Namespace  netns.ID
	Ifindex    int32
	Type       PacketType
	LinkType   packet.LinkType
	WireLength uint32 // bytes on the link, with its header
	Headers    packet.Headers
	// Fingerprint is packet.Fingerprint of this packet; 0 when it is not IP.
	Fingerprint uint64
	// Journey is the number that the packet's journey had when it was
	// recorded; 0 unless it was read from such a file.
	Journey uint64
	// Data holds the captured bytes, link header first, at most the snap
	// length. It shares memory with the other Observations of its Batch.
	Data []byte
}

// Point returns where the packet was seen.
func (o *Observation) Point() Point {
	return Point{Namespace: o.Namespace, Ifindex: o.Ifindex, Direction: o.Direction()}
}

// Direction is Out only for packets of type Outgoing.
func (o *Observation) Direction() Direction {
	if o.Type == Outgoing {
		return Out
	}
	return In
}

// Batch is what the rings of all namespaces held at one moment. It is immutable
// once sent.
type Batch struct {
	// Observations are in the order of each ring; across rings they are not
	// sorted.
	Observations []Observation
	// Through: every packet that was stamped before this time, in
	// nanoseconds since the Unix epoch, has been delivered in this Batch or
	// an earlier one, or is in Lost.
	Through int64
	// Lost counts what the kernel dropped since the last Batch because a ring
	// was full. Namespaces that lost nothing are absent; nil when none did.
	Lost map[netns.ID]uint64
}
