package text

import (
	"slices"
	"strings"

	"natlens/netinfo/netfilter"
	"natlens/trace"
)

// hooksInOrder are a packet's stations in a namespace. Ingress stands behind
// prerouting: only who was asked for a trace there is told of, and meets it when a
// bridge hands it to itself.
var hooksInOrder = []netfilter.Hook{
	netfilter.Prerouting, netfilter.Ingress, netfilter.Output, netfilter.Forward, netfilter.Input, netfilter.Postrouting, netfilter.Egress,
}

// gap is what happened to a packet between two hops.
type gap struct {
	c    *card
	done int // rules looked at so far
	met  func(*trace.Met) bool
}

// through shows the rules that the packet met before a translation was made at
// that hook, and with it; with no hook all that are left. They are shown as they
// were met: those of frames stand before IP's or behind them. A rule of which the
// hook is not known holds nothing up.
func (g *gap) through(hook netfilter.Hook) {
	until := slices.Index(hooksInOrder, hook)
	for ; g.done < len(g.c.j.Rules); g.done++ {
		r := &g.c.j.Rules[g.done]
		if r.Met == nil || !g.met(r.Met) {
			continue
		}
		if hook != "" && slices.Index(hooksInOrder, r.Met.Hook) > until {
			return
		}
		if !g.c.shown(r.RuleRef) && (g.c.Verbose || g.c.matters(r)) {
			g.c.meeting(r)
		}
	}
}

// before shows the rules up to a translation. A process has no hooks.
func (g *gap) before(t *trace.Translation) {
	if t.Hook != "" {
		g.through(t.Hook)
	}
}

// matters reports whether a rule decided something. Rules that only counted or
// led to a chain, and chains that let everything pass, are for those who want to
// see the whole walk.
func (c *card) matters(r *trace.Rule) bool {
	switch {
	case r.Met.Policy:
		return r.Met.Verdict == netfilter.Drop
	case r.Met.Verdict == netfilter.Continue, r.Met.Verdict == netfilter.Jump, r.Met.Verdict == netfilter.Goto, r.Met.Verdict == netfilter.Return:
		return false
	}
	return true
}

// meeting shows one rule that the packet met: where, what it asked, what it did.
func (c *card) meeting(r *trace.Rule) {
	m := r.Met
	where := string(m.Hook)
	if where == "" {
		where = "rule"
	}
	what := r.Text
	if m.Policy {
		what = "policy of " + strings.TrimSpace(r.Family+" "+r.Table+" "+r.Chain)
	} else if what == "" {
		what = "a rule of " + strings.TrimSpace(r.Family+" "+r.Table+" "+r.Chain)
	}
	tone := Dim
	verdict := string(m.Verdict)
	switch m.Verdict {
	case netfilter.Drop:
		tone = Bad
	case netfilter.Jump, netfilter.Goto:
		verdict += " " + m.Target
	case netfilter.Continue:
		verdict = "goes on"
	}
	at := ""
	if !m.Policy {
		at, _ = c.position(&trace.Rule{RuleRef: r.RuleRef}) // all of a walk is told by the trace
	}
	c.add(c.lay("    "+c.Escape(where)+": ", hopHang, []piece{
		{text: c.Escape(what), words: true, tone: Dim}, {gap: 1, text: at}, {gap: 2, text: c.Escape(verdict), tone: tone},
	}))
}
