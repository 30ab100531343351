package jsonl

import (
	"natlens/internal/probe"
	"natlens/netinfo"
)

type expectation struct {
	Result string  `json:"result"`
	Reason string  `json:"reason,omitempty"`
	Unsure string  `json:"unsure,omitempty"`
	Answer bool    `json:"answer,omitempty"`
	Rule   *rule   `json:"rule,omitempty"`
	Stages []stage `json:"stages"`
}

type stage struct {
	Namespace    string       `json:"namespace"`
	Inode        uint64       `json:"namespace_inode"`
	How          string       `json:"how"`
	In           string       `json:"in,omitempty"`
	Bridge       string       `json:"bridge,omitempty"`
	Out          string       `json:"out,omitempty"`
	Port         string       `json:"port,omitempty"`
	Ends         bool         `json:"ends,omitempty"`
	Delivered    bool         `json:"delivered,omitempty"`
	Before       *tuple       `json:"before,omitempty"`
	After        *tuple       `json:"after,omitempty"`
	Route        *route       `json:"route,omitempty"`
	Hooks        []passage    `json:"hooks"`
	Translations []translated `json:"translations"`
}

type route struct {
	To        string `json:"to"`
	Local     bool   `json:"local,omitempty"`
	Gateway   string `json:"gateway,omitempty"`
	Source    string `json:"source,omitempty"`
	Interface string `json:"interface,omitempty"`
}

type passage struct {
	Hook    string `json:"hook"`
	Frames  bool   `json:"frames,omitempty"`
	Verdict string `json:"verdict,omitempty"`
	Rules   []step `json:"rules"`
}

// step is a rule, or the policy of a chain.
type step struct {
	ruleName
	Policy  bool   `json:"policy,omitempty"`
	Verdict string `json:"verdict,omitempty"`
}

type translated struct {
	Kind   string   `json:"kind"`
	Hook   string   `json:"hook"`
	Before ends     `json:"before"`
	After  *ends    `json:"after,omitempty"`
	Rule   ruleName `json:"rule"`
}

func newExpectation(e *probe.Expectation) *expectation {
	x := &expectation{Result: string(e.Result), Reason: e.Reason, Unsure: e.Unsure, Answer: e.Answer, Stages: []stage{}}
	if e.Rule != nil {
		r := newRuleRef(e.Rule)
		x.Rule = &r
	}
	for i := range e.Stages {
		x.Stages = append(x.Stages, newStage(&e.Stages[i]))
	}
	return x
}

func newStage(s *probe.Stage) stage {
	x := stage{
		Namespace: s.Namespace.Name, Inode: uint64(s.Namespace.ID), How: string(s.How), Ends: s.Ends, Delivered: s.Delivered,
		In: nameOf(s.In), Bridge: nameOf(s.Bridge), Out: nameOf(s.Out), Port: nameOf(s.Port),
		Before: newTuple(s.Before), After: newTuple(s.After), Hooks: []passage{}, Translations: []translated{},
	}
	if r := s.Route; r != nil {
		x.Route = &route{To: ipText(r.To), Local: r.Local, Gateway: ipText(r.Gateway), Source: ipText(r.Source), Interface: nameOf(r.Link)}
	}
	for i := range s.Hooks {
		h := &s.Hooks[i]
		p := passage{Hook: string(h.Hook), Frames: h.Frames, Verdict: string(h.Verdict), Rules: []step{}}
		for k := range h.Steps {
			one := &h.Steps[k]
			if one.Rule == nil {
				c := &one.Chain
				p.Rules = append(p.Rules, step{
					ruleName: ruleName{Backend: string(c.Backend), Family: c.Family, Table: c.Table, Chain: c.Name}, Policy: true, Verdict: one.Verdict,
				})
				continue
			}
			p.Rules = append(p.Rules, step{ruleName: newRuleName(one.Rule), Verdict: one.Verdict})
		}
		x.Hooks = append(x.Hooks, p)
	}
	for i := range s.NAT {
		n := &s.NAT[i]
		t := translated{Kind: n.Kind, Hook: string(n.Hook), Before: newEnds(n.Before), Rule: newRuleName(&n.Rule)}
		if n.After.Valid() {
			after := newEnds(n.After)
			t.After = &after
		}
		x.Translations = append(x.Translations, t)
	}
	return x
}

func nameOf(l *netinfo.Link) string {
	if l == nil {
		return ""
	}
	return l.Name
}
