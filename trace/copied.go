package trace

import (
	"fmt"
	"slices"

	"natlens/capture"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// copied reports whether what followed hop i in its namespace was a copy that a rule made
// (TEE, dup): what is for a namespace itself never goes on from there.
func (c *Correlator) copied(hops []sighting, i int) bool {
	s := &hops[i]
	if len(c.copiers[s.point.Namespace]) == 0 || s.point.Direction != capture.In || s.typ != capture.Host {
		return false
	}
	result, _ := c.end(s)
	return result == Delivered
}

// copies says of a journey through a namespace with rules that copy packets what may be
// the copy's; empty when nothing is.
func (c *Correlator) copies(e *entry, hops []sighting, from []int) string {
	for i := range hops {
		s := &hops[i]
		rules := c.copiers[s.point.Namespace]
		if len(rules) == 0 {
			continue
		}
		who := "a rule of " + s.space.name
		if len(rules) == 1 {
			who = fmt.Sprintf("%s #%d of %s", rules[0].Chain, rules[0].Position, s.space.name)
		}
		out := -1 // by which it went on from there
		for k := i + 1; k < len(from); k++ {
			if from[k] == i && hops[k].point.Direction == capture.Out && hops[k].link != nil && hops[k].link.master == (netinfo.LinkKey{}) {
				out = k
			}
		}
		switch {
		case out >= 0 && c.copied(hops, i):
			return fmt.Sprintf("%s copies packets: what went on by %s is a copy", who, hops[out].linkName())
		case out >= 0 && slices.Index(from, i) != out:
			return who + " copies packets: one of the ways that it went on is its copy's"
		case e.has().doubt != nil:
			return who + " copies packets: of those that look the same, one may be the copy"
		}
	}
	return ""
}

// learnCopiers takes in which rules of a namespace copy packets.
func (c *Correlator) learnCopiers(r *netfilter.Ruleset) {
	if r.Unreadable != nil {
		return
	}
	if rules := r.Copiers(); len(rules) > 0 {
		c.copiers[r.Namespace] = rules
	} else {
		delete(c.copiers, r.Namespace)
	}
}
