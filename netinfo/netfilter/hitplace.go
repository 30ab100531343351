package netfilter

import "strings"

// HitPlace is what the rules say of a Hit.
type HitPlace struct {
	// Rule is the one that was hit, in the words of its author; with what the
	// Hit itself tells alone when it is not there any more, or no rule.
	Rule RuleRef
	// Hook and Type are those of the chain, if it is a base chain; empty
	// otherwise.
	Hook Hook
	Type string
	// Kind is what the rule translates: snat, dnat, redirect, masquerade or
	// netmap; empty when it does not.
	Kind string
	// Verdict and Target are what a rule or policy of iptables-legacy says; its
	// Hit does not tell. Empty for others.
	Verdict HitVerdict
	Target  string
}

// Locate finds a Hit in the rules. They may have changed since: what is not
// there any more is not found. A nil Ruleset finds nothing.
func (r *Ruleset) Locate(h *Hit) HitPlace {
	p := HitPlace{Rule: RuleRef{Family: h.Family, Table: h.Table, Chain: h.Chain, Handle: h.Handle, Position: h.Position}}
	if h.Position != 0 {
		p.Rule.Backend = IPTablesLegacy
	}
	if h.Packet != nil {
		p.Hook = h.Packet.Hook
	}
	if r == nil {
		return p
	}
	t := r.tables[tableKey{h.Family, h.Table, h.Position != 0 || h.Trace == 0}]
	if t == nil || t.chains[h.Chain] == nil {
		return p
	}
	c := t.chains[h.Chain]
	p.Rule.Backend = r.backend(c)
	if c.base {
		p.Hook, p.Type = c.hook, c.kind
		if c.legacy && h.Kind == PolicyHit {
			if p.Verdict = Accept; c.policy == verdictDrop {
				p.Verdict = Drop
			}
		}
	}
	for i := range c.rules {
		ref := &c.rules[i].ref
		if h.Handle != 0 && ref.Handle == h.Handle || h.Handle == 0 && h.Position != 0 && ref.Position == h.Position {
			p.Rule, p.Kind = *ref, c.rules[i].translates()
			if h.Position != 0 {
				p.Verdict, p.Target = legacyOutcome(ref.Text, t)
			}
		}
	}
	return p
}

// legacyOutcome reads what a rule does with a packet from the rule's own words.
func legacyOutcome(text string, t *table) (HitVerdict, string) {
	words := strings.Fields(text)
	for i, w := range words[:max(len(words)-1, 0)] {
		goes := words[i+1]
		switch {
		case w == "-g":
			return Goto, goes
		case w != "-j":
			continue
		case t.chains[goes] != nil:
			return Jump, goes
		}
		switch goes {
		case "DROP", "REJECT":
			return Drop, ""
		case "ACCEPT", "MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP":
			return Accept, ""
		case "RETURN":
			return Return, ""
		case "NFQUEUE":
			return Queue, ""
		}
	}
	return Continue, ""
}

// translates returns the kind of a rule of NAT; empty for others.
func (r *rule) translates() string {
	for i := range r.expressions {
		switch e := &r.expressions[i]; {
		case e.name == "masq":
			return "masquerade"
		case e.name == "redir":
			return "redirect"
		case e.name == "nat" && e.flags&rangeNetmap != 0:
			return "netmap"
		case e.name == "nat" && e.key == natSource:
			return "snat"
		case e.name == "nat" && e.key == natDestination:
			return "dnat"
		case e.name == "target":
			switch e.extension {
			case "MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP":
				return strings.ToLower(e.extension)
			}
		}
	}
	return ""
}
