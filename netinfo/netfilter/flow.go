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
	// ID is a keyed 32-bit hash of the entry (nf_ct_get_id). It all but
	// identifies it in its namespace while it lives: among 50 000 entries two
	// were seen to share one. ID and Original together do.
	ID uint32
	// Zone is where packets of the original direction find the entry, ReplyZone where
	// those of the other do. A rule can choose one for a direction alone: then the other
	// is 0, which is the zone of all for which no rule chooses.
	Zone, ReplyZone uint16
	Status          Status
	Mark            uint32
	Timeout         uint32 // seconds left
	Original        packet.Tuple
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
	// Renumberings are those of the two directions, where Status has SeqAdjust. Dumps
	// tell them, and of the events the first after they changed: see Complete.
	Renumberings [2]Renumbering `json:",omitzero"`
}

// Zones are those of the two directions.
func (f *Flow) Zones() Zones { return Zones{f.Zone, f.ReplyZone} }

// flowKey identifies a flow in its namespace.
type flowKey struct {
	id       uint32
	original packet.Tuple
}

func (f *Flow) key() flowKey { return flowKey{f.ID, f.Original} }

// SourceNAT reports whether the original direction's source is translated.
func (f *Flow) SourceNAT() bool {
	return f.Reply.Destination() != f.Original.Source() ||
		f.Reply.Inverse().SourcePort != f.Original.SourcePort
}

// DestinationNAT reports whether the original direction's destination is
// translated.
func (f *Flow) DestinationNAT() bool {
	return f.Reply.Source() != f.Original.Destination() ||
		!f.isICMP() && f.Reply.SourcePort != f.Original.DestinationPort
}

// isICMP reports whether the tuples' port fields hold the ICMP id, type and
// code. The kernel never translates type and code, and the id only together
// with the source.
func (f *Flow) isICMP() bool {
	return f.Original.Protocol == packet.ICMP || f.Original.Protocol == packet.ICMPv6
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
	// nf_conntrack_timestamp, at one moment. A Known flow was in the table, as
	// told, at some moment of the interval.
	After, Before int64
}

// Batch is what the conntrack of one namespace said since the last Batch. It is
// immutable once sent.
//
// A Batch whose Namespace is 0 is about all of them: it has no Events, and its
// Through holds for every namespace that is attached (and for events since it
// was attached). It comes at least once each Interval, also when nothing happens, and is
// the one that a consumer waits for; a namespace's own Batch comes only when
// the namespace has something to say.
type Batch struct {
	Namespace netns.ID
	Events    []Event
	// Through: every event before this time, in nanoseconds since the Unix
	// epoch, has been delivered in this Batch or an earlier one, or is lost. Of
	// all namespaces together nothing is said that is later than when one was
	// attached whose first dump has not ended.
	Through int64
	// Overruns counts how often since the last Batch the kernel said that it
	// had to drop events (ENOBUFS), and Lost how many it dropped. A dump
	// follows each overrun.
	Overruns, Lost uint64
	// Malformed counts messages that could not be decoded.
	Malformed uint64
	// Synced: this Batch ends a dump that began at SyncedSince. A flow that
	// no Event named since then (whose last Event.Before is older) is no
	// longer in the table. DumpError is why a dump was given up, which is not done
	// before the kernel had no memory for it for half a second; the next is tried in
	// its time.
	Synced      bool
	SyncedSince int64
	DumpError   error
	// Entries and MaxEntries are how full the table was when the dump began;
	// set where Synced is. A namespace whose Entries reach MaxEntries drops
	// packets of new flows.
	Entries, MaxEntries uint32
	// Silent: the kernel tells no events of flows that begin here
	// (net.netfilter.nf_conntrack_events is 0), so that only dumps tell of
	// them. As it was when a dump ended: meant where Synced is.
	Silent bool
	// Failures is what connection tracking failed at of late; nil when nothing.
	Failures *Failures
}
