package jsonl

import (
	"net/netip"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/trace"
)

type journey struct {
	header
	ID           uint64        `json:"id"`
	Supersedes   uint64        `json:"supersedes,omitempty"`
	Time         instant       `json:"time"`
	Protocol     string        `json:"protocol"`
	Info         string        `json:"info,omitempty"`
	From         endpoint      `json:"from"`
	To           endpoint      `json:"to"`
	Direction    string        `json:"direction"`
	Hops         []hop         `json:"hops"`
	Translations []translation `json:"translations"`
	Rules        []rule        `json:"rules"`
	Flows        []flow        `json:"flows"`
	Verdict      verdict       `json:"verdict"`
	Related      []relation    `json:"related"`
	Notes        []string      `json:"notes"`
}

type endpoint struct {
	Name       string     `json:"name,omitempty"`
	Host       string     `json:"host,omitempty"`
	Containers []string   `json:"containers"`
	IP         netip.Addr `json:"ip,omitzero"`
	Port       uint16     `json:"port,omitempty"`
}

type translation struct {
	Kind        string  `json:"kind"`
	Namespace   string  `json:"namespace,omitempty"`
	Host        string  `json:"host,omitempty"`
	Between     []index `json:"between,omitempty"`
	PeerJourney uint64  `json:"peer_journey,omitempty"`
	Hook        string  `json:"hook,omitempty"`
	Undo        bool    `json:"undo"`
	Before      ends    `json:"before"`
	After       ends    `json:"after"`
	Evidence    string  `json:"evidence"`
	ConntrackID uint32  `json:"conntrack_id,omitempty"`
	Rule        *rule   `json:"rule,omitempty"`
}

type rule struct {
	// Only where the kernel's trace told of it.
	Namespace string  `json:"namespace,omitempty"`
	Host      string  `json:"host,omitempty"`
	Between   []index `json:"between,omitempty"`
	Hook      string  `json:"hook,omitempty"`
	Policy    bool    `json:"policy,omitempty"`
	Verdict   string  `json:"verdict,omitempty"`
	Target    string  `json:"target,omitempty"`

	ruleName
	Evidence string    `json:"evidence,omitempty"`
	Marker   *ruleName `json:"marker,omitempty"`
}

// ruleName is where a rule stands, and its text.
type ruleName struct {
	Backend  string `json:"backend,omitempty"`
	Family   string `json:"family,omitempty"`
	Table    string `json:"table,omitempty"`
	Chain    string `json:"chain,omitempty"`
	Position int    `json:"position,omitempty"`
	Handle   uint64 `json:"handle,omitempty"`
	Text     string `json:"text,omitempty"`
}

type verdict struct {
	Result   string `json:"result"`
	At       any    `json:"at,omitempty"` // index of a hop, or the name of a hook
	Hook     string `json:"hook,omitempty"`
	By       string `json:"by,omitempty"`
	Rule     *rule  `json:"rule,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Evidence string `json:"evidence,omitempty"`
	Leak     bool   `json:"leak"`
}

type relation struct {
	ID  uint64 `json:"id"`
	Why string `json:"why"`
}

// Journey writes one journey, kind "journey".
func Journey(j *trace.Journey) ([]byte, error) { return AppendJourney(nil, j), nil }

// AppendJourney appends what Journey writes to b.
func AppendJourney(b []byte, j *trace.Journey) []byte {
	w, x := writer{b}, newJourney(j)
	x.write(&w)
	return append(w.b, '\n')
}

func newJourney(j *trace.Journey) journey {
	x := journey{
		header: kind("journey"), ID: j.ID, Supersedes: j.Supersedes, Time: instant(j.Time),
		Protocol: j.Protocol.String(), From: newEndpoint(j.From), To: newEndpoint(j.To),
		Direction: string(j.Direction), Verdict: newVerdict(&j.Verdict), Notes: list(j.Notes),
		Hops:         make([]hop, len(j.Hops)),
		Translations: make([]translation, len(j.Translations)),
		Rules:        make([]rule, len(j.Rules)),
		Flows:        make([]flow, len(j.Flows)),
		Related:      make([]relation, len(j.Related)),
	}
	if len(j.Data) > 0 {
		x.Info = packet.Info(j.LinkType, j.Data)
	}
	for i := range j.Hops {
		x.Hops[i] = newHop(&j.Hops[i], i)
	}
	for i := range j.Translations {
		x.Translations[i] = newTranslation(&j.Translations[i])
	}
	for i := range j.Rules {
		x.Rules[i] = newRule(&j.Rules[i])
	}
	for i := range j.Flows {
		x.Flows[i] = newFlow(&j.Flows[i], j.Topology)
		for k := range j.Hops {
			if h := &j.Hops[k]; h.Point.Namespace == j.Flows[i].Namespace {
				x.Flows[i].Host = h.Host
			}
		}
	}
	for i, r := range j.Related {
		x.Related[i] = relation{ID: r.ID, Why: r.Why}
	}
	return x
}

func newEndpoint(e trace.Endpoint) endpoint {
	return endpoint{Name: e.Name, Host: e.Host, Containers: list(e.Containers), IP: e.IP, Port: e.Port}
}

func newTranslation(t *trace.Translation) translation {
	x := translation{
		Kind: t.Kind, Namespace: t.Namespace, Host: t.Host,
		Hook: string(t.Hook), Undo: t.Undo, Before: newEnds(t.Before), After: newEnds(t.After),
		Evidence: string(t.Evidence), ConntrackID: t.ConntrackID,
	}
	if t.PeerJourney != 0 {
		x.PeerJourney = t.PeerJourney
	} else {
		x.Between = []index{index(t.Between[0]), index(t.Between[1])}
	}
	if t.Rule != nil {
		r := newRule(t.Rule)
		x.Rule = &r
	}
	return x
}

func newRule(r *trace.Rule) rule {
	x := newRuleRef(&r.RuleRef)
	x.Evidence = string(r.Evidence)
	if r.Marker != nil {
		marker := newRuleName(r.Marker)
		x.Marker = &marker
	}
	if m := r.Met; m != nil {
		x.Namespace, x.Host, x.Hook, x.Policy, x.Verdict, x.Target = m.Namespace, m.Host, string(m.Hook), m.Policy, string(m.Verdict), m.Target
		x.Between = []index{index(m.Between[0]), index(m.Between[1])}
	}
	return x
}

func newRuleRef(r *netfilter.RuleRef) rule { return rule{ruleName: newRuleName(r)} }

func newRuleName(r *netfilter.RuleRef) ruleName {
	return ruleName{
		Backend: string(r.Backend), Family: r.Family, Table: r.Table, Chain: r.Chain,
		Position: r.Position, Handle: r.Handle, Text: r.Text,
	}
}

func newVerdict(v *trace.Verdict) verdict {
	x := verdict{
		Result: string(v.Result), By: v.By, Reason: v.Reason, Evidence: string(v.Evidence), Leak: v.Leak,
	}
	if v.Rule != nil {
		r := newRule(v.Rule)
		x.Rule = &r
	}
	switch {
	case v.Hop >= 0:
		x.At, x.Hook = v.Hop, string(v.Hook)
	case v.Hook != "":
		x.At = string(v.Hook)
	}
	return x
}
