package probe

import (
	"net/netip"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// Expectation is what the routes and rules make of the packet, worked out before
// it is sent. Only the way there is: what comes back follows conntrack.
type Expectation struct {
	Stages []Stage
	// Result is Reached, Dropped, NoWay or RefusedBy.
	Result Result
	// Rule is the rule that decides a Dropped; nil when it is a policy.
	Rule *netfilter.RuleRef
	// Verdict is what the rules that end it make of it: netfilter.Dropped or
	// netfilter.Rejected; empty when no rule does.
	Verdict netfilter.Verdict
	Reason  string // words for a person; may be empty
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
	Out       *netinfo.Link // nil where it ends
	Bridge    *netinfo.Link // that it is switched by, or comes in by; nil otherwise
	How       How
	Gateway   string       // of the route; empty when the destination is on the link
	Before    packet.Tuple // when it enters
	After     packet.Tuple // when it leaves
	NAT       []netfilter.NATRule
}

// How says what a namespace does with the packet.
type How string

const (
	Begins  How = "sent"
	Routed  How = "routed"
	Bridged How = "bridged"
	Arrives How = "delivered"
	Leaves  How = "leaves" // by a link whose other end is not on this host
	StopsAt How = "dropped"
	NoRoute How = "no route"
	NoBody  How = "no neighbour"
)
