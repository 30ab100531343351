package netfilter

import (
	"slices"
	"strings"

	"natlens/netinfo/netns"
)

// RuleID names a rule as long as its Ruleset stands. It is comparable.
type RuleID struct {
	Family, Table, Chain string
	Handle               uint64
	Position             int  // of iptables-legacy, which has no handles
	Legacy               bool // of iptables-legacy
	Policy               bool `json:",omitempty"` // no rule, but the end of a base chain
}

// ID returns the name of the rule.
func (r RuleRef) ID() RuleID {
	id := RuleID{Family: r.Family, Table: r.Table, Chain: r.Chain, Handle: r.Handle, Legacy: r.Backend == IPTablesLegacy}
	if id.Legacy {
		id.Position = r.Position
	}
	return id
}

// ID returns the name of the chain's policy, as Counts has it.
func (c ChainRef) ID() RuleID {
	return RuleID{Family: c.Family, Table: c.Table, Chain: c.Name, Legacy: c.Backend == IPTablesLegacy, Policy: true}
}

// Counts is a reading of all counters of one namespace's rules, and of its policies
// that drop where the kernel counts those: which have moved since the reading before.
type Counts struct {
	Namespace netns.ID
	// Start and End are when it was read, in nanoseconds since the Unix epoch: a
	// packet before Start is in it, one after End is not.
	Start, End int64
	Since      int64 // Start of the reading before; 0: there was none, and Moved is empty
	Moved      []Count
}

// Count is a rule that has counted packets.
type Count struct {
	Rule    RuleID
	Packets uint64
}

// moved returns the counters that differ; false when one was set back, or there
// are other rules than before.
func moved(before, after map[RuleID]uint64) (list []Count, ok bool) {
	if len(before) != len(after) {
		return nil, false
	}
	for id, n := range after {
		was, there := before[id]
		switch {
		case !there || n < was:
			return nil, false
		case n > was:
			list = append(list, Count{id, n - was})
		}
	}
	return list, true
}

// SeesOthers reports whether packets that no journey tells of may match a rule: ARP,
// neighbour discovery and what else is not IP. Only rules of frames meet them.
func (r *Ruleset) SeesOthers(id RuleID) bool {
	t := r.tables[tableKey{id.Family, id.Table, id.Legacy}]
	switch {
	case id.Family != "bridge" && id.Family != "netdev" && id.Family != "inet":
		return false
	case t == nil || t.chains[id.Chain] == nil || id.Policy:
		return true
	case id.Family == "inet" && t.chains[id.Chain].hook != Ingress:
		return false
	}
	rules := t.chains[id.Chain].rules
	for i := range rules {
		if rules[i].ref.Handle == id.Handle {
			return !slices.ContainsFunc(rules[i].terms(t), func(t term) bool { return t.asksForIP() })
		}
	}
	return true
}

// decodeCount reads the name and the counter of NFT_MSG_NEWRULE; false when the
// rule has none, or is a Tracer's, which come and go.
func decodeCount(a attributes, family string) (id RuleID, packets uint64, ok bool) {
	id.Family = family
	for {
		kind, value, more := a.next()
		if !more {
			return id, packets, ok && !strings.HasPrefix(id.Table, TraceTable)
		}
		switch kind {
		case 1:
			id.Table = text(value)
		case 2:
			id.Chain = text(value)
		case 3:
			id.Handle, _ = be64(value)
		case 4:
			for list := attributes(value); ; {
				_, element, more := list.next()
				if !more {
					break
				}
				if e := countOf(element); e != nil {
					packets, ok = e.counter.Packets, true
				}
			}
		}
	}
}

// decodePolicyCount reads the name and the counter of a chain's policy; false unless
// it drops and counts.
func decodePolicyCount(a attributes, family string) (id RuleID, packets uint64, ok bool) {
	c, ok := decodeChain(a, family)
	if !ok || !c.policyCounts || c.policy != verdictDrop {
		return id, 0, false
	}
	return ChainRef{Backend: NFTables, Family: family, Table: c.table, Name: c.name}.ID(), c.passed.Packets, true
}

