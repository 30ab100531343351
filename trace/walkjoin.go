package trace

import (
	"fmt"
	"slices"

	"natlens/capture"
	"natlens/netinfo/netfilter"
)

// stay is the hops of a journey that follow each other in one namespace: between
// them its packet meets that namespace's rules once.
type stay struct {
	first, last int // indexes of hops
	in, out     int // the last hop on the way in, the first on the way out; -1: none
}

// stays cuts a journey's hops where the namespace changes. On loopback a packet
// comes in again after it went out: that is a second stay.
func stays(hops []sighting) (all []stay) {
	for i := range hops {
		n := len(all) - 1
		in := hops[i].point.Direction == capture.In
		if n < 0 || hops[i].point.Namespace != hops[i-1].point.Namespace || in && all[n].out >= 0 {
			all = append(all, stay{first: i, last: i, in: -1, out: -1})
			n++
		}
		s := &all[n]
		s.last = i
		switch {
		case in:
			s.in = i
		case s.out < 0:
			s.out = i
		}
	}
	return all
}

// walkNear is how far apart a tap and the rules behind it can be told. On its way
// out a packet can wait longer: for a neighbour's address, or in a queue.
const walkNear = 250e6

// joinWalks adds to a journey what the rules' trace told of its packet.
func (c *Correlator) joinWalks(j *Journey, e *entry, hops []sighting) {
	if len(c.walks.spaces) == 0 {
		return
	}
	var told []Rule
	for _, s := range stays(hops) {
		w := c.walkOf(e, hops, s)
		if w == nil {
			continue
		}
		w.owner, w.until = e.id, c.now+walkGrace
		met := c.tell(j, w, &s, hops)
		told = append(told, met...)
		c.judge(j, w, &s, hops, met)
	}
	if told == nil {
		return
	}
	if j.Supersedes == 0 {
		c.counters.Traced++
	}
	for _, r := range j.Rules { // what was evaluated for other namespaces
		if !slices.ContainsFunc(told, func(t Rule) bool { return t.RuleRef == r.RuleRef }) {
			told = append(told, r)
		}
	}
	j.Rules = told
}

// walkOf finds the walk of a journey's packet in one namespace: of those whose
// packet looks the same where the trace began, one that the kernel says is of the
// same conntrack entry, and then the nearest in time.
func (c *Correlator) walkOf(e *entry, hops []sighting, s stay) (best *walk) {
	space := c.walks.spaces[hops[s.first].point.Namespace]
	if space == nil {
		return nil
	}
	var nearest int64
	var closest int
	for i := s.first; i <= s.last; i++ {
		h := &hops[i]
		if in := h.point.Direction == capture.In; in != (s.in >= 0) {
			continue // the way in tells when there is one
		}
		for _, w := range space.byKey[walkKeyOf(h.h, h.extent.kind != extentFragment)] {
			if w.owner != 0 && w.owner != e.id || !c.isStart(w, h) {
				continue
			}
			apart, same := max(w.after-h.time, h.time-w.before, 0), w.ofFlow(h.flow)
			if c.within(w, h) && (best == nil || same > closest || same == closest && apart < nearest) {
				nearest, closest, best = apart, same, w
			}
		}
		if best != nil && s.in < 0 {
			return best // the first tap on the way out
		}
	}
	return best
}

// within reports whether a walk's time fits a sighting.
func (c *Correlator) within(w *walk, h *sighting) bool {
	late := int64(walkNear)
	if h.point.Direction == capture.Out {
		late = c.keepWalk()
	}
	return h.time >= w.after-walkNear && h.time <= w.before+late
}

// isStart reports whether a walk began with the packet of a sighting. On its way
// in nothing is translated yet when it begins; on its way out the tap comes behind
// the translation, so that the flow has to say that they are the same.
func (c *Correlator) isStart(w *walk, h *sighting) bool {
	in := h.point.Direction == capture.In
	if in != (w.start == netfilter.Prerouting) {
		return false
	}
	began := &w.packet.Headers
	switch {
	case began.Tuple == h.tuple:
		return true
	case in:
		return false
	case w.ofFlow(h.flow) > 0:
		return true
	case h.flow.flow == nil:
		return began.Tuple.Protocol == h.tuple.Protocol && c.flowOf(w.namespace, began, h.time).flow == nil && keepsOne(began.Tuple, h.tuple)
	}
	return c.flowOf(w.namespace, began, h.time).same(h.flow)
}

