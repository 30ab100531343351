// Package trace joins what was seen at many points into journeys: the
// trajectory of one packet in one direction, with the translations on its way
// and what each statement rests on.
package trace

import (
	"net/netip"
	"time"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// Evidence says what a statement rests on.
type Evidence string

const (
	ByTap       Evidence = "tap"       // a packet was seen there
	ByConntrack Evidence = "conntrack" // the kernel's connection tracking says so
	ByTrace     Evidence = "trace"     // the kernel's rule trace says so
	ByCounter   Evidence = "counter"   // a rule's counter moved
	BySocket    Evidence = "socket"    // a socket's owner was found
	ByReply     Evidence = "reply"     // an answer came
	ByRules     Evidence = "evaluated" // the rules were read and evaluated
	ByHeader    Evidence = "header"    // the packet's own headers say so
	ByInference Evidence = "inferred"  // the only explanation that fits; not proven
	Ambiguous   Evidence = "ambiguous" // true of one of several packets that look the same
)

// FlowDirection is the direction of a packet within its flow.
type FlowDirection string

const (
	Original    FlowDirection = "original"
	Reply       FlowDirection = "reply"
	NoDirection FlowDirection = "none" // no flow is known
)

// Journey is what happened to one packet. It is immutable once emitted.
type Journey struct {
	ID         uint64
	Supersedes uint64 // the ID of an earlier record of the same packet; 0 for none
	Time       int64  // of the first hop, nanoseconds since the Unix epoch
	Protocol   packet.Protocol
	From, To   Endpoint
	Direction  FlowDirection
	// Hops are in the order the packet passed them.
	Hops         []Hop
	Translations []Translation
	Rules        []Rule
	// Flows are the conntrack entries the packet belonged to, one for each
	// namespace that tracks it.
	Flows   []netfilter.Flow
	Verdict Verdict
	Related []Relation
	Notes   []string
	// LinkType and Data are the bytes of the first hop, as captured.
	LinkType packet.LinkType
	Data     []byte
	// Topology is the host as it was; never nil in an emitted Journey.
	Topology *netinfo.Topology
}

// Endpoint is one end of a journey, before any translation for From, after all
// of them for To.
type Endpoint struct {
	// Name is a container's or namespace's name; empty for an address that
	// is not on this host.
	Name       string
	Containers []string
	// Host is whose the name is where several hosts were watched; else empty.
	Host string
	IP   netip.Addr
	Port uint16 // 0 where the protocol has none
}

// Hop is one sighting of the packet.
type Hop struct {
	Time      int64
	Point     capture.Point
	Interface string // name at that time; "if7" when unknown
	Namespace string // name at that time; "host" for natlens's own
	// Host is where it was seen when several hosts were watched; else empty.
	// Clock is by how many nanoseconds that host's clock is ahead of the first
	// hop's; 0 when it is not, or nobody knows.
	Host    string
	Clock   int64
	Type    capture.PacketType
	Headers packet.Headers
	// Containers are those whose namespace this is; empty on the host.
	Containers []string
	// PeerContainers are at the other end of this veth.
	PeerContainers []string
	// From is the index of the hop it came from; -1 for the first.
	From int
	// Part is set where this hop saw a piece of the datagram.
	Part *Part
	// MergedWith is how many other packets this hop showed as one with this one:
	// segments that a receiver put together (GRO), or datagrams that a program
	// handed over in one (UDP_SEGMENT). Headers are those of the merged packet.
	MergedWith int
	// SameStamp: the kernel gave this hop and the one it came from one and
	// the same time, so they are one buffer in its memory.
	SameStamp bool
	// Packet is what was captured here; nil unless the Correlator keeps
	// packets, and in every Journey but the first with this sighting. Who gets
	// the Journey first may take it out, for its memory's sake.
	Packet *capture.Observation
}

// Kinds of translation.
const (
	SNAT       = "snat"
	DNAT       = "dnat"
	Redirect   = "redirect"
	Masquerade = "masquerade"
	Netmap     = "netmap"
	Proxy      = "proxy"
)

// Translation is one change of address or port.
type Translation struct {
	Kind      string
	Namespace string
	Host      string // as in Hop
	// Between holds the hops before and after; -1 on a side that no tap saw.
	Between [2]int
	// PeerJourney is that of the packet which a process took and of which it
	// made this one; 0 unless Kind is Proxy. Then Between means nothing.
	PeerJourney uint64
	Hook        netfilter.Hook // where it was done; empty when unknown
	// Undo: this is the reverse of the flow's translation, on an answer.
	Undo          bool
	Before, After packet.Tuple
	Evidence      Evidence
	ConntrackID   uint32 // 0 when no flow is known
	// Rule translated the flow's first packet; nil when unknown.
	Rule *Rule
}

// Rule is a rule and what connects it with the packet.
type Rule struct {
	netfilter.RuleRef
	Evidence Evidence
	// Met is how the packet met it, as the kernel's trace told; nil otherwise.
	Met *Met
	// Marker set the packet's mark, which this rule asks for; nil when it asks for
	// none, or which rule did is not known.
	Marker *netfilter.RuleRef
}

// Met is a packet's meeting with a rule.
type Met struct {
	Namespace string
	Host      string         // as in Hop
	Hook      netfilter.Hook // of the base chain that led here; empty when unknown
	// Between holds the hops before and after; -1 on a side that no tap saw.
	Between [2]int
	// Policy: it was no rule but the end of a base chain, which decided.
	Policy  bool
	Verdict netfilter.HitVerdict // with iptables-legacy as the rule's text says
	Target  string               // the chain it went on to
}

// Result is how a journey ended.
type Result string

const (
	Delivered  Result = "delivered"
	Left       Result = "left" // out by a link whose other end is not watched
	Dropped    Result = "dropped"
	Vanished   Result = "vanished"
	Flooded    Result = "flooded"
	Looped     Result = "looped"
	Unfinished Result = "unfinished"
)

// Verdict is how a journey ended, and how that is known.
type Verdict struct {
	Result Result
	Hop    int            // index of the hop it ended at; -1 when Hook or nothing says it
	Hook   netfilter.Hook // empty unless it ended at a hook
	By     string         // a rule, a link, a socket; may be empty
	// Rule is the rule that ended it, one of Journey.Rules; nil when none did or
	// when it is not known.
	Rule     *Rule
	Reason   string // words for a person; may be empty
	Evidence Evidence
	Leak     bool // a container's address left un-NATed
}

// Relation ties a journey to an earlier one.
type Relation struct {
	ID  uint64
	Why string // reply_to, error_about, retransmission_of, duplicate_of, proxied_as, resolved_by
}

// ARP is a sighting of what hosts say on a link to keep it working, and which is never
// sent on: address resolution (ARP, neighbour discovery) and group membership (IGMP,
// MLD).
type ARP struct {
	Time      int64
	Point     capture.Point
	Type      capture.PacketType // UnknownType: the direction of Point means nothing
	Namespace string
	Interface string
	// Target is the address that a message of neighbour discovery is about (RFC
	// 4861, section 4.3); invalid when it has none, and for ARP, where it is
	// the destination.
	Target netip.Addr
	// Hardware is the MAC address that the message tells: ARP its sender's, an
	// advertisement its target's. Where an advertisement does not, it is the frame's;
	// zero when nothing tells.
	Hardware [6]byte
	// Membership is what it is to group membership, and Groups what it says of
	// groups, as far as that was captured.
	Membership packet.MembershipKind
	Groups     []packet.Membership
	Headers    packet.Headers
}

// Counters is what a correlator has done so far.
type Counters struct {
	Observations  uint64 // packets at points, malformed ones included
	Journeys      uint64
	Hops          uint64
	RingDrops     uint64 // packets that a ring lost
	ConntrackLost uint64 // times that conntrack events overran
	Traced        uint64 // journeys of which the rules told by their trace
	TraceLost     uint64 // messages of the rules' trace that were lost
	// TracePaused is how long no trace was asked for, because packets were too many.
	TracePaused time.Duration
	QueueDrops  uint64
	Evicted     uint64 // journeys let go before they were complete
	Unpaired    uint64 // observations that are a journey by themselves though more were expected
	Ambiguous   uint64 // journeys whose hops may be those of another that looks the same
	Malformed   uint64
	Cut         uint64 // packets of which too little was captured to read their headers
	// Undecoded counts messages of connection tracking that could not be read.
	Undecoded uint64
	Ignored   uint64 // packets that are neither IP nor address resolution
}

// HostID returns the namespace natlens runs in.
func (j *Journey) HostID() netns.ID {
	if j.Topology == nil {
		return 0
	}
	return j.Topology.Self
}

// OwnHop reports whether a hop was seen in the namespace that natlens ran in, on
// whichever host.
func (j *Journey) OwnHop(h *Hop) bool {
	if h.Host != "" {
		n := j.Topology.Namespace(h.Point.Namespace)
		return n != nil && n.NameFrom == "self"
	}
	return h.Point.Namespace == j.HostID()
}
