package netfilter

import "net/netip"

// Limits of a walk. The kernel has one for depth, 16 jumps
// (NFT_JUMP_STACK_SIZE), but a container may lay out chains that take it very
// long, and that must not keep natlens busy.
const (
	maxDepth  = 32
	maxRules  = 1 << 16 // of all passes together
	maxPasses = 256
)

// pass is one walk of a packet with one way out of every doubt. Where a rule asks
// what is not known, the pass takes the way that its script says, or the first;
// explore goes all ways. So ways may be gone that exclude each other, never one
// too few.
type pass struct {
	*machine
	rules  *Ruleset
	table  *table
	script []int
	budget *int // rules that may still be walked
	depth  int
	chain  *chain // the base chain
	outcome
}

// doubt is a place where a pass could go several ways.
type doubt struct {
	taken, ways int
	rule        *rule  // that can't be evaluated; nil when it is no single one
	why         string // what is not known
	step        int    // how many steps had been made
}

// outcome is what a pass came to. Rules are compared by identity.
type outcome struct {
	verdict Verdict
	at      Hook
	by      *rule
	policy  *chain // whose end was reached; nil when a rule decided
	nats    [2]translated
	aborted string // why the pass did not come to an end
	steps   []Step
	doubts  []doubt
	left    Packet // as it was at the end
	// markers set the mark that the rules of nats asked for.
	markers [2]*rule
	spans   [2]span // of the rules of nats
	// rewriter is the first rule that wrote an address or a port without NAT.
	rewriter *rule
}

// translated is the rule that translates a side, and how.
type translated struct {
	kind string
	rule *rule
	hook Hook
	// to is where the rule sends the packet, see destinationOf.
	to      netip.AddrPort
	toKnown bool
}

const (
	destinationNAT = iota
	sourceNAT
)

// explore runs walk in all ways that doubts leave open. It reports false when
// those are too many.
func (r *Ruleset) explore(p *Packet, walk func(*pass)) (all []outcome, complete bool) {
	budget := maxRules
	var script []int
	for {
		x := &pass{machine: newMachine(p, r), rules: r, script: script, budget: &budget}
		walk(x)
		x.left = x.after()
		all = append(all, x.outcome)
		script = script[:0:0]
		for _, d := range x.doubts {
			script = append(script, d.taken)
		}
		i := len(script) - 1
		for i >= 0 && script[i]+1 >= x.doubts[i].ways {
			i--
		}
		if i < 0 {
			return all, true
		}
		if len(all) == maxPasses || budget <= 0 {
			return all, false
		}
		script = script[:i+1]
		script[i]++
	}
}

// choose takes one of several ways.
func (x *pass) choose(ways int, r *rule, why string) int {
	taken := 0
	if n := len(x.doubts); n < len(x.script) {
		taken = x.script[n]
	}
	x.doubts = append(x.doubts, doubt{taken: taken, ways: ways, rule: r, why: why, step: len(x.steps)})
	return taken
}

// decisiveDoubt finds the first doubt that makes a difference: the one in which
// two passes that came to different ends parted.
func decisiveDoubt(all []outcome) (d doubt, ok bool) {
	for i := 1; i < len(all); i++ {
		if !all[0].same(&all[i]) {
			for k := range all[0].doubts {
				if k >= len(all[i].doubts) || all[0].doubts[k].taken != all[i].doubts[k].taken {
					return all[0].doubts[k], true
				}
			}
		}
	}
	return doubt{}, false
}

// doubtful returns the rule that is to blame for passes that differ, nil when it is
// no single one.
func doubtful(all []outcome) *rule {
	d, _ := decisiveDoubt(all)
	return d.rule
}

// same reports whether two passes came to the same end.
func (o *outcome) same(p *outcome) bool {
	return o.verdict == p.verdict && o.at == p.at && o.by == p.by && o.policy == p.policy && o.nats == p.nats && o.aborted == p.aborted
}

// progress is how a chain or rule let go of the packet.
type progress uint8

const (
	goOn   progress = iota // to the next rule; for a chain: it was left at its end
	leave                  // the chain, as if at its end
	finish                 // the base chain: accepted or translated, or the packet's way has ended
)

// over reports whether the packet's way has ended.
func (x *pass) over() bool { return x.aborted != "" || x.verdict != "" }

// abort ends a pass of which nothing can be said.
func (x *pass) abort(why string) progress {
	x.aborted = why
	return finish
}

// end ends the packet's way at a rule.
func (x *pass) end(v Verdict, r *rule) progress {
	x.verdict, x.at, x.by = v, x.hook, r
	return finish
}

