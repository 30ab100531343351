package netfilter

import (
	"net/netip"
	"testing"

	"natlens/capture/packet"
)

func tuple(p packet.Protocol, from, to string, a, b uint16) packet.Tuple {
	return packet.NewTuple(p, netip.MustParseAddr(from), netip.MustParseAddr(to), a, b)
}

// madeOf lays out a Ruleset of base chains: each is a family, a hook, a priority
// and the verdict of its only rule, which matches all.
func madeOf(chains ...*chain) *Ruleset {
	r := &Ruleset{tables: map[tableKey]*table{}}
	for _, c := range chains {
		key := c.key()
		if r.tables[key] == nil {
			r.tables[key] = &table{chains: map[string]*chain{}, sets: map[string]*set{}}
		}
		r.tables[key].chains[c.name] = c
	}
	r.finish()
	return r
}

func baseChain(family, name string, hook Hook, priority int32, kind string, rules ...[]expression) *chain {
	c := &chain{family: family, table: "t", name: name, base: true, kind: kind, hook: hook, priority: priority, policy: verdictAccept}
	for i, e := range rules {
		c.rules = append(c.rules, rule{ref: RuleRef{Family: family, Table: "t", Chain: name, Position: i + 1, Handle: uint64(i + 1)}, expressions: e})
	}
	return c
}

func says(code int32, chain string) []expression {
	return []expression{{name: "immediate", hasDestination: true, verdict: verdict{there: true, code: code, chain: chain}}}
}

// perhaps makes a rule one that may match.
func perhaps(e []expression) []expression {
	return append([]expression{{name: "limit"}}, e...)
}

func TestWalk(t *testing.T) {
	drop, accept := says(verdictDrop, ""), says(verdictAccept, "")
	p := Packet{Tuple: tuple(packet.UDP, "172.17.0.2", "198.51.100.7", 1, 2), InLink: "a", OutLink: "b", State: StateNew}
	for _, c := range []struct {
		name    string
		rules   *Ruleset
		path    Path
		change  func(*Packet)
		verdict Verdict
		by      string
		unsure  string
	}{
		{name: "nothing", rules: madeOf(), path: ThroughHost, verdict: Accepted},
		{name: "accepted here, dropped there", path: ThroughHost, verdict: Dropped, by: "second",
			rules: madeOf(baseChain("ip", "first", Forward, 0, "filter", accept), baseChain("inet", "second", Forward, 1, "filter", drop))},
		{name: "by priority", path: ThroughHost, verdict: Dropped, by: "second",
			rules: madeOf(baseChain("ip", "first", Forward, 5, "filter", drop), baseChain("inet", "second", Forward, -5, "filter", drop))},
		{name: "another hook", path: ToHost, verdict: Accepted,
			rules: madeOf(baseChain("ip", "first", Forward, 0, "filter", drop))},
		{name: "another family", path: ThroughHost, verdict: Accepted,
			rules: madeOf(baseChain("ip6", "first", Forward, 0, "filter", drop), baseChain("bridge", "x", Forward, 0, "filter", drop), baseChain("arp", "y", Forward, 0, "filter", drop))},
		{name: "bridged", path: ThroughHost, change: func(p *Packet) { p.Bridged = true }, verdict: Dropped, by: "x",
			rules: madeOf(baseChain("ip", "first", Forward, 0, "filter", drop), baseChain("bridge", "x", Forward, 1, "filter", drop))},
		{name: "perhaps", path: ThroughHost, unsure: "how much of a rate limit is left is not known",
			rules: madeOf(baseChain("ip", "first", Forward, 0, "filter", perhaps(drop)))},
		{name: "either way", path: ThroughHost, verdict: Dropped, unsure: "how much of a rate limit is left is not known",
			rules: madeOf(baseChain("ip", "first", Forward, 0, "filter", perhaps(drop), drop))},
		{name: "whatever it says", path: ThroughHost, verdict: Dropped, by: "first",
			rules: madeOf(baseChain("ip", "first", Forward, 0, "filter", perhaps(says(verdictContinue, "")), drop))},
		{name: "one priority", path: ThroughHost, verdict: Dropped, unsure: "two chains of one priority differ, and their order can't be read",
			rules: madeOf(baseChain("ip", "first", Forward, 0, "filter", drop), baseChain("inet", "second", Forward, 0, "filter", drop))},
		{name: "one priority, one drops", path: ThroughHost, verdict: Dropped, by: "second",
			rules: madeOf(baseChain("ip", "first", Forward, 0, "filter", accept), baseChain("inet", "second", Forward, 0, "filter", drop))},
		{name: "a loop", path: ThroughHost, unsure: "chains lead to each other too deep",
			rules: madeOf(baseChain("ip", "first", Forward, 0, "filter", says(verdictJump, "first")))},
		{name: "unknown rules", rules: nil, path: ThroughHost, unsure: "the rules are not known"},
		{name: "NAT of what is known", path: ThroughHost, change: func(p *Packet) { p.Bound = true }, verdict: Accepted,
			rules: madeOf(baseChain("ip", "first", Postrouting, 100, "nat", drop))},
		{name: "NAT of what is new", path: ThroughHost, verdict: Dropped, by: "first",
			rules: madeOf(baseChain("ip", "first", Postrouting, 100, "nat", drop))},
		{name: "NAT of who knows", path: ThroughHost, change: func(p *Packet) { p.State = StateUnknown }, unsure: "whether the packet begins a flow is not known",
			rules: madeOf(baseChain("ip", "first", Postrouting, 100, "nat", drop))},
	} {
		p := p
		if c.change != nil {
			c.change(&p)
		}
		w := c.rules.Walk(c.path, p)
		by := ""
		if w.Decisive != nil {
			by = w.Decisive.Chain
		}
		if w.Verdict != c.verdict || by != c.by || w.Unsure != c.unsure {
			t.Errorf("%s: %q by %q, unsure %q; want %q by %q, unsure %q", c.name, w.Verdict, by, w.Unsure, c.verdict, c.by, c.unsure)
		}
	}
}