// tell makes a walk's hits the rules of a journey, and says of each translation
// which of them made it.
func (c *Correlator) tell(j *Journey, w *walk, s *stay, hops []sighting) (told []Rule) {
	rules := c.rulesets[w.namespace]
	name := c.hosts.space(w.namespace).name
	for i := range w.visits {
		hits := w.visits[i].hits
		base := rules.Locate(&hits[0])
		between := s.place(base.Hook, j.Translations, name)
		if len(hops) > 0 && i == len(w.visits)-1 && c.endedAtPort(w, &hops[s.last]) {
			between = [2]int{s.last, -1}
		}
		for k := range hits {
			h := &hits[k]
			if h.Kind == netfilter.ReturnHit {
				continue
			}
			at := rules.Locate(h)
			verdict, target := h.Verdict, h.Target
			if verdict == "" {
				verdict, target = at.Verdict, at.Target
			}
			told = append(told, Rule{RuleRef: at.Rule, Evidence: ByTrace, Met: &Met{
				Namespace: name, Hook: base.Hook, Between: between, Policy: h.Kind == netfilter.PolicyHit,
				Verdict: verdict, Target: target,
			}})
			if at.Kind != "" {
				c.translatedBy(j, hops, s, told[len(told)-1], at.Kind)
			}
		}
	}
	return told
}

// translatedBy notes that a rule made a translation, for this journey and for the
// later ones of its flow: the rules of NAT are asked once for each flow.
func (c *Correlator) translatedBy(j *Journey, hops []sighting, s *stay, rule Rule, kind string) {
	namespace, hook := rule.Met.Namespace, rule.Met.Hook
	which := sourceSide
	if hook == netfilter.Prerouting || hook == netfilter.Output {
		which = destinationSide
	}
	for i := range j.Translations {
		t := &j.Translations[i]
		if t.Namespace != namespace || t.Hook != hook || t.Undo || t.PeerJourney != 0 {
			continue
		}
		r := Rule{RuleRef: rule.RuleRef, Evidence: ByTrace}
		t.Kind, t.Rule = kind, &r
		for k := s.first; k <= s.last; k++ {
			if f := hops[k].flow; f.flow != nil && !f.about {
				f.flow.rules[which], f.flow.kinds[which] = &r, kind
				f.flow.ruledSince[which] = c.nat[hops[k].point.Namespace].since
				return
			}
		}
	}
}

// place says between which hops a hook stands.
func (s *stay) place(hook netfilter.Hook, translations []Translation, namespace string) [2]int {
	for i := range translations {
		if t := &translations[i]; t.Hook == hook && t.Namespace == namespace && t.PeerJourney == 0 &&
			(t.Between[0] >= s.first || t.Between[0] < 0) && t.Between[1] <= s.last {
			return t.Between
		}
	}
	return [2]int{s.in, s.out}
}

// judge ends a journey where the trace says that its packet was dropped, and says
// that the rules let it pass where they did.
func (c *Correlator) judge(j *Journey, w *walk, s *stay, hops []sighting, met []Rule) {
	if s.last != len(hops)-1 || s.out >= 0 && s.in >= 0 && !c.endedAtPort(w, &hops[s.last]) {
		return // it was seen behind these rules
	}
	v := &j.Verdict
	if c.ended(w) {
		*v = droppedBy(met)
		v.Hop = s.last
		return
	}
	if v.Result != Dropped && v.Result != Vanished || len(w.visits) == 0 || c.walks.lost.since(w.after) > 0 || c.mayBeCut(w) {
		return
	}
	base := c.rulesets[w.namespace].Locate(&w.visits[len(w.visits)-1].hits[0])
	switch base.Hook {
	case netfilter.Input:
		*v = Verdict{Result: Delivered, Hop: s.last, Evidence: ByTrace}
	case netfilter.Postrouting, netfilter.Forward:
		v.Result, v.Evidence, v.Hook, v.By, v.Rule = Vanished, ByTrace, "", "", nil
		v.Reason = "the rules that it met let it pass, says their trace: no answer from the next hop's address resolution, or a drop behind the rules"
	}
}

// ended reports whether a packet's way ended at the last hit of its walk.
func (c *Correlator) ended(w *walk) bool {
	if len(w.visits) == 0 {
		return false
	}
	hits := w.visits[len(w.visits)-1].hits
	last := &hits[len(hits)-1]
	return last.Verdict == netfilter.Drop || last.Verdict == "" && c.rulesets[w.namespace].Locate(last).Verdict == netfilter.Drop
}

// endedAtPort reports whether a packet's way ended behind the tap of a bridge that was to
// send it: at the bridge's own hooks, or where one of its ports sends.
func (c *Correlator) endedAtPort(w *walk, at *sighting) bool {
	if at.link == nil || !at.link.bridge || at.point.Direction != capture.Out || !c.ended(w) {
		return false
	}
	first := &w.visits[len(w.visits)-1].hits[0]
	return first.Family == "bridge" || c.rulesets[w.namespace].Locate(first).Hook == netfilter.Egress
}

// droppedBy is the verdict on a packet that the last of the rules it met dropped.
func droppedBy(met []Rule) Verdict {
	last := met[len(met)-1]
	v := Verdict{Result: Dropped, Hop: -1, Evidence: ByTrace, Hook: last.Met.Hook}
	switch {
	case last.Met.Policy:
		v.By = "the policy of " + last.Chain
	case last.Position > 0:
		v.Rule, v.By = &last, fmt.Sprintf("%s #%d", last.Chain, last.Position)
	default:
		v.Rule, v.By = &last, "a rule of "+last.Chain+" that is not there any more"
	}
	return v
}
