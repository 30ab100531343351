package netfilter

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// NAT walks the NAT chains of a hook as the kernel does for the first packet of
// a flow, and tells which rule translates it.
//
// What can't be evaluated is tried both ways: where that makes a difference the
// answer is Unsure, and the rule is named. Two chains of one priority are tried
// in either order. NAT of iptables-legacy that can't be read is Unsure.
func (r *Ruleset) NAT(hook Hook, p Packet) Match { return r.matchNAT(hook, p, nil) }

func (r *Ruleset) matchNAT(hook Hook, p Packet, fits func(*outcome) bool) Match {
	if r == nil || r.Unreadable != nil || !p.Tuple.Valid() {
		return Match{Certainty: Unsure}
	}
	if _, hidden := r.hidden(p.Tuple.Is4(), true); hidden {
		return Match{Certainty: Unsure}
	}
	if p.State == StateUnknown {
		p.State = StateNew
	}
	all, complete := r.explore(&p, func(x *pass) { x.nat(hook) })
	if fits != nil {
		all = slices.DeleteFunc(all, func(o outcome) bool { return o.aborted == "" && !fits(&o) })
	}
	switch {
	case !complete:
		return r.unsureNAT(all)
	case len(all) == 0:
		return Match{}
	}
	first := &all[0]
	which := sideOf(hook)
	m := Match{Mark: first.left.Mark, MarkBits: first.left.MarkBits, marker: first.left.marker, original: first.left.original}
	n, marker := first.nats[which], first.markers[which]
	for i := range all {
		o := &all[i]
		m.MarkBits &= o.left.MarkBits &^ (o.left.Mark ^ m.Mark)
		if o.left.marker != m.marker {
			m.marker = nil
		}
		if o.markers[which] != marker {
			marker = nil
		}
		other := o.nats[which]
		if o.aborted != "" || other.rule != n.rule || other.kind != n.kind {
			return r.unsureNAT(all)
		}
		if other != n { // by one of several elements of a map
			n.to, n.toKnown = netip.AddrPort{}, false
		}
	}
	if n.rule != nil {
		m.Certainty, m.Kind, m.Rule, m.To, m.ToKnown = Covered, n.kind, n.rule.ref, n.to, n.toKnown
		if marker != nil {
			m.Marker = &marker.ref
		}
	}
	m.MarkKnown = m.MarkBits == allBits
	return m
}

// unsureNAT is the answer where ways differ: it names what is to blame.
func (r *Ruleset) unsureNAT(all []outcome) Match {
	m := Match{Certainty: Unsure}
	if len(all) == 0 {
		return m
	}
	m.Mark, m.original = all[0].left.Mark, all[0].left.original
	if rule := doubtful(all); rule != nil {
		m.Rule = rule.ref
	}
	return m
}

// sideOf says which side the NAT of a hook translates.
func sideOf(hook Hook) int {
	if hook == Prerouting || hook == Output {
		return destinationNAT
	}
	return sourceNAT
}

// sees reports whether packets of that family come by the chain.
func (c *chain) sees(p *Packet) bool {
	if c.hook == Ingress || c.hook == Egress {
		return true // whatever the family: what counts is the link
	}
	if p.Bridged {
		return c.family == "bridge"
	}
	return c.family == "inet" || (c.family == "ip6") != p.Tuple.Is4() && (c.family == "ip" || c.family == "ip6")
}

// SetsMarks reports whether a rule outside of the NAT chains sets packet marks.
// Where none does, a packet that came in by a link has mark 0 when it reaches
// prerouting: the kernel takes the mark off where namespaces meet. Sockets and
// traffic control may set marks without any rule.
func (r *Ruleset) SetsMarks() bool {
	return r == nil || r.Unreadable != nil || r.marks ||
		slices.ContainsFunc(r.legacy, func(t LegacyTable) bool { return t.Unreadable != "" })
}

// MarksEarly reports whether a rule sets packet marks before prerouting: at the ingress of
// a link, or in a bridge. Where none does, a packet that came in by a link is shown to
// prerouting with mark 0, as SetsMarks says.
func (r *Ruleset) MarksEarly() bool {
	if r == nil || r.Unreadable != nil {
		return true
	}
	for key, t := range r.tables {
		if key.family != "netdev" && key.family != "bridge" && key.family != "inet" {
			continue
		}
		for _, c := range t.chains {
			// A chain of inet may be led to from its ingress.
			if key.family == "inet" && !slices.ContainsFunc(r.base, func(b *chain) bool { return b.hook == Ingress && b.key() == c.key() }) {
				continue
			}
			if c.setsMark() {
				return true
			}
		}
	}
	return false
}

// order sorts the base chains by priority; within one, so that it is always
// the same.
func (r *Ruleset) order() {
	name := func(c *chain) string { return fmt.Sprint(c.family, " ", c.table, " ", c.name, c.legacy) }
	slices.SortFunc(r.base, func(a, b *chain) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(name(a), name(b)))
	})
}

// keys returns the tables in an order that is always the same.
func (r *Ruleset) keys() []tableKey {
	return slices.SortedFunc(maps.Keys(r.tables), func(a, b tableKey) int {
		if a.legacy != b.legacy {
			if a.legacy {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.family, b.family), cmp.Compare(a.name, b.name))
	})
}

func sortedNames[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
