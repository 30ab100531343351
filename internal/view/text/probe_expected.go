package text

import (
	"fmt"
	"strings"

	"natlens/internal/probe"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/trace"
)

// expected says what the routes and rules promise; in full each route, hook and rule.
func (p *probeStory) expected(full bool) {
	e := p.o.Expected
	if e == nil {
		return
	}
	var words []string
	for i := range e.Stages {
		if i > 0 && e.Stages[i].How == probe.Begins {
			words = append(words, "docker-proxy")
		}
		words = append(words, p.stage(&e.Stages[i])...)
	}
	cross := p.Paint(Bad, p.symbols().cross) + " "
	end := ""
	switch reason := p.Escape(e.Reason); e.Result {
	case probe.Reached:
		end = p.Paint(Good, "reached")
	case probe.Dropped: // says so itself
		end = cross + reason
	default:
		end = cross + string(e.Result) + ": " + reason
	}
	text := strings.Join(append(words, end), " "+p.symbols().arrow+" ")
	p.line("expected", text)
	for i := range e.Stages {
		for k := range e.Stages[i].NAT {
			p.line("", p.rule(&e.Stages[i].NAT[k].Rule))
		}
	}
	if e.Rule != nil {
		p.line("", p.Escape(e.Rule.Text))
	}
	if e.Unsure != "" {
		p.line("", "not sure: "+p.Escape(e.Unsure))
	}
	if full {
		for i := range e.Stages {
			p.stageInFull(&e.Stages[i])
		}
	}
}

// rule is a rule and where it stands.
func (p *probeStory) rule(r *netfilter.RuleRef) string {
	text := p.Escape(r.Text)
	if at, _ := p.position(&trace.Rule{RuleRef: *r}); at != "" {
		text += "  " + at
	}
	return text
}

// stage lists the links by which the packet is to be seen in a namespace. What a bridge
// only switches is not seen on the bridge itself.
func (p *probeStory) stage(s *probe.Stage) []string {
	var words []string
	name := func(l *netinfo.Link) { words = append(words, p.stageLink(s, l)) }
	if s.In != nil && s.In != s.Bridge {
		name(s.In)
	}
	if s.Bridge != nil && s.How != probe.Bridged {
		name(s.Bridge)
	}
	for i := range s.NAT {
		words = append(words, "("+p.becomes(&s.NAT[i])+")")
	}
	if s.Out != nil && !s.Ends {
		name(s.Out)
	}
	if s.Port != nil && !s.Ends {
		name(s.Port)
	}
	return words
}

// stageLink names a link as hops do.
func (p *probeStory) stageLink(s *probe.Stage, l *netinfo.Link) string {
	if s.Namespace.Name == hostName {
		return p.linkName(l)
	}
	return p.Escape(s.Namespace.Name) + ":" + p.linkName(l)
}

func (p *probeStory) linkName(l *netinfo.Link) string { return p.Escape(l.Name) }

// becomes says what a rule makes of the addresses, as far as that is known.
func (p *probeStory) becomes(x *probe.Translated) string {
	t := trace.Translation{Kind: x.Kind, Before: x.Before, After: x.After}
	if !x.After.Valid() {
		return kindWord(&t)
	}
	return p.became(&t)
}

// stageColumn is the width of the words that begin lines about a namespace.
const stageColumn = 14

// stageInFull shows the routes and hooks of one namespace.
func (p *probeStory) stageInFull(s *probe.Stage) {
	p.line("", p.Paint(Name, p.Escape(s.Namespace.Name)))
	if s.In != nil {
		text := p.linkName(s.In)
		if s.Bridge != nil && s.Bridge != s.In {
			text += ", a port of " + p.linkName(s.Bridge)
		}
		p.detail("in by", text)
	}
	routed := s.Route == nil
	for i := range s.Hooks {
		x := &s.Hooks[i]
		// Routes are asked before output and behind prerouting.
		if !routed && x.Hook != netfilter.Prerouting && x.Hook != netfilter.Ingress {
			p.route(s.Route)
			routed = true
		}
		p.hook(x)
	}
	if !routed {
		p.route(s.Route)
	}
	if s.Out != nil && !s.Ends {
		text := p.linkName(s.Out)
		switch {
		case s.Port != nil:
			text += ", by its port " + p.linkName(s.Port)
		case s.How == probe.Bridged && s.Bridge != nil:
			text += ", a port of " + p.linkName(s.Bridge)
		}
		p.detail("out by", text)
	}
}

// detail is a line about a namespace.
func (p *probeStory) detail(head, text string) {
	for i, l := range Wrap(text, p.Columns()-headColumn-stageColumn) {
		if i > 0 {
			head = ""
		}
		p.b.WriteString(strings.Repeat(" ", headColumn) + p.Paint(Dim, Pad("  "+head, stageColumn)) + l + "\n")
	}
}

// route is said as ip route get does.
func (p *probeStory) route(r *probe.Route) {
	text := r.To.String()
	if r.Local {
		text = "local " + text
	}
	if r.Gateway.IsValid() {
		text += " via " + r.Gateway.String()
	}
	if r.Link != nil && !r.Local {
		text += " dev " + p.linkName(r.Link)
	}
	if r.Source.IsValid() {
		text += " src " + r.Source.String()
	}
	p.detail("route", text)
}

// hook shows the rules of a hook that decide. Those that only count or lead to a chain,
// and chains that let everything pass, are not worth a line each.
func (p *probeStory) hook(x *probe.Passage) {
	head, shown := string(x.Hook), false
	for i := range x.Steps {
		step := &x.Steps[i]
		word, _, _ := strings.Cut(step.Verdict, " ")
		switch {
		case step.Rule == nil && word == "drop":
			p.detail(head, p.Paint(Bad, "drop")+": the policy of "+p.Escape(step.Chain.Name))
		case step.Rule == nil, word == "jump", word == "goto", word == "return", word == "":
			continue
		default:
			p.detail(head, p.Escape(step.Verdict)+": "+p.rule(step.Rule))
		}
		head, shown = "", true
	}
	switch {
	case shown:
	case x.Verdict == "":
		p.detail(head, "not known")
	default:
		p.detail(head, fmt.Sprintf("%s, by no rule", x.Verdict))
	}
}
