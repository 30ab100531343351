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

// Hook is a place in the packet's path: netfilter's five hooks, and the two of
// a link.
type Hook string

const (
	Prerouting  Hook = "prerouting"
	Input       Hook = "input"
	Forward     Hook = "forward"
	Output      Hook = "output"
	Postrouting Hook = "postrouting"
	Ingress     Hook = "ingress"
	Egress      Hook = "egress"
)

// RuleRef names one rule so that a person finds it. Backend, Family, Table, Chain
// and Handle name it for a program; iptables-legacy has no handles, there the
// Position takes its place.
type RuleRef struct {
	Backend  Backend
	Family   string // ip, ip6, inet, bridge, arp, netdev
	Table    string
	Chain    string
	Position int    // 1 for the first rule of its chain, as iptables -L --line-numbers counts
	Handle   uint64 // nf_tables handle; 0 of iptables-legacy
	Text     string // in the user's own language: as iptables-save or nft list would print it
}

// Counter is how much a rule has counted.
type Counter struct{ Packets, Bytes uint64 }

// Rule is a rule as it was read.
type Rule struct {
	RuleRef
	Counter Counter // as of Ruleset.Time
	Counts  bool    // it has a counter
}

// Chain is a chain and its rules.
type Chain struct {
	Backend             Backend
	Family, Table, Name string
	// The rest but Rules is of base chains, which have a Hook.
	Hook     Hook
	Type     string // filter, nat, route
	Priority int32
	Devices  []string // the links of a chain at Ingress or Egress
	Drops    bool     // its policy: what comes to its end is dropped
	Rules    []Rule
	// Undecoded: some rule of it is not to be had, so Rules are not all.
	Undecoded bool
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

// State is what connection tracking says of a packet.
type State uint8

const (
	StateUnknown     State = iota // nothing is known of it
	StateNew                      // the first of its flow
	StateEstablished              // of a flow that is there
	StateRelated                  // an error about one, or a flow that a helper expects
	StateInvalid
	StateUntracked
)

// Direction of a packet within its flow.
type Direction uint8

const (
	DirectionUnknown Direction = iota
	DirectionOriginal
	DirectionReply
)

// Packet is what a rule can ask about a packet at a hook. What a field's zero
// value leaves open is open to the evaluation, too.
type Packet struct {
	Tuple packet.Tuple // as it is when it reaches the hook
	// Mark is known as a whole, or only the bits in MarkBits are: a rule may have
	// set some of a mark that is not known.
	Mark      uint32
	MarkKnown bool
	MarkBits  uint32
	marker    *rule // that set the mark last; nil: none, or not known
	// original is its flow's tuple of the original direction, as it was when it
	// began here; the zero Tuple when that is not known.
	original packet.Tuple
	// zoning is what rules before connection tracking did about its zones.
	zoning zoning
	// InLink is a link's name, at postrouting too (rules ask for it there);
	// empty at output, elsewhere that means that it is not known.
	InLink string
	// OutLink is a link's name; empty at prerouting and input, elsewhere that
	// means that it is not known.
	OutLink string
	// InPort and OutPort are the ports of bridges by which it came in and goes
	// out, where InLink and OutLink are bridges; empty: not known.
	InPort, OutPort string
	// Bridged: the hooks are those of a bridge, which ask the chains of family
	// bridge; the links are its ports. What bridge netfilter hands to IP is
	// another Packet, with the bridge as both links.
	Bridged bool
	// Bridge is the one whose ports those links are; empty: not known.
	Bridge string
	// Frame is the header that its link put before it.
	Frame Frame
	// LocalAddress tells addrtype LOCAL in this namespace; nil: not known.
	LocalAddress func(netip.Addr) bool

	State     State
	Direction Direction
	// SourceTranslated and DestinationTranslated say what NAT does to its
	// flow; they count for packets of a flow that is there.
	SourceTranslated, DestinationTranslated Fact
	// Translated is the tuple behind the destination's translation where that
	// is known, from its flow or from a tap; zero: nothing is known, and of the
	// first packet of a flow the rules tell.
	Translated packet.Tuple

	// Bound: its flow is in the table, so its translation is decided and no rule
	// of NAT is asked, even while it is new because nobody has answered.
	Bound bool

	// Time is when it came, in nanoseconds since the Unix epoch; 0: as of the time of
	// the rules. Sets of ipset change without notice: what one held before it is known
	// to have its members is not known.
	Time int64

	TCPFlags      uint8
	TCPFlagsKnown bool
	Length        uint32 // of the IP packet; 0: not known
}

// Fact is something that may be known or not.
type Fact uint8

const (
	NotKnown Fact = iota
	False
	True
)

// FactOf is the Fact of what is known.
func FactOf(b bool) Fact {
	if b {
		return True
	}
	return False
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
	// Mark, MarkKnown and MarkBits are the packet's mark behind the rules that were
	// walked: see Packet.Behind.
	Mark      uint32
	MarkKnown bool
	MarkBits  uint32
	marker    *rule        // see Packet
	original  packet.Tuple // likewise
	// Marker is the rule that set the mark which Rule asks for; nil when it asks for
	// none, no rule set it, or it is not known which.
	Marker *RuleRef
}

// Ruleset is the rules of one namespace at one moment, of all backends. It is
// immutable and safe for concurrent use. A nil *Ruleset is unknown: NAT answers
// Unsure, Walk an unknown verdict.
type Ruleset struct {
	Namespace netns.ID
	Time      int64 // nanoseconds since the Unix epoch
	// Unreadable is why the rules could not be read; then nothing is known of
	// what they do.
	Unreadable error

	base   []*chain // by priority
	tables map[tableKey]*table
	marks  bool             // a rule outside of the NAT chains sets packet marks
	legacy []LegacyTable    // of iptables-legacy
	links  map[int32]string // names by index; for rules that ask for an index
	// ipsets are the sets of ipset that rules ask for; one that is not here is not
	// known.
	ipsets map[string]*ipset
	// bridged: whether rules of IPv4 and of IPv6 see bridged frames.
	bridged [2]Fact
	// natOnly: only rules of NAT are here.
	natOnly bool
}

// LegacyTable is a table that iptables-legacy made.
type LegacyTable struct {
	Family string // ip, ip6
	Name   string // nat, filter, …
	// Unreadable is why its rules are not known; empty when they are.
	Unreadable string `json:",omitempty"`
}

// Legacy returns the tables of iptables-legacy in this namespace.
func (r *Ruleset) Legacy() []LegacyTable {
	if r == nil {
		return nil
	}
	return slices.Clone(r.legacy)
}

// hidden returns a table of iptables-legacy whose rules packets of that family
// meet and that could not be read.
func (r *Ruleset) hidden(is4 bool, nat bool) (LegacyTable, bool) {
	for _, t := range r.legacy {
		if t.Unreadable != "" && (t.Family == "ip") == is4 && (!nat || t.Name == "nat") {
			return t, true
		}
	}
	return LegacyTable{}, false
}

// SeesBridged says whether the rules of IP see frames that a bridge passes on, as
// Docker asks for (bridge-nf-call-iptables).
func (r *Ruleset) SeesBridged(is4 bool) Fact {
	switch {
	case r == nil || r.Unreadable != nil:
		return NotKnown
	case is4:
		return r.bridged[0]
	}
	return r.bridged[1]
}

// Chains returns all chains: base chains by priority, each followed by the
// chains of its table that it leads to and that were not there before; then
// those that nothing leads to.
func (r *Ruleset) Chains() []Chain {
	if r == nil {
		return nil
	}
	var list []Chain
	for _, c := range r.ordered() {
		list = append(list, r.chain(c))
	}
	return list
}

// Rules returns every rule, in the order of Chains.
func (r *Ruleset) Rules() []Rule {
	if r == nil {
		return nil
	}
	var rules []Rule
	for _, c := range r.ordered() {
		for i := range c.rules {
			rules = append(rules, c.rules[i].public())
		}
	}
	return rules
}

// Find returns the rule that ref names, wherever it stands now; false when it is
// no longer there.
func (r *Ruleset) Find(ref RuleRef) (Rule, bool) {
	if r == nil {
		return Rule{}, false
	}
	t := r.tables[tableKey{ref.Family, ref.Table, ref.Backend == IPTablesLegacy}]
	if t == nil || t.chains[ref.Chain] == nil {
		return Rule{}, false
	}
	rules := t.chains[ref.Chain].rules
	for i := range rules {
		if rules[i].ref.Handle == ref.Handle && (ref.Handle != 0 || rules[i].ref.Position == ref.Position && rules[i].ref.Text == ref.Text) {
			return rules[i].public(), true
		}
	}
	return Rule{}, false
}

func (r *rule) public() Rule {
	out := Rule{RuleRef: r.ref}
	for i := range r.expressions {
		if e := &r.expressions[i]; e.name == "counter" {
			out.Counter, out.Counts = e.counter, true
		}
	}
	return out
}

func (r *Ruleset) chain(c *chain) Chain {
	out := Chain{
		Backend: r.backend(c), Family: c.family, Table: c.table, Name: c.name,
		Hook: c.hook, Type: c.kind, Priority: c.priority, Devices: c.devices, Drops: c.base && c.policy == verdictDrop,
		Undecoded: c.incompatible,
	}
	for i := range c.rules {
		out.Rules = append(out.Rules, c.rules[i].public())
	}
	return out
}

// backend says who made a chain.
func (r *Ruleset) backend(c *chain) Backend {
	switch t := r.tables[c.key()]; {
	case c.legacy:
		return IPTablesLegacy
	case t != nil && t.xtables:
		return IPTablesNFT
	}
	return NFTables
}

// ordered returns the chains in the order of Chains.
func (r *Ruleset) ordered() []*chain {
	seen := map[*chain]bool{}
	var all []*chain
	for _, c := range r.base {
		all = append(all, r.reach(c, seen)...)
	}
	for _, key := range r.keys() {
		t := r.tables[key]
		for _, name := range sortedNames(t.chains) {
			if !seen[t.chains[name]] {
				all = append(all, t.chains[name])
			}
		}
	}
	return all
}

// reach returns a chain and those that it leads to, without what was seen.
func (r *Ruleset) reach(from *chain, seen map[*chain]bool) []*chain {
	t := r.tables[from.key()]
	var all []*chain
	var visit func(c *chain)
	visit = func(c *chain) {
		if c == nil || seen[c] {
			return
		}
		seen[c] = true
		all = append(all, c)
		for i := range c.rules {
			for j := range c.rules[i].expressions {
				e := &c.rules[i].expressions[j]
				if e.verdict.chain != "" {
					visit(t.chains[e.verdict.chain])
				}
				if s := t.sets[e.set]; e.name == "lookup" && s != nil {
					for k := range s.elements {
						visit(t.chains[s.elements[k].verdict.chain])
					}
				}
			}
		}
	}
	visit(from)
	return all
}
