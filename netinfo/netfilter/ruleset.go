package netfilter

import (
	"net/netip"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// Backend is the program family in whose words a rule was written.
type Backend string

const (
	NFTables       Backend = "nftables"
	IPTablesNFT    Backend = "iptables-nft"
	IPTablesLegacy Backend = "iptables-legacy"
)

// Hook is a place in the packet's path (netfilter's five hooks).
type Hook string

const (
	Prerouting  Hook = "prerouting"
	Input       Hook = "input"
	Forward     Hook = "forward"
	Output      Hook = "output"
	Postrouting Hook = "postrouting"
)

// RuleRef names one rule so that a person finds it.
type RuleRef struct {
	Backend  Backend
	Family   string // ip, ip6, inet
	Table    string
	Chain    string
	Position int    // 1 for the first rule of its chain, as iptables -L --line-numbers counts
	Handle   uint64 // nf_tables handle
	Text     string // in the user's own language: as iptables-save or nft list would print it
}

// Verdict of an evaluation: whether a rule is sure to match.
type Certainty uint8

const (
	// NoRule: no rule of that kind matches the packet, for sure.
	NoRule Certainty = iota
	// Covered: the rule matches; everything it asks could be evaluated.
	Covered
	// Unsure: some match on the way could not be evaluated.
	Unsure
)

// Packet is what a rule can ask about a packet at a NAT hook.
type Packet struct {
	Tuple        packet.Tuple // as it is when it reaches the hook
	Mark         uint32
	MarkKnown    bool
	InLink       string                // name; empty at output
	OutLink      string                // name; empty at prerouting
	LocalAddress func(netip.Addr) bool // addrtype LOCAL in this namespace
}

// Match is the answer of Ruleset.NAT.
type Match struct {
	Certainty Certainty
	Kind      string // snat, dnat, redirect, masquerade, netmap; empty unless Covered
	Rule      RuleRef
}

// Ruleset is the NAT chains of one namespace at one moment. It is immutable and
// safe for concurrent use. A nil *Ruleset is unknown: NAT answers Unsure.
type Ruleset struct {
	Namespace netns.ID
	Time      int64 // nanoseconds since the Unix epoch
	chains    []chain
}
