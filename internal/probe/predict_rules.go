package probe

import (
	"fmt"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// walk evaluates the rules on a path; false when that is the end.
func (p *prediction) walk(s *Stage, path netfilter.Path) bool {
	w := p.rules(s.Namespace).Walk(path, p.packet)
	s.pass(path, p.packet.Bridged || path[0] == netfilter.Ingress, &w)
	if w.Unsure != "" {
		p.unsure("%s: %s", s.Namespace.Name, w.Unsure)
	}
	switch w.Verdict {
	case netfilter.Dropped, netfilter.Rejected:
		s.Ends = true
		p.e.Verdict = w.Verdict
		if w.Decisive != nil {
			p.e.Rule = &w.Decisive.RuleRef
		}
		p.end(Dropped, "%s", endedBy(&w))
		s.translated(&w, p.packet.Tuple, w.Packet.Tuple)
		return false
	case netfilter.Handed:
		p.unsure("a rule of %s hands it to a program", s.Namespace.Name)
		return false
	}
	after := w.Packet
	if !after.Tuple.Valid() && w.Source != nil && w.Source.Kind == masquerade && s.Out != nil {
		after.Tuple = masqueraded(p.packet.Tuple, s.Out)
	}
	s.translated(&w, p.packet.Tuple, after.Tuple)
	if !after.Tuple.Valid() {
		p.unsure("what the rules of %s make of its addresses is not known", s.Namespace.Name)
		return false
	}
	p.packet, s.After = after, after.Tuple
	return true
}

// pass notes which hooks the packet passed, and what it met there. Hooks of frames count
// only where there are rules.
func (s *Stage) pass(path netfilter.Path, frames bool, w *netfilter.Walk) {
	for _, hook := range path {
		x := Passage{Hook: hook, Frames: frames, Verdict: netfilter.Accepted}
		for _, step := range w.Steps {
			if step.Hook == hook {
				x.Steps = append(x.Steps, step)
			}
		}
		if w.Hook == hook || w.Verdict == "" {
			x.Verdict = w.Verdict
		}
		if !frames || len(x.Steps) > 0 {
			s.Hooks = append(s.Hooks, x)
		}
		if w.Hook == hook {
			return
		}
	}
}

// translated notes the rules that translate. Both in one walk are told apart by the end
// that they change.
func (s *Stage) translated(w *netfilter.Walk, before, after packet.Tuple) {
	if w.Destination != nil {
		x := Translated{NATRule: *w.Destination, Before: before, After: after}
		if w.Source != nil && after.Valid() {
			x.After = packet.NewTuple(before.Protocol, before.Source(), after.Destination(), before.SourcePort, after.DestinationPort)
			before = x.After
		}
		s.NAT = append(s.NAT, x)
	}
	if w.Source != nil {
		s.NAT = append(s.NAT, Translated{NATRule: *w.Source, Before: before, After: after})
	}
}

// masquerade is the kind of a translation to the address of the link (see
// netfilter.NATRule).
const masquerade = "masquerade"

// masqueraded is the tuple behind a masquerade: it has the first address of the
// link by which the packet goes (net/netfilter/nf_nat_masquerade.c). The port may
// change, too; no rule here asks for it. Invalid when the link has no address.
func masqueraded(t packet.Tuple, out *netinfo.Link) packet.Tuple {
	for _, a := range out.Addresses {
		if a.Addr().Is4() == t.Is4() && !a.Addr().IsLinkLocalUnicast() {
			return packet.NewTuple(t.Protocol, a.Addr(), t.Destination(), t.SourcePort, t.DestinationPort)
		}
	}
	return packet.Tuple{}
}

// endedBy says what ended a walk: "rejected at forward by DOCKER-USER, rule 1".
func endedBy(w *netfilter.Walk) string {
	verb := "dropped"
	if w.Verdict == netfilter.Rejected {
		verb = "rejected"
	}
	switch {
	case w.Decisive != nil:
		return fmt.Sprintf("%s at %s by %s, rule %d", verb, w.Hook, w.Decisive.Chain, w.Decisive.Position)
	case w.Policy != nil:
		return fmt.Sprintf("%s at %s by the policy of %s", verb, w.Hook, w.Policy.Name)
	}
	return fmt.Sprintf("%s at %s by a rule", verb, w.Hook)
}
