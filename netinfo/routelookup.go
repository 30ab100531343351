package netinfo

import (
	"net/netip"
	"slices"
)

// lookup asks for a way from one address to another.
type lookup struct {
	from, to netip.Addr
	in       int32 // index of the link that it came in by
	fromSelf bool  // it is asked for what the namespace sends itself
	ports    [2]uint16
	marked   bool // it has the packet's mark, else none
}

// lookUp goes through the rules until a table has an answer (fib_rules_lookup).
func (d *decider) lookUp(l lookup) Decision {
	for i := 0; i < len(d.r.Rules); i++ {
		rule := &d.r.Rules[i]
		if rule.Is6 == l.to.Is4() {
			continue
		}
		matches, known := d.matches(rule, l)
		if !known {
			return unknown("whether the rule %q of routing is for it", rule.String())
		}
		if !matches {
			continue
		}
		switch rule.Action {
		case RuleToTable:
			if found := d.table(rule, l); found.Fate != FateRefused || found.Refusal != NoRoute {
				return found
			}
		case RuleGoto:
			next := slices.IndexFunc(d.r.Rules[i:], func(r RoutingRule) bool { return r.Is6 == rule.Is6 && r.Priority >= rule.Goto })
			if next <= 0 {
				return unknown("where the rule %q of routing leads", rule.String())
			}
			i += next - 1
		case RuleNothing:
		case RuleBlackhole:
			return Decision{Fate: FateRefused, Refusal: Blackhole, Rule: rule}
		case RuleUnreachable:
			return Decision{Fate: FateRefused, Refusal: Unreachable, Rule: rule}
		case RuleProhibit:
			return Decision{Fate: FateRefused, Refusal: Prohibit, Rule: rule}
		default:
			return unknown("what the rule %q of routing does", rule.String())
		}
	}
	return Decision{Fate: FateRefused, Refusal: NoRoute}
}

// matches reports whether a rule is for the packet; known is false where that can't be
// told.
func (d *decider) matches(r *RoutingRule, l lookup) (matches, known bool) {
	mark, bits := d.q.Mark, d.q.MarkBits
	if !l.marked {
		mark, bits = 0, 1<<32-1
	}
	doubt := r.Other
	within := func(p netip.Prefix, a netip.Addr) bool { return !p.IsValid() || p.Contains(a) }
	ported := func(r [2]uint16, port uint16) bool { return r == [2]uint16{} || port >= r[0] && port <= r[1] }
	matches = within(r.From, l.from) && within(r.To, l.to) && r.Out == "" && // nothing that comes in has a link to go out by yet
		(r.Protocol == 0 || r.Protocol == d.q.Protocol) && ported(r.SourcePorts, l.ports[0]) && ported(r.DestinationPorts, l.ports[1]) &&
		(r.Mark^mark)&r.Mask&bits == 0
	if r.In != "" {
		name := "lo"
		if !l.fromSelf {
			name = d.linkName(l.in)
		}
		doubt = doubt || name == ""
		matches = matches && (name == "" || r.In == name)
	}
	if matches && (doubt || r.Mask&^bits != 0) {
		return false, false
	}
	return matches != r.Invert, true
}

func (d decider) linkName(index int32) string {
	for _, l := range d.n.Links {
		if l.Key.Index == index {
			return l.Name
		}
	}
	return ""
}

// table looks the destination up in one table. NoRoute means that the next rule is asked.
func (d *decider) table(rule *RoutingRule, l lookup) Decision {
	for i := range d.r.Routes {
		r := &d.r.Routes[i]
		if r.Table != rule.Table || !r.Destination.Contains(l.to) {
			continue
		}
		if r.TOS != 0 {
			return unknown("whether the route %q is for its type of service", r.String())
		}
		found := Decision{Route: r, Rule: rule}
		switch r.Type {
		case RouteUnicast:
			if len(r.Hops) == 0 {
				continue
			}
			found.Fate = FateForwarded
			if len(r.Hops) == 1 {
				found.Link, found.Next = r.Hops[0].Link, r.Hops[0].Gateway
				if !found.Next.IsValid() {
					found.Next = l.to
				}
			}
		case RouteLocal, RouteBroadcast, RouteAnycast:
			found.Fate = FateLocal
		case RouteBlackhole:
			found.Fate, found.Refusal = FateRefused, Blackhole
		case RouteUnreachable:
			found.Fate, found.Refusal = FateRefused, Unreachable
		case RouteProhibit:
			found.Fate, found.Refusal = FateRefused, Prohibit
		case RouteThrow:
			return Decision{Fate: FateRefused, Refusal: NoRoute}
		default:
			return unknown("what the route %q does", r.String())
		}
		if rule.Suppress > 0 && found.Fate != FateRefused && r.Destination.Bits() < rule.Suppress {
			return Decision{Fate: FateRefused, Refusal: NoRoute}
		}
		return found
	}
	return Decision{Fate: FateRefused, Refusal: NoRoute}
}
