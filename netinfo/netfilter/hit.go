package netfilter

import (
	"time"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// HitVerdict is what a rule or a chain decided, in nft(8)'s words.
type HitVerdict string

const (
	Accept   HitVerdict = "accept"   // on to the next chain at this hook, or past it
	Drop     HitVerdict = "drop"     // the packet ends here
	Stolen   HitVerdict = "stolen"   // the kernel took it to itself, as synproxy does
	Queue    HitVerdict = "queue"    // a program decides (nfnetlink_queue)
	Continue HitVerdict = "continue" // to the chain's next rule
	Jump     HitVerdict = "jump"     // into another chain, and back at its end
	Goto     HitVerdict = "goto"     // into another chain for good
	Return   HitVerdict = "return"   // back to where the packet came from
)

// HitKind says of what a Hit tells.
type HitKind string

const (
	RuleHit   HitKind = "rule"   // everything the rule asks for was true
	ReturnHit HitKind = "return" // the chain's last rule is behind the packet
	PolicyHit HitKind = "policy" // no rule of a base chain decided
)

// Hit is one rule that one packet matched, or the end of a chain that it came
// to, as the kernel's own trace tells it (nft(8), meta nftrace; iptables(8),
// TRACE). Rules that a packet did not match are not told.
type Hit struct {
	// The packet was there in the interval [After, Before], nanoseconds since
	// the Unix epoch: the trace has no times, only the reads of its socket do.
	After, Before int64
	// Trace is the kernel's id. The hits of one packet in one chain share it,
	// and mostly those of one packet in one namespace do; later packets of its
	// flow reuse it (nft_trace_fill_id: a hash of the buffer's address, the
	// flow and the link). 0 with iptables-legacy, where each Hit has a Packet.
	Trace  uint32
	Kind   HitKind
	Family string // of the table: ip, ip6, inet, bridge, netdev
	Table  string
	Chain  string
	// Handle names a rule of nf_tables, Position one of iptables-legacy (1 for
	// the first of its chain); both are 0 for the end of a chain.
	Handle   uint64
	Position int
	// Verdict is empty with iptables-legacy: its rules say it, not its trace.
	Verdict HitVerdict
	Target  string // the chain of a Jump or Goto
	Mark    uint32 // the packet's, behind the rule
	// Packet comes with the first Hit of each base chain; nil in the others.
	Packet *TracedPacket
}

// TracedPacket is what a packet looked like when it entered a base chain.
type TracedPacket struct {
	// Data is what the kernel copies, from the network header on: 40 bytes of
	// that and 20 from the transport header on. Headers are parsed from it.
	Data    []byte
	Headers packet.Headers
	// In and Out are link indexes; 0 where the hook has none. Traffic of a
	// bridge's port comes in by the bridge.
	In, Out int32
	// Hook is set with iptables-legacy; the chain of a nf_tables trace says it.
	Hook Hook
	// Tracked: connection tracking had looked at the packet, and FlowID is its
	// entry's, Status that entry's. Kernels before 6.18 don't say so in nf_tables.
	Tracked bool
	FlowID  uint32
	Reply   bool
	Status  Status
}

// HitBatch is what the rules of one namespace told since the last one. It is
// immutable once sent.
//
// As with Batch, one without a Namespace is about all of them: it has no Hits,
// and comes at least once each interval.
type HitBatch struct {
	Namespace netns.ID
	Hits      []Hit // in the order in which the kernel told them
	// Through: every hit before this time, in nanoseconds since the Unix
	// epoch, has been delivered, or is lost.
	Through int64
	// Overruns counts how often since the last HitBatch the kernel had to drop
	// hits (ENOBUFS), and Lost how many.
	Overruns, Lost uint64
	Malformed      uint64
	// Paused is how long, since the last HitBatch about all, no packet's trace was
	// asked for, in one namespace at least, because there were too many; and
	// PausedAt when a pause began, in nanoseconds since the Unix epoch, 0 when none
	// did. What a packet meets is told to its end then where that is in one go; one
	// that begins here or waits for a program may be told in part.
	Paused   time.Duration
	PausedAt int64
}

// DefaultTraceRate is a Tracer's default Rate. A traced packet costs the kernel as
// much as five to ten others (BenchmarkForwardTracedAll), some 50 µs, so that
// these take a fiftieth of one processor, of all that a host has.
const DefaultTraceRate = 200

// TraceTable is how the names of the tables begin in which a Tracer asks for
// traces. The rest is random: other programs may trace here, too.
const TraceTable = "natlens_trace_"
