package netfilter

import (
	"net/netip"
	"slices"

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
	Tuple     packet.Tuple // as it is when it reaches the hook
	Mark      uint32
	MarkKnown bool
	// InLink is a link's name, at postrouting too (rules ask for it there);
	// empty at output, elsewhere that means that it is not known.
	InLink string
	// OutLink is a link's name; empty at prerouting and input, elsewhere that
	// means that it is not known.
	OutLink string
	// LocalAddress tells addrtype LOCAL in this namespace; nil: not known.
	LocalAddress func(netip.Addr) bool
}

// Match is the answer of Ruleset.NAT.
type Match struct {
	Certainty Certainty
	Kind      string // snat, dnat, redirect, masquerade, netmap; empty unless Covered
	// Rule is the rule that translates; with Unsure the one that could not be
	// evaluated, if it is one rule.
	Rule RuleRef
	// To is where a dnat or redirect rule sends the packet, as far as the rule
	// alone says: an invalid address where it names none (redirect) or several,
	// port 0 where it leaves the port as it is. ToKnown is false for other
	// kinds, and where the kernel chooses the port.
	To      netip.AddrPort
	ToKnown bool
	// Mark is the packet's mark behind the rules that were walked. Give it to
	// the next hook's Packet.
	Mark      uint32
	MarkKnown bool
}

// Ruleset is the NAT chains of one namespace at one moment. It is immutable and
// safe for concurrent use. A nil *Ruleset is unknown: NAT answers Unsure.
type Ruleset struct {
	Namespace netns.ID
	Time      int64 // nanoseconds since the Unix epoch
	// Unreadable is why the rules could not be read; NAT then answers Unsure.
	Unreadable error

	base   []*chain // of type nat, by priority
	tables map[tableKey]*table
	marks  bool          // a rule outside of the NAT chains sets packet marks
	legacy []LegacyTable // of iptables-legacy, whose rules can't be read
}

// LegacyTable is a table that iptables-legacy made.
type LegacyTable struct {
	Family string // ip, ip6
	Name   string // nat, filter, …
}

// Legacy returns the tables of iptables-legacy in this namespace. Their rules
// are not read.
func (r *Ruleset) Legacy() []LegacyTable {
	if r == nil {
		return nil
	}
	return slices.Clone(r.legacy)
}

// legacyNAT reports whether iptables-legacy may translate that family.
func (r *Ruleset) legacyNAT(is4 bool) bool {
	return slices.ContainsFunc(r.legacy, func(t LegacyTable) bool {
		return t.Name == "nat" && (t.Family == "ip") == is4
	})
}

// Rules returns every rule of the NAT chains and of those they lead to, table
// by table and chain by chain, in order.
func (r *Ruleset) Rules() []RuleRef {
	if r == nil {
		return nil
	}
	var refs []RuleRef
	for _, c := range r.reachable() {
		for i := range c.rules {
			refs = append(refs, c.rules[i].ref)
		}
	}
	return refs
}

// reachable returns the NAT base chains, by priority, each followed by the
// chains that it jumps to and that were not there before.
func (r *Ruleset) reachable() []*chain {
	var all []*chain
	seen := map[*chain]bool{}
	var visit func(t *table, c *chain)
	visit = func(t *table, c *chain) {
		if c == nil || seen[c] {
			return
		}
		seen[c] = true
		all = append(all, c)
		for i := range c.rules {
			for j := range c.rules[i].expressions {
				e := &c.rules[i].expressions[j]
				if e.verdict.chain != "" {
					visit(t, t.chains[e.verdict.chain])
				}
				if s := t.sets[e.set]; e.name == "lookup" && s != nil {
					for k := range s.elements {
						visit(t, t.chains[s.elements[k].verdict.chain])
					}
				}
			}
		}
	}
	for _, c := range r.base {
		visit(r.tables[tableKey{c.family, c.table}], c)
	}
	return all
}
