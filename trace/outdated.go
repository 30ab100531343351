package trace

import (
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// natRules are the rules of NAT of a namespace as they were read last.
type natRules struct {
	rules *netfilter.Ruleset
	since int64 // when they were first read as they are; 0: they always were
}

// learnNAT takes in a namespace's rules. Those that can't be read change nothing.
func (c *Correlator) learnNAT(r *netfilter.Ruleset) {
	if r.Unreadable != nil {
		return
	}
	known := c.nat[r.Namespace]
	if known.rules != nil && !r.SameNAT(known.rules) {
		known.since = r.Time
	}
	known.rules = r
	c.nat[r.Namespace] = known
}

// Notes on a flow whose namespace has other rules of NAT than when it began. Docker
// changes them with each container that publishes a port.
const (
	noteChanged = "the rules of NAT have changed since this flow began: the rule is the one that would translate its first packet now"
	noteGone    = "the rule that translated this flow's first packet is gone; NAT is asked for the first packet alone, so the flow stays translated until it ends"
	noteNoRule  = "no rule of now would translate this flow's first packet like this: it began under others, and stays translated until it ends"
	// noteExpected is said whatever the rules are.
	noteExpected = "a helper of connection tracking saw this connection announced in another one, as FTP announces its data: it is translated like that one; rules of NAT are asked only where that one is not translated"
)

// outdated says what a change of the rules of NAT means for what is said of a flow's
// translation; empty when it means nothing.
func (c *Correlator) outdated(f *trackedFlow, translated side, ns netns.ID) string {
	known := c.nat[ns]
	older := f.bornBefore == 0 || f.bornBefore < known.since
	rule := f.rules[translated]
	switch {
	case f.Status&netfilter.Expected != 0:
		return noteExpected
	case known.rules == nil || !older:
	case rule == nil:
		if f.ruleless[translated] && f.movedAddress(translated) {
			return noteNoRule
		}
	case known.since == 0:
	case f.ruledSince[translated] != known.since:
		if !known.rules.Has(rule.RuleRef) {
			return noteGone
		}
	case f.bornBefore != 0 && rule.Evidence == ByRules:
		return noteChanged
	}
	return ""
}

// movedAddress reports whether a side has another address behind the translation. A
// port alone the kernel changes without any rule, where two flows would be one.
func (t *trackedFlow) movedAddress(which side) bool {
	before, after := t.forms[0].before, t.forms[0].after
	if which == sourceSide {
		return before.Source() != after.Source()
	}
	return before.Destination() != after.Destination()
}
