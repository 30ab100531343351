package probe

import (
	"slices"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// answers foretells whether a rule surely drops what comes back, by the way that the
// packet came: an echo reply, or what the kernel says to a SYN. A datagram needs no answer.
func (p *prediction) answers() {
	if p.e.Unsure != "" || p.request.Protocol == packet.UDP || p.e.Result != Reached && p.e.Result != RefusedBy {
		return
	}
	stages := p.e.Stages
	// A docker-proxy answers before it has asked anybody.
	if i := slices.IndexFunc(stages[min(1, len(stages)):], func(s Stage) bool { return s.How == Begins }); i >= 0 {
		stages = stages[:i+1]
	}
	if len(stages) == 0 || !stages[len(stages)-1].Delivered {
		return
	}
	flags := packet.SYN | packet.ACK
	if p.e.Result == RefusedBy {
		flags = packet.RST | packet.ACK
	}
	for i := len(stages) - 1; i >= 0; i-- {
		if p.answerDropped(&stages[i], flags) {
			return
		}
	}
}

// answerDropped shows an answer to the rules of one namespace. Where they can't say for
// sure what they do, they do nothing.
func (p *prediction) answerDropped(s *Stage, flags uint8) bool {
	in, out := s.Out, s.In
	a := netfilter.Packet{
		Tuple: s.After.Inverse(), MarkKnown: true, State: netfilter.StateEstablished, Direction: netfilter.DirectionReply, Bound: true,
		TCPFlags: flags, TCPFlagsKnown: true, LocalAddress: s.Namespace.HasAddress,
		SourceTranslated:      netfilter.FactOf(s.Before.Source() != s.After.Source() || s.Before.SourcePort != s.After.SourcePort),
		DestinationTranslated: netfilter.FactOf(s.Before.Destination() != s.After.Destination() || s.Before.DestinationPort != s.After.DestinationPort),
	}
	a.Translated = translatedBack(a.Tuple, s.Before)
	if s.Bridge != nil {
		out, a.OutPort = s.Bridge, nameOf(s.In)
	}
	if s.Port != nil {
		a.InPort = nameOf(s.Port)
	}
	switch {
	case s.How == Bridged && !p.bridgeFilter(s.Namespace, a.Tuple.Is4()):
		return false
	case s.How == Bridged:
		in, a.InPort = s.Bridge, nameOf(s.Out)
		return p.answerMeets(s, a, in, out, netfilter.Prerouting, netfilter.Forward, netfilter.Postrouting)
	case s.How == Begins && s.Delivered: // to itself, over the loopback
		a.Translated = packet.Tuple{}
		return p.answerMeets(s, a, nil, s.Out, netfilter.Output, netfilter.Postrouting) ||
			p.answerMeets(s, a, s.Out, nil, netfilter.Prerouting, netfilter.Input)
	case s.How == Begins:
		return p.answerMeets(s, a, in, nil, netfilter.Prerouting, netfilter.Input)
	case s.How == Arrives:
		return p.answerMeets(s, a, nil, out, netfilter.Output, netfilter.Postrouting)
	}
	return p.answerMeets(s, a, in, out, netfilter.Prerouting, netfilter.Forward, netfilter.Postrouting)
}

// answerMeets evaluates a path; true when a rule on it surely ends the answer.
func (p *prediction) answerMeets(s *Stage, a netfilter.Packet, in, out *netinfo.Link, path ...netfilter.Hook) bool {
	a.InLink, a.OutLink = nameOf(in), nameOf(out)
	w := p.rules(s.Namespace).Walk(path, a)
	if w.Verdict != netfilter.Dropped && w.Verdict != netfilter.Rejected {
		return false
	}
	p.e.Answer, p.e.Verdict, p.e.Rule = true, w.Verdict, nil
	if w.Decisive != nil {
		p.e.Rule = &w.Decisive.RuleRef
	}
	p.end(Dropped, "the answer is %s, in %s", endedBy(&w), s.Namespace.Name)
	return true
}

// translatedBack is the answer behind the translation of its destination, which is that of
// the question's source undone.
func translatedBack(answer, question packet.Tuple) packet.Tuple {
	t := packet.NewTuple(answer.Protocol, answer.Source(), question.Source(), answer.SourcePort, answer.DestinationPort)
	if answer.HasPorts() {
		t.DestinationPort = question.SourcePort
	}
	return t
}

func nameOf(l *netinfo.Link) string {
	if l == nil {
		return ""
	}
	return l.Name
}
