package trace

import (
	"fmt"
	"slices"

	"natlens/capture"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// terminal reports whether nothing further can be expected after the sighting.
func (c *Correlator) terminal(s *sighting) bool {
	result, _ := c.end(s)
	return result != ""
}

// end says how a journey ends at this sighting, or "" when the packet must
// still go somewhere that is watched.
func (c *Correlator) end(s *sighting) (Result, Evidence) {
	if s.link == nil || c.foreign {
		return "", ""
	}
	if s.point.Direction == capture.Out {
		if c.goesOn(s) {
			return "", ""
		}
		return Left, ByTap
	}
	if s.typ == capture.OtherHost || s.link.master != (netinfo.LinkKey{}) || tagOf(s) != 0 {
		return "", "" // a tagged frame is for a VLAN's link on top, if there is one
	}
	if s.typ == capture.Broadcast || s.typ == capture.Multicast {
		return Delivered, ByTap
	}
	tuple := &s.h.Tuple
	if s.flow.flow != nil && !s.flow.about {
		tuple = &s.flow.flow.direction(s.flow.reply).after
	}
	if !s.space.hasDestination(tuple) || s.loopsBack() {
		return "", ""
	}
	// Where connections are tracked, a packet that begins a flow is waited for
	// until it has an entry: delivery and a drop at INPUT look the same to a tap.
	if s.flow.flow == nil && c.tracks(s) && !c.staysInvalid(s) || c.stopsAtIngress(s) {
		return "", ""
	}
	return Delivered, ByTap
}

// goesOn reports whether a packet that goes out by this link must show up at
// another point that is watched.
func (c *Correlator) goesOn(s *sighting) bool {
	l := s.link
	if l.loop || l.bridge {
		return true
	}
	if c.hosts.farSide(l).watched(s.time) {
		return true
	}
	if l.parent == (netinfo.LinkKey{}) {
		return false
	}
	under := c.hosts.links[l.parent]
	return under != nil && under.ns.watched(s.time)
}

// verdict says how the journey ended.
func (c *Correlator) verdict(e *entry, hops []sighting, from []int, early string) Verdict {
	best, ends := Verdict{Hop: -1}, []string(nil)
	for i := range hops {
		if slices.Contains(from[i+1:], i) && !c.copied(hops, i) {
			continue // it went on from here
		}
		result, evidence := c.end(&hops[i])
		if result == "" || result == Delivered && c.completeness(e, &hops[i], hops) == incomplete {
			continue
		}
		// Pieces of a datagram end at one place, and a namespace is one.
		if name := c.destinationName(&hops[i]); !slices.Contains(ends, name) {
			ends = append(ends, name)
		}
		// To whom a packet is addressed counts for more than where else a
		// bridge sent it.
		if best.Result == "" || hops[i].typ == capture.Host {
			best = Verdict{Result: result, Hop: i, Evidence: evidence}
		}
	}
	if best.Result != "" {
		if len(ends) > 1 && hops[best.Hop].typ != capture.Host {
			return Verdict{Result: Flooded, Hop: -1, Evidence: ByTap, Reason: "to " + list(ends)}
		}
		if end := &hops[best.Hop]; best.Result == Delivered && end.typ == capture.Host {
			if end.flow.passed(e.id, c.now) {
				best.Evidence = ByConntrack
			} else {
				c.stopped(hops[:best.Hop+1], &best, e.arrival)
			}
		}
		return best
	}
	if e.has().refusal != nil {
		return c.refused(e, hops)
	}
	if f := c.floodOf(hops); f != nil && !f.accepted && len(f.ignored) == f.ports {
		v := f.verdict()
		v.Reason += c.strayed(hops)
		return v
	}
	return c.missing(e, hops, early)
}

// destinationName names where a journey's end took the packet: a namespace, or the
// link by which it left for one that is not watched.
func (c *Correlator) destinationName(s *sighting) string {
	if s.point.Direction == capture.Out {
		return s.linkName()
	}
	return s.space.name
}

// missing explains a journey whose end no tap saw.
func (c *Correlator) missing(e *entry, hops []sighting, early string) Verdict {
	since, at := hops[0].time, len(hops)-1
	s := &hops[at]
	if c.foreign {
		return foreignEnd(s, at)
	}
	v := Verdict{Result: Vanished, Hop: at, Evidence: ByTap}
	var rules ruling
	lost := c.lostRing.since(since)
	switch {
	case lost > 0:
		v.Result, v.Reason = Unfinished, fmt.Sprintf("unknown: ring lost %d", lost)
	case early != "":
		v.Result, v.Reason = Unfinished, early
	case s.point.Direction == capture.Out && (c.ruledOut(hops, &rules, &v) || c.turnedBack(hops, &rules, &v) || c.sentNowhere(s, &v)):
	case s.point.Direction == capture.Out:
		v.Reason = c.neverArrived(s, &rules)
	case s.typ == capture.OtherHost && s.link != nil && s.link.master == (netinfo.LinkKey{}):
		v.Reason = "its MAC address is another's: not accepted here" + c.strayed(hops)
		if s.link.uplink {
			v.Reason += ", unless by a macvlan that is not watched"
		}
	case tagOf(s) != 0 && s.link != nil && s.link.master == (netinfo.LinkKey{}) && !s.link.over:
		// vlan_do_receive makes it another host's (net/8021q/vlan_core.c).
		v.Reason = fmt.Sprintf("it is tagged for VLAN %d, for which %s has no link on %s: not accepted here", tagOf(s), s.space.name, s.linkName())
	case c.lacking(e, hops, &v):
	case s.loopsBack():
		v.Result, v.Evidence, v.Reason = Dropped, ByRules, loopedBack
	case c.ruledOut(hops, &rules, &v):
	case c.synProxied(s, &rules, &v):
	case rules.handOver(&v):
	case c.turnedBack(hops, &rules, &v):
	case c.sentNowhere(s, &v):
	case c.misrouted(s, &rules, &v):
	case c.keptByRoute(e, s, &rules, &v):
	case c.unanswered(s, &v):
	case s.flow.flow == nil && rules.rewrote(&v):
	case c.acrossPorts(s) && rules.rules.SeesBridged(s.tuple.Is4()) == netfilter.False:
		v.Reason = "not seen again, and connection tracking does not see what bridges pass on: " + c.notSentOn(s, &rules)
	case !c.tracks(s):
		v.Reason = "not seen again, and nothing here tracks connections: " + c.notSentOn(s, &rules)
	case s.flow.flow != nil:
		v.Reason = "the rules let its flow pass, yet it was not seen again: " + c.notSentOn(s, &rules)
		switch rule := rules.UnsureRule; {
		case rule == nil || rules.Verdict != "":
		case c.acrossPorts(s):
			v.Reason = "the rules let its flow pass, yet it was not seen again: " + rules.acrossInstead(false, c.noPort(s))
		default:
			v.Reason = fmt.Sprintf("the rules let its flow pass, yet it was not seen again: a rule dropped this one, or no answer from the next hop's address resolution; the rules can't tell, for %s (%s #%d)",
				rules.Unsure, rule.Chain, rule.Position)
		}
	default:
		c.unconfirmed(s, &rules, &v)
	}
	return v
}

// unanswered reports whether a packet could not be sent on for want of its next hop's
// MAC address, and puts that into v. Where connections are tracked it must belong to
// one: its entry is made before anybody is asked.
func (c *Correlator) unanswered(s *sighting, v *Verdict) bool {
	if s.point.Direction != capture.In || s.flow.flow == nil && c.uncovered(s) {
		return false
	}
	why := c.unresolved(s)
	if why == "" {
		return false
	}
	v.Result, v.Reason = Dropped, why
	return true
}

// unconfirmed explains a packet that was seen coming in and that has no conntrack
// entry, although connections are tracked there. rules is what they make of it.
func (c *Correlator) unconfirmed(s *sighting, rules *ruling, v *Verdict) {
	toHost := s.space.has(s.h.Tuple.Destination()) || c.staysHere(s, rules)
	why := c.silence(s)
	if why == "" && neverBegins(s.h) {
		why = "it belongs to no flow and begins none (INVALID), so connection tracking tells nothing of it"
	}
	if why != "" {
		v.Result, v.Reason = Unfinished, "unknown: not seen again, and "+why
		if toHost {
			v.Reason = "it came to " + s.space.name + "; whether a rule dropped it there is unknown: " + why
		}
		if rules.Verdict == netfilter.Accepted && rules.stop == "" {
			v.Reason += "; the rules as they are let it pass"
		}
		return
	}
	if c.refusedEntry(s, rules, v) {
		return
	}
	v.Result, v.Evidence, v.Hook = Dropped, ByInference, netfilter.Forward
	why = "a rule dropped it, or there is no route"
	if c.acrossPorts(s) {
		why = rules.acrossInstead(rules.standing, c.noPort(s))
		if rules.Verdict == netfilter.Accepted {
			v.Hook = ""
		}
	} else if instead := rules.instead(rules.standing && c.stood(s, rules.query, rules.decision), c.tooLarge(s, rules)); instead != "" {
		why = instead
	}
	v.Reason = "connection tracking never confirmed it: " + why
	if r, ok := c.redirected(s); ok && !s.space.has(r.after.Destination()) {
		v.Reason = fmt.Sprintf("a rule sends it to %v, but %s", r.after.Destination(), v.Reason)
	} else if toHost && rules.dated {
		v.Hook = "" // a rule may have sent it on
	} else if toHost {
		v.Hook = netfilter.Input
		v.Reason = "connection tracking never confirmed it: a rule dropped it before a program of " + s.space.name + " could get it"
	}
}

// ruledOut reports whether the rules say for sure that the packet was dropped
// where it was seen last, and puts that into v. r holds what they say.
func (c *Correlator) ruledOut(hops []sighting, r *ruling, v *Verdict) bool {
	one, ok := c.rule(hops)
	*r = one
	return ok && c.sentence(&hops[len(hops)-1], r, v)
}

// sentence puts into v that the packet was dropped as the rules say, with what its
// counter tells of that; false where they are not sure.
func (c *Correlator) sentence(s *sighting, r *ruling, v *Verdict) bool {
	if !r.decide(v) {
		return false
	}
	if c.confirmed(s, r) {
		v.Evidence = ByCounter
		if v.Rule != nil { // else a policy did it
			v.Rule.Evidence = ByCounter
		}
	} else if x := c.flows[s.point.Namespace]; x != nil && v.Reason == "" && v.Hook != netfilter.Prerouting && !r.ofFrame() {
		// What is refused when it comes in never meets the rule.
		if why, before := x.refusal(s); before {
			v.Reason = "unless before that " + why
		}
	}
	return true
}
