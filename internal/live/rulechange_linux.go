package live

import (
	"fmt"
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
// or when they were not known before.
func ruleChange(old, new *netfilter.Ruleset, t *netinfo.Topology) *netinfo.Change {
	came, went := new.Diff(old)
	if len(came)+len(went) == 0 {
		return nil
	}
	var parts []string
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

// told names a few rules: "2 rules came: -A DOCKER …, -A FORWARD …".
func told(rules []netfilter.Rule, verb string) string {
	s := fmt.Sprintf("%d rules %s: ", len(rules), verb)
	if len(rules) == 1 {
		s = "a rule " + verb + ": "
	}
	var texts []string
	for i := range rules[:min(len(rules), toldRules)] {
		r := &rules[i]
		text := r.Text
		if r.Backend == netfilter.NFTables {
			text = strings.Join([]string{r.Family, r.Table, r.Chain, text}, " ")
		} else if r.Table != "filter" {
			text = "-t " + r.Table + " " + text
		}
		texts = append(texts, text)
	}
	s += strings.Join(texts, ", ")
	if more := len(rules) - toldRules; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}