// base walks a base chain, its policy included.
func (x *pass) base(c *chain) {
	x.table, x.chain = x.rules.tables[c.key()], c
	x.sets = x.table.sets
	x.depth = 0
	if x.walk(c) == finish || x.over() {
		return
	}
	if c.policy == verdictDrop {
		x.verdict, x.at, x.policy = Dropped, x.hook, c
		x.step(nil, "policy drop")
	}
}

func (x *pass) walk(c *chain) progress {
	if c == nil {
		return x.abort("a rule leads to a chain that is not there")
	}
	if x.depth++; x.depth > maxDepth {
		return x.abort("chains lead to each other too deep")
	}
	defer func() { x.depth-- }()
	if c.incompatible {
		return x.abort("chain " + c.name + " has a rule that can't be decoded")
	}
	for i := range c.rules {
		if *x.budget--; *x.budget < 0 {
			return x.abort("there are too many rules to go through")
		}
		switch x.rule(&c.rules[i]) {
		case finish:
			return finish
		case leave:
			return goOn
		}
	}
	return goOn
}

// rule runs a rule. A condition that fails for sure settles it, wherever it
// stands among others that can't be evaluated: conditions have no side effects
// but on marks, which are put back.
func (x *pass) rule(r *rule) progress {
	saved := x.effects
	x.why, x.machine.rule = "", r
	unclear := "" // what could not be evaluated so far
	for i := range r.expressions {
		e := &r.expressions[i]
		if does, kind := x.action(e); does != noAction {
			if does == actionGoesOn {
				continue
			}
			if unclear != "" {
				if x.choose(2, r, unclear) == 1 {
					x.effects = saved
					return goOn
				}
				unclear = ""
			}
			switch does {
			case actionRewrites:
				if x.rewrite(e) && x.rewriter == nil {
					x.rewriter = r
				}
				continue
			case actionUnknown:
				return x.abort(e.what() + " may do anything")
			case actionTranslates:
				return x.translate(r, e, kind)
			case actionVerdict:
				return x.obey(r, e.verdict)
			case actionRejects:
				x.step(r, "reject")
				return x.end(Rejected, r)
			case actionLeaves:
				x.step(r, kind)
				return x.end(Handed, r)
			}
			continue
		}
		switch x.condition(e) {
		case no:
			if unclear != "" {
				x.effects = saved
			}
			return goOn
		case maybe:
			if unclear == "" {
				unclear = x.unknown(e)
			}
			x.why = ""
		}
		if len(x.mapped) > 0 {
			return x.lookedUp(r, unclear)
		}
	}
	if unclear != "" {
		x.effects = saved.orElse(x.effects)
		return goOn
	}
	x.step(r, "")
	return goOn
}

// lookedUp obeys what a verdict map said, or may have said.
func (x *pass) lookedUp(r *rule, unclear string) progress {
	ways := x.mapped
	x.mapped = nil
	if unclear == "" && len(ways) == 1 {
		return x.obey(r, ways[0])
	}
	i := x.choose(len(ways)+1, r, unclear)
	if i == len(ways) {
		return goOn // no element, or another condition fails
	}
	return x.obey(r, ways[i])
}

// obey follows a verdict.
func (x *pass) obey(r *rule, v verdict) progress {
	x.step(r, nftVerdict(v))
	switch v.code {
	case verdictJump:
		return x.walk(x.table.chains[v.chain])
	case verdictGoto:
		if x.walk(x.table.chains[v.chain]) == finish {
			return finish
		}
		return leave
	case verdictReturn:
		return leave
	case verdictAccept:
		return finish
	case verdictDrop:
		return x.end(Dropped, r)
	case verdictBreak, verdictContinue:
		return goOn
	}
	return x.abort("a rule has a verdict of which nothing is known")
}

// translate notes the rule of NAT and changes the packet as it says.
func (x *pass) translate(r *rule, e *expression, kind string) progress {
	side := destinationNAT
	if kind == "snat" || kind == "masquerade" || kind == "netmap" && sideOf(x.hook) == sourceNAT {
		side = sourceNAT
	}
	x.step(r, kind)
	n := translated{kind: kind, rule: r, hook: x.hook}
	if kind == "dnat" || kind == "redirect" {
		n.to, n.toKnown = x.destinationOf(e)
	}
	x.nats[side], x.markers[side], x.spans[side] = n, nil, x.spanOf(e)
	if r.asksMark() {
		x.markers[side] = x.marker
	}
	x.machine.translated(side, n)
	return finish
}

// step notes a rule that the packet matched.
func (x *pass) step(r *rule, verdict string) {
	s := Step{Hook: x.hook, Verdict: verdict, Chain: x.rules.chainRef(x.chain)}
	if r != nil {
		s.Rule = &RuleRef{}
		*s.Rule = r.ref
	}
	x.steps = append(x.steps, s)
}
