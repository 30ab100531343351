package netfilter

import "sort"

// Limits of a walk. The kernel has one for depth, 16 jumps
// (NFT_JUMP_STACK_SIZE), but a container may lay out chains that take it very
// long, and that must not keep natlens busy.
const (
	maxDepth = 32
	maxRules = 1 << 16
)

// NAT walks the NAT chains of a hook as the kernel does for the first packet of
// a flow, and tells which rule translates it.
//
// A rule that might match stops the walk with Unsure when something depends on
// it, and is named. So does a set whose content changes without notice, two
// chains of one priority that both have an answer, and NAT of iptables-legacy.
func (r *Ruleset) NAT(hook Hook, p Packet) Match {
	if r == nil || r.Unreadable != nil || !p.Tuple.Valid() || r.legacyNAT(p.Tuple.Is4()) {
		return Match{Certainty: Unsure}
	}
	m := newMachine(hook, &p)
	for i := 0; i < len(r.base); {
		// All chains of one priority: which of them comes first depends
		// on when they were made, and that can't be read.
		same := i
		var match Match
		answers := 0
		for ; i < len(r.base) && r.base[i].priority == r.base[same].priority; i++ {
			c := r.base[i]
			if c.hook != hook || !c.sees(p.Tuple.Is4()) {
				continue
			}
			if one := r.walk(m, c); one.Certainty != NoRule {
				match = one
				answers++
			}
		}
		if answers > 1 {
			match = Match{Certainty: Unsure}
		}
		if answers > 0 {
			return match
		}
	}
	return Match{Mark: m.mark, MarkKnown: m.markKnown}
}

// sees reports whether packets of that family come by the chain.
func (c *chain) sees(is4 bool) bool {
	return c.family == "inet" || (c.family == "ip") == is4
}

func (r *Ruleset) walk(m *machine, base *chain) Match {
	w := walker{machine: m, table: r.tables[tableKey{base.family, base.table}]}
	m.sets = w.table.sets
	w.chain(base, 0)
	w.match.Mark, w.match.MarkKnown = m.mark, m.markKnown
	return w.match
}

// walker follows the rules of one table.
type walker struct {
	*machine
	table  *table
	match  Match
	walked int // rules so far
}

// step is how a chain or rule let go of the packet.
type step uint8

const (
	goOn   step = iota // to the next rule; for a chain: it was left at its end
	leave              // the chain, as if at its end
	finish             // the base chain: accepted, dropped, translated or unsure
)

func (w *walker) chain(c *chain, depth int) step {
	if c == nil || depth > maxDepth || c.incompatible {
		w.match = Match{Certainty: Unsure}
		return finish
	}
	for i := range c.rules {
		if w.walked++; w.walked > maxRules {
			return w.unsure(&c.rules[i])
		}
		switch w.rule(&c.rules[i], depth) {
		case finish:
			return finish
		case leave:
			return goOn
		}
	}
	return goOn
}

// unsure ends the walk at a rule that can't be evaluated.
func (w *walker) unsure(r *rule) step {
	w.match = Match{Certainty: Unsure, Rule: r.ref}
	return finish
}

func (w *walker) rule(r *rule, depth int) step {
	// A condition that fails for sure settles the rule, wherever it stands
	// among others that can't be evaluated: conditions have no side effects
	// but on the mark, which is put back.
	mark, markKnown := w.mark, w.markKnown
	doubt := false
	for i := range r.expressions {
		e := &r.expressions[i]
		if outcome, kind := w.action(e); outcome != noAction {
			if doubt && outcome != actionGoesOn {
				return w.unsure(r)
			}
			switch outcome {
			case actionUnknown:
				return w.unsure(r)
			case actionTranslates:
				w.match = Match{Certainty: Covered, Kind: kind, Rule: r.ref}
				if kind == "dnat" || kind == "redirect" {
					w.match.To, w.match.ToKnown = w.destinationOf(e)
				}
				return finish
			case actionVerdict:
				return w.verdict(r, e.verdict, depth)
			}
			continue
		}
		switch w.condition(e) {
		case no:
			if doubt {
				w.mark, w.markKnown = mark, markKnown
			}
			return goOn
		case maybe:
			doubt = true
		}
		if w.mapped.there {
			v := w.mapped
			w.mapped = verdict{}
			if doubt || v.code == verdictUnknown {
				return w.unsure(r)
			}
			return w.verdict(r, v, depth)
		}
	}
	if doubt && (w.mark != mark || w.markKnown != markKnown) {
		w.markKnown = false
	}
	return goOn
}

func (w *walker) verdict(r *rule, v verdict, depth int) step {
	switch v.code {
	case verdictJump:
		return w.chain(w.table.chains[v.chain], depth+1)
	case verdictGoto:
		if w.chain(w.table.chains[v.chain], depth+1) == finish {
			return finish
		}
		return leave
	case verdictReturn:
		return leave
	case verdictAccept, verdictDrop:
		return finish
	case verdictBreak, -1: // NFT_CONTINUE
		return goOn
	}
	return w.unsure(r)
}

// action is what an expression does beyond matching.
type action uint8

const (
	noAction action = iota
	actionVerdict
	actionTranslates
	actionGoesOn
	actionUnknown
)

// action tells what e does, and the kind of translation.
func (w *walker) action(e *expression) (action, string) {
	switch e.name {
	case "nat", "masq", "redir":
		if e.opaque {
			return actionUnknown, ""
		}
		return w.translation(e)
	case "immediate":
		if !e.opaque && e.verdict.there {
			return actionVerdict, ""
		}
	case "target":
		return w.target(e)
	case "queue", "reject", "synproxy", "tproxy", "dup", "fwd", "flow_offload":
		return actionUnknown, ""
	}
	return noAction, ""
}

func (w *walker) translation(e *expression) (action, string) {
	switch {
	case e.name == "masq":
		return actionTranslates, "masquerade"
	case e.name == "redir":
		return actionTranslates, "redirect"
	case e.family != familyInet && e.family != uint32(w.family()):
		return noAction, "" // nft_nat_inet_eval passes by
	case e.flags&rangeNetmap != 0:
		return actionTranslates, "netmap"
	case e.key == natSource:
		return actionTranslates, "snat"
	case e.key == natDestination:
		return actionTranslates, "dnat"
	}
	return actionUnknown, ""
}

// SetsMarks reports whether a rule outside of the NAT chains sets packet marks.
// Where none does, a packet that came in by a link has mark 0 when it reaches
// prerouting: the kernel takes the mark off where namespaces meet. Sockets and
// traffic control may set marks without any rule.
func (r *Ruleset) SetsMarks() bool {
	return r == nil || r.Unreadable != nil || r.marks || len(r.legacy) > 0
}

// order sorts the base chains by priority; within one, so that it is always
// the same.
func (r *Ruleset) order() {
	sort.Slice(r.base, func(i, j int) bool {
		a, b := r.base[i], r.base[j]
		if a.priority != b.priority {
			return a.priority < b.priority
		}
		return a.family+" "+a.table+" "+a.name < b.family+" "+b.table+" "+b.name
	})
}
