package probe

import (
	"net/netip"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// Expectation is what the routes and rules make of the packet, worked out before
// it is sent. Of the way back, which follows conntrack, it tells no more than that a rule
// drops what is sent.
type Expectation struct {
	Stages []Stage
	// Result is Reached, Dropped, NoWay or RefusedBy.
	Result Result
	// Rule is the rule that decides a Dropped; nil when it is a policy.
	Rule *netfilter.RuleRef
	// Verdict is what the rules that end it make of it: netfilter.Dropped or
	// netfilter.Rejected; empty when no rule does.
	Verdict netfilter.Verdict
	// Answer: the packet arrives, and it is its answer that is Dropped.
	Answer bool
	Reason string // words for a person; may be empty
	// Down: it is a link that is down which ends it; NoWay.
	Down bool
	// Loopback is the address that the port is listened at, where it is one that
	// only the namespace itself reaches; RefusedBy.
	Loopback netip.Addr
	// Unsure is why the expectation is no more than a guess; empty when
	// everything on the way could be worked out.
	Unsure string
}

// Stage is the packet's way through one namespace.
type Stage struct {
	Namespace *netinfo.Namespace
	In        *netinfo.Link // nil where it begins
	Out       *netinfo.Link // by which it is to leave; nil where it does not
	Bridge    *netinfo.Link // that it is switched by, or comes in by; nil otherwise
	Port      *netinfo.Link // of the bridge Out, by which that sends it; nil otherwise
	How       How
	// Ends: it comes no further than to this namespace, and not to its Out.
	Ends bool
	// Delivered: it comes to whoever waits for it here.
	Delivered bool
	// Route is what the routes say; nil where they are not asked.
	Route  *Route
	Hooks  []Passage    // of rules, in order
	Before packet.Tuple // when it enters
	After  packet.Tuple // when it leaves
	NAT    []Translated // what its rules make of its addresses, in order
}

// Route is the answer of a namespace's routes (ip route get).
type Route struct {
	To      netip.Addr
	Local   bool       // To is an address of the namespace itself
	Gateway netip.Addr // invalid when To is on the link
	Source  netip.Addr // that a packet sent here gets; invalid for what was sent elsewhere
	Link    *netinfo.Link
}

// Passage is a hook that the packet passes, or ends at.
type Passage struct {
	Hook netfilter.Hook
	// Frames: rules of frames stand there, those of a link or of a bridge.
	Frames bool
	// Verdict of the rules there; empty when it is not known.
	Verdict netfilter.Verdict
	// Steps are what it matches, in order, as far as that is sure.
	Steps []netfilter.Step
}

// Translated is a rule that translates the packet, and what becomes of its addresses.
type Translated struct {
	netfilter.NATRule
	Before, After packet.Tuple
}

// How says what a namespace does with the packet.
type How string

const (
	Begins  How = "sent"
	Routed  How = "routed"
	Bridged How = "bridged"
	Arrives How = "delivered"
)
