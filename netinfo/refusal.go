package netinfo

import "fmt"

// Refuses puts into words why the namespace refuses a packet: by is the route or the rule
// of routing that does, empty where it is something else, and why is the rest, which may be
// empty where by says all. Both are empty of what is not refused.
func (n *Namespace) Refuses(q RouteQuery, d Decision) (by, why string) {
	in := decider{n: n, q: q}.in()
	switch d.Refusal {
	case NotRefused:
	case NoRoute:
		return "", fmt.Sprintf("%s has no route to %v", n.Name, q.Destination)
	case Blackhole, Unreachable, Prohibit:
		if d.Route == nil {
			return "ip rule " + d.Rule.String(), ""
		}
		if d.Rule.Table != TableMain {
			why = "for the rule of routing " + d.Rule.String()
		}
		return "the route " + d.Route.String(), why
	case NotForwarding:
		return "", fmt.Sprintf("%s passes nothing on that comes in by %s (%s)", n.Name, in, d.Setting)
	case ReversePath:
		back := "no way leads back to it"
		if out := (decider{n: n}).linkName(d.Link); out != "" {
			back = fmt.Sprintf("the way back to it is %s, by %s", d.Route, out)
		}
		return "", fmt.Sprintf("its source %v is not believed on %s (%s): %s", q.Source, in, d.Setting, back)
	case Martian:
		if d.Setting != "" {
			return "", fmt.Sprintf("%s, not believed on %s (%s)", d.Why, in, d.Setting)
		}
		return "", d.Why
	}
	return "", ""
}
