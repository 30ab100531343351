package netfilter

import (
	"slices"
	"strings"
)

// ruleKey is what stays of a rule while others come and go: its text and, in nf_tables,
// its handle. A table that is made anew, as nft -f does with a whole file, gives the
// handles again.
type ruleKey struct {
	backend              Backend
	family, table, chain string
	handle               uint64
	text                 string
}

func keyOf(r RuleRef) ruleKey {
	return ruleKey{r.Backend, r.Family, r.Table, r.Chain, r.Handle, r.Text}
}

// Diff returns the rules that have come and gone since an older Ruleset of the
// same namespace. One that was put in another place, or in the place of another,
// has come and gone. What counters count is no difference, nor are the rules by which
// a Tracer asks, this one's or another's; nor is anything where one of the two could
// not be read.
func (r *Ruleset) Diff(old *Ruleset) (came, went []Rule) {
	if r == nil || old == nil || r.Unreadable != nil || old.Unreadable != nil {
		return nil, nil
	}
	return without(r.Rules(), old.Rules()), without(old.Rules(), r.Rules())
}

// without returns the rules of a that are not in b, as often as they are not.
func without(a, b []Rule) (rest []Rule) {
	there := map[ruleKey]int{}
	for i := range b {
		there[keyOf(b[i].RuleRef)]++
	}
	for i := range a {
		k := keyOf(a[i].RuleRef)
		if k.backend == NFTables && strings.HasPrefix(k.table, TraceTable) {
			continue
		}
		if there[k] > 0 {
			there[k]--
			continue
		}
		rest = append(rest, a[i])
	}
	return rest
}

// samePolicies reports whether the base chains are the same and drop the same.
func (r *Ruleset) samePolicies(old *Ruleset) bool {
	return slices.EqualFunc(r.base, old.base, func(a, b *chain) bool {
		return a.key() == b.key() && a.name == b.name && a.policy == b.policy
	})
}

// SameNAT reports whether the rules that chains of NAT lead to are those of an older
// Ruleset, in the same places.
func (r *Ruleset) SameNAT(old *Ruleset) bool { return slices.Equal(r.natRules(), old.natRules()) }

func (r *Ruleset) natRules() (refs []RuleRef) {
	seen := map[*chain]bool{}
	for _, c := range r.base {
		if c.kind != "nat" {
			continue
		}
		for _, c := range r.reach(c, seen) {
			for i := range c.rules {
				refs = append(refs, c.rules[i].ref)
			}
		}
	}
	return refs
}

// Has reports whether the rule is there, wherever in its chain.
func (r *Ruleset) Has(ref RuleRef) bool {
	if r == nil {
		return false
	}
	t := r.tables[tableKey{ref.Family, ref.Table, ref.Backend == IPTablesLegacy}]
	if t == nil || t.chains[ref.Chain] == nil {
		return false
	}
	return slices.ContainsFunc(t.chains[ref.Chain].rules, func(x rule) bool {
		return x.ref.Handle == ref.Handle && x.ref.Text == ref.Text
	})
}