// countOf decodes an expression if it is a counter.
func countOf(b []byte) *expression {
	a := attributes(b)
	kind, name, ok := a.next()
	if !ok || kind != 1 || text(name) != "counter" {
		return nil
	}
	e := decodeExpression(b, 0)
	return &e
}

// MayDrop reports whether a packet that passes these hooks may be dropped there, or
// handed to a program that may do it. Of a Ruleset that is not known it may.
func (r *Ruleset) MayDrop(at ...Hook) bool {
	if r == nil || r.Unreadable != nil || r.natOnly {
		return true
	}
	seen := map[*chain]bool{}
	for _, c := range r.base {
		if !slices.Contains(at, c.hook) {
			continue
		}
		if c.policy == verdictDrop || slices.ContainsFunc(r.reach(c, seen), (*chain).mayDrop) {
			return true
		}
	}
	return slices.ContainsFunc(r.legacy, func(t LegacyTable) bool { return t.Unreadable != "" })
}

// mayDrop reports whether packets may end in the chain.
func (c *chain) mayDrop() bool {
	return c.incompatible || c.any(func(e *expression) bool {
		return e.drops() || e.opaque || e.name == "queue" || e.extension == "NFQUEUE"
	})
}

// Copiers returns the rules that send copies of packets elsewhere (TEE, dup).
func (r *Ruleset) Copiers() []RuleRef {
	return r.rulesWith(func(e expression) bool { return e.name == "dup" || e.extension == "TEE" })
}

// SynProxies returns the rules that answer SYNs in a server's place (SYNPROXY, synproxy).
func (r *Ruleset) SynProxies() []RuleRef {
	return r.rulesWith(func(e expression) bool {
		return e.name == "synproxy" || e.extension == "SYNPROXY" || e.name == "objref" && e.key == objectSynproxy
	})
}

// rulesWith returns the rules that have such an expression; none where they are not known.
func (r *Ruleset) rulesWith(such func(expression) bool) (rules []RuleRef) {
	if r == nil {
		return nil
	}
	for _, c := range r.ordered() {
		for i := range c.rules {
			if slices.ContainsFunc(c.rules[i].expressions, such) {
				rules = append(rules, c.rules[i].ref)
			}
		}
	}
	return rules
}

// drops reports whether a rule of the chain drops or rejects, or may.
func (c *chain) drops() bool { return c.any((*expression).drops) }

func (c *chain) any(is func(*expression) bool) bool {
	for i := range c.rules {
		for j := range c.rules[i].expressions {
			if is(&c.rules[i].expressions[j]) {
				return true
			}
		}
	}
	return false
}

// drops reports whether it is what drops or rejects, or a verdict map, which may.
func (e *expression) drops() bool {
	switch {
	case e.verdict.there && e.verdict.code == verdictDrop, e.name == "reject", e.extension == "REJECT":
		return true
	}
	return e.name == "lookup" && e.hasDestination && e.destination == 0
}

// drops reports whether a rule drops or rejects, or may, or a policy that counts
// does.
func (r *Ruleset) drops() bool {
	return r.countsPolicies() || r.anyChain((*chain).drops)
}

// countsPolicies reports whether there is a policy that drops and counts.
func (r *Ruleset) countsPolicies() bool {
	return r.anyChain(func(c *chain) bool { return c.policyCounts && c.policy == verdictDrop })
}

// translates reports whether there is a rule of NAT.
func (r *Ruleset) translates() bool {
	return slices.ContainsFunc(r.base, func(c *chain) bool {
		return c.kind == "nat" && slices.ContainsFunc(r.reach(c, map[*chain]bool{}), func(c *chain) bool { return len(c.rules) > 0 })
	})
}

func (r *Ruleset) anyChain(is func(*chain) bool) bool {
	for _, t := range r.tables {
		for _, c := range t.chains {
			if is(c) {
				return true
			}
		}
	}
	return false
}
