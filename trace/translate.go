package trace

import (
	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// side is the half of a tuple that a translation changes. The kernel changes
// destinations first (prerouting, output) and sources last (postrouting,
// input), in both directions of a flow.
type side uint8

const (
	destinationSide side = iota
	sourceSide
)

// translate finds the places where the packet's tuple changed: between two hops
// of one namespace, before the first tap of a packet that starts here, and
// behind the last tap of one that ends here.
func (c *Correlator) translate(j *Journey, hops []sighting, from []int) {
	first := &hops[0]
	// Of an inferred flow packets are all that is known: one that none of them shows
	// before its translation can as well have been sent as it is, such as a refusal.
	if r := first.flow; r.flow != nil && !r.flow.inferred && !r.about && first.point.Direction == capture.Out {
		c.change(j, hops, [2]int{-1, 0}, r.flow.direction(r.reply).before, first.tuple, r)
	}
	for i := 1; i < len(hops); i++ {
		if from[i] < 0 {
			continue
		}
		a, b := &hops[from[i]], &hops[i]
		if a.point.Namespace != b.point.Namespace && !c.foreign || a.tuple == b.tuple {
			continue
		}
		if p := j.Hops[i].Part; p != nil && p.Index > 0 {
			continue // said of the first piece
		}
		r := a.flow
		if r.flow == nil {
			r = b.flow
		}
		c.change(j, hops, [2]int{from[i], i}, a.tuple, b.tuple, r)
	}
	if at := j.Verdict.Hop; at >= 0 && j.Verdict.Result == Delivered {
		last := &hops[at]
		if r := last.flow; r.flow != nil && !r.about {
			c.change(j, hops, [2]int{at, -1}, last.tuple, r.flow.direction(r.reply).after, r)
		}
	}
	c.redirectedAtTheEnd(j, hops)
}

// change records what differs between two tuples: one translation for each side.
func (c *Correlator) change(j *Journey, hops []sighting, between [2]int, before, after packet.Tuple, r flowRef) {
	m := middle(before, after, r.reply)
	if before != m {
		c.addTranslation(j, hops, between, before, m, r, destinationSide)
	}
	if m != after {
		c.addTranslation(j, hops, between, m, after, r, sourceSide)
	}
}

func (c *Correlator) addTranslation(j *Journey, hops []sighting, between [2]int, before, after packet.Tuple, r flowRef, which side) {
	near := &hops[max(between[0], 0)]
	if between[0] < 0 {
		near = &hops[between[1]]
	}
	t := Translation{
		Namespace: near.space.name, Between: between, Before: before, After: after,
		Hook: hookOf(which, between, near), Evidence: ByInference,
		Undo: r.flow != nil && r.reply,
	}
	// A reply's destination is the source that was translated, and the other
	// way round.
	translated := which
	if t.Undo {
		translated = sourceSide - which
	}
	t.Kind = DNAT
	if translated == sourceSide {
		t.Kind = SNAT
	}
	if d, ok := c.redirectedAs(near, after); ok && which == destinationSide {
		t.Kind, t.Rule, t.Evidence = d.kind, d.rule, ByRules
		j.Rules = append(j.Rules, *d.rule)
	}
	if r.flow != nil && !r.flow.inferred {
		t.Evidence, t.ConntrackID = ByConntrack, r.flow.ID
		c.findRule(r, translated, between, hops, near)
		c.countRule(r.flow, translated, near.space)
		if rule := r.flow.rules[translated]; rule != nil {
			t.Kind, t.Rule = r.flow.kinds[translated], rule
			j.Rules = append(j.Rules, *rule)
			if rule.Evidence == ByRules && r.flow.bornBefore == 0 && noteOn(&r.flow.notedAt, j.ID, r.reply) {
				j.Notes = append(j.Notes, notBegun)
			}
		}
		if note := c.outdated(r.flow, translated, near.point.Namespace); note != "" && noteOn(&r.flow.outdatedAt, j.ID, r.reply) {
			j.Notes = append(j.Notes, note)
		}
	}
	j.Translations = append(j.Translations, t)
}

// countRule asks the counters about the rule that was found. What they confirm stays
// so: an earlier Journey keeps what was known at its time.
func (c *Correlator) countRule(f *trackedFlow, translated side, s *space) {
	rule := f.rules[translated]
	if rule == nil || rule.Evidence != ByRules {
		return
	}
	if c.moved(f, translated, f.translatedAt(translated, s)) {
		f.rules[translated] = &Rule{RuleRef: rule.RuleRef, Evidence: ByCounter, Marker: rule.Marker}
	}
}

// notBegun is said of a flow of which only the table tells. It is said once for each
// direction: every packet of the flow could bear it.
const notBegun = "this flow began unseen: its translation is in conntrack's table, and the rule is the one that would translate its first packet now"

// noteOn reports whether it is this journey, or one that it amends, at which a note
// on its flow is said, once for each direction.
func noteOn(noted *[2]uint64, journey uint64, reply bool) bool {
	at := &noted[0]
	if reply {
		at = &noted[1]
	}
	if *at == 0 {
		*at = journey
	}
	return *at == journey
}

// hookOf says where in the packet's path a side is changed.
func hookOf(which side, between [2]int, near *sighting) netfilter.Hook {
	local := between[0] < 0 || near.point.Direction == capture.Out
	switch {
	case which == destinationSide && local:
		return netfilter.Output
	case which == destinationSide:
		return netfilter.Prerouting
	case between[1] < 0:
		return netfilter.Input
	}
	return netfilter.Postrouting
}

// findRule asks the namespace's rules, once for each flow, which of them
// translated the flow's first packet. On an answer the way is reversed: it
// comes in where the question went out.
func (c *Correlator) findRule(r flowRef, translated side, between [2]int, hops []sighting, near *sighting) {
	f := r.flow
	if f.rules[translated] != nil || r.about {
		return
	}
	var in, out string
	if between[0] >= 0 {
		in = c.hosts.layer3(hops[between[0]].link)
	}
	if between[1] >= 0 {
		out = c.hosts.layer3(hops[between[1]].link)
	}
	if r.reply {
		in, out = out, in
	}
	rules := c.rulesets[near.point.Namespace]
	q := question{rules, c.hosts.topology, in, out}
	if rules == nil || f.unruled[translated] == q {
		return
	}
	f.unruled[translated] = q
	m := c.asks(f, translated, in, out, near.space)
	f.ruleless[translated] = m.Certainty == netfilter.NoRule
	if m.Certainty != netfilter.Covered {
		return
	}
	f.kinds[translated], f.ruledSince[translated] = m.Kind, c.nat[near.point.Namespace].since
	f.rules[translated] = &Rule{RuleRef: m.Rule, Evidence: ByRules, Marker: m.Marker}
}

// asks asks a namespace's rules which of them translates the first packet of a flow,
// which comes in and goes out by those links; empty where that is not known. Only a rule
// that makes of it what the flow's entry tells can have done it.
func (c *Correlator) asks(f *trackedFlow, translated side, in, out string, s *space) netfilter.Match {
	if f.Status&netfilter.Expected != 0 {
		// It is translated like the connection that announced it, without asking any
		// rule; where that one is not translated, it is asked about like any other
		// (nf_nat_follow_master). Which of both it is, the entry does not tell.
		return netfilter.Match{Certainty: netfilter.Unsure}
	}
	rules := c.rulesets[s.id]
	p := netfilter.Packet{Tuple: f.forms[0].before, InLink: in, LocalAddress: s.has, Time: f.bornBefore}
	hook := f.comesBy(s)
	if hook == netfilter.Output {
		p.InLink, p.OutLink = "", out
	} else if !rules.SetsMarks() {
		// A packet that comes in by a link carries no mark yet.
		p.MarkKnown = true
	}
	m := rules.NATOf(hook, p, f.forms[0].half)
	if translated == sourceSide {
		// Whatever the first hook did to the destination, conntrack has told;
		// of the rules, only the mark is needed.
		p = p.Behind(m)
		p.Tuple, p.OutLink = f.forms[0].half, out
		m = rules.NATOf(f.translatedAt(sourceSide, s), p, f.forms[0].after)
	}
	return m
}

// translatedAt is the hook at which a side of the flow's first packet was translated in
// a namespace. What is for the namespace itself has its source translated where it is
// handed over; what it sends to itself is translated on its way out.
func (t *trackedFlow) translatedAt(translated side, s *space) netfilter.Hook {
	first := t.comesBy(s)
	switch {
	case translated == destinationSide:
		return first
	case first == netfilter.Prerouting && s.has(t.forms[0].after.Destination()):
		return netfilter.Input
	}
	return netfilter.Postrouting
}

// comesBy is the first hook of NAT that the flow's first packet met in a namespace.
func (t *trackedFlow) comesBy(s *space) netfilter.Hook {
	if s.has(t.Original.Source()) {
		return netfilter.Output
	}
	return netfilter.Prerouting
}
