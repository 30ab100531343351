// Package netfilter says what the kernel knows of network address translation:
// the flows of connection tracking and the rules of the NAT chains.
package netfilter

import (
	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// Status holds the bits of a flow's state
// (include/uapi/linux/netfilter/nf_conntrack_common.h, enum ip_conntrack_status).
type Status uint32

const (
	Expected   Status = 1 << 0
	SeenReply  Status = 1 << 1
	Assured    Status = 1 << 2
	Confirmed  Status = 1 << 3
	SrcNAT     Status = 1 << 4
	DstNAT     Status = 1 << 5
	SeqAdjust  Status = 1 << 6
	SrcNATDone Status = 1 << 7
	DstNATDone Status = 1 << 8
	Dying      Status = 1 << 9
	Helper     Status = 1 << 13
)

// Flow is one conntrack entry. It is a value and never changes; what changes
// is told by a new one with the same Namespace and ID.
type Flow struct {
	Namespace netns.ID
	ID        uint32 // unique in its namespace while the entry lives
	Zone      uint16
	Status    Status
	Mark      uint32
	Timeout   uint32 // seconds left
	Original  packet.Tuple
	// Reply is what the kernel expects the answer's tuple to be. Where it is
	// not Original.Inverse(), something is translated.
	Reply packet.Tuple
	// Start is the kernel's own time of birth, nanoseconds since the Unix
	// epoch; 0 unless nf_conntrack_timestamp is on.
	Start int64
	// TCPState is the kernel's name for it (SYN_SENT, ESTABLISHED, …); empty
	// for other protocols.
	TCPState string
	// Counters, original direction first; 0 unless nf_conntrack_acct is on.
	Packets, Bytes [2]uint64
}

// SourceNAT reports whether the original direction's source is translated.
func (f *Flow) SourceNAT() bool {
	return f.Reply.Destination() != f.Original.Source() ||
		f.Reply.Inverse().SourcePort != f.Original.SourcePort
}

// DestinationNAT reports whether the original direction's destination is
// translated.
func (f *Flow) DestinationNAT() bool {
	return f.Reply.Source() != f.Original.Destination() ||
		f.Original.HasPorts() && f.Reply.SourcePort != f.Original.DestinationPort
}

// EventKind says how a Flow became known.
type EventKind uint8

const (
	Known   EventKind = iota // by a dump: it is older than that
	New                      // the flow's first packet passed the rules
	Update                   // its state changed
	Destroy                  // it is gone
)

// String returns conntrack(8)'s word for the event.
func (k EventKind) String() string {
	return [...]string{"KNOWN", "NEW", "UPDATE", "DESTROY"}[k]
}

// Event is one change of one Flow.
type Event struct {
	Kind EventKind
	Flow Flow
	// The event happened in the interval [After, Before], nanoseconds since
	// the Unix epoch: between two reads of the socket, or, with
	// nf_conntrack_timestamp, at one moment. For Known only Before counts.
	After, Before int64
}

// Batch is what the conntrack of one namespace said since the last Batch. It is
// immutable once sent.
type Batch struct {
	Namespace netns.ID
	Events    []Event
	// Through: every event before this time, in nanoseconds since the Unix
	// epoch, has been delivered in this Batch or an earlier one, or is lost.
	Through int64
	// Overruns counts how often since the last Batch the kernel said that it
	// had to drop events (ENOBUFS). A dump follows each.
	Overruns uint64
	// Synced: this Batch ends a dump; flows not named since the dump began
	// are no longer in the table.
	Synced bool
}
