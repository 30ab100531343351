package live

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// ruleMemory is the rules of each namespace as they were read last.
type ruleMemory map[netns.ID]*netfilter.Ruleset

// hear takes in what came with a namespace, or that it went.
func (m ruleMemory) hear(n notice) {
	switch {
	case n.until != 0:
		delete(m, n.namespace)
	case n.rules != nil && n.rules.Unreadable == nil:
		m[n.rules.Namespace] = n.rules
	}
}

// keep forgets the namespaces that are not there any more: what was read of one can
// come after the word that it went.
func (m ruleMemory) keep(t *netinfo.Topology) {
	maps.DeleteFunc(m, func(id netns.ID, _ *netfilter.Ruleset) bool { return t.Namespace(id) == nil })
}

// see takes in what was read anew and says what is different; nil when nothing
// is.
func (m ruleMemory) see(r *netfilter.Ruleset, t *netinfo.Topology) *netinfo.Change {
	if r.Unreadable != nil {
		return nil
	}
	change := ruleChange(m[r.Namespace], r, t)
	m[r.Namespace] = r
	return change
}

// toldRules is how many rules an event names; beyond that it gives their number.
const toldRules = 3

// ruleChange says what is different in a namespace's rules; nil when nothing is,
// or when they were not known before. The tables by which natlens traces are its
// own doing, and no news.
func ruleChange(old, new *netfilter.Ruleset, t *netinfo.Topology) *netinfo.Change {
	came, went := new.Diff(old)
	parts := policyChanges(old, new)
	if len(came)+len(went)+len(parts) == 0 {
		return nil
	}
	for _, p := range []struct {
		verb  string
		rules []netfilter.Rule
	}{{"came", came}, {"went", went}} {
		if len(p.rules) > 0 {
			parts = append(parts, told(p.rules, p.verb))
		}
	}
	return &netinfo.Change{
		Kind: "ruleset", Action: "changed", Namespace: new.Namespace, NamespaceName: t.NamespaceName(new.Namespace),
		Detail: strings.Join(parts, "; "),
	}
}

// policyChanges says which base chains let pass now what they dropped at their end, or
// the other way round; one that is not there lets all pass.
func policyChanges(old, new *netfilter.Ruleset) (parts []string) {
	if old == nil || old.Unreadable != nil {
		return nil
	}
	type place struct {
		backend             netfilter.Backend
		family, table, name string
	}
	at := func(c *netfilter.Chain) place { return place{c.Backend, c.Family, c.Table, c.Name} }
	drops := map[place]bool{}
	for _, c := range old.Chains() {
		if c.Hook != "" {
			drops[at(&c)] = c.Drops
		}
	}
	for _, c := range new.Chains() {
		if c.Hook == "" {
			continue
		}
		was := drops[at(&c)]
		delete(drops, at(&c))
		if was == c.Drops {
			continue
		}
		policy := "accept"
		if c.Drops {
			policy = "drop"
		}
		parts = append(parts, fmt.Sprintf("the policy of %s %s %s is %s now", c.Family, c.Table, c.Name, policy))
	}
	var gone []string
	for p, dropped := range drops {
		if dropped {
			gone = append(gone, fmt.Sprintf("%s %s %s, whose policy was drop, is gone", p.family, p.table, p.name))
		}
	}
	slices.Sort(gone)
	return append(parts, gone...)
}

// told names a few rules: "2 rules came: -A DOCKER …, -A FORWARD …".
func told(rules []netfilter.Rule, verb string) string {
	s := fmt.Sprintf("%d rules %s: ", len(rules), verb)
	if len(rules) == 1 {
		s = "a rule " + verb + ": "
	}
	var texts []string
	for i := range rules[:min(len(rules), toldRules)] {
		r := &rules[i]
		texts = append(texts, inItsTable(r))
	}
	s += strings.Join(texts, ", ")
	if more := len(rules) - toldRules; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// inItsTable is a rule's text and where it stands: as an argument of iptables, or of
// ip6tables, which is named; else with nft's family, table and chain.
func inItsTable(r *netfilter.Rule) string {
	if r.Backend == netfilter.NFTables {
		return strings.Join([]string{r.Family, r.Table, r.Chain, r.Text}, " ")
	}
	text := r.Text
	if r.Table != "filter" {
		text = "-t " + r.Table + " " + text
	}
	if r.Family == "ip6" {
		text = "ip6tables " + text
	}
	return text
}
