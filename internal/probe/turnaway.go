package probe

import (
	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/trace"
)

// turnedAway concludes from a reset or an ICMP error. Closed ports and rules that reject
// use the same words; so who says them counts, and what was seen and foretold.
func (o *Outcome) turnedAway(there, stopped *trace.Journey) {
	x := o.Answer.Objection
	switch {
	case stopped != nil && byRule(stopped):
		o.Result, o.Cause.Journey = Dropped, stopped
	case o.foretoldRejection():
		o.Result, o.Cause = Dropped, Cause{Journey: stopped, Rule: o.Expected.Rule, Reason: o.Expected.Reason}
	case x == nil && o.gotThere(): // a reset
		o.Result, o.Cause.Journey = RefusedBy, there
	case x == nil:
		o.Result, o.Cause = Dropped, Cause{Journey: stopped, Reason: "a reset came back, and it was not seen to arrive"}
	case x.portUnreachable() && o.Request.Protocol == packet.UDP && x.From == o.Destination.Address && o.gotThere():
		o.Result, o.Cause.Journey = RefusedBy, there
	case x.portUnreachable(), x.prohibits():
		o.Result, o.Cause.Journey = Dropped, stopped
	default:
		o.Result, o.Cause.Journey = NoWay, there
	}
	if o.Cause.Journey == nil && o.Cause.Reason == "" && x != nil {
		o.Cause.Reason = x.String() + ", says " + x.From.String()
	}
}

// byRule reports whether a rule or a policy is known to have ended the journey.
func byRule(j *trace.Journey) bool { return j.Verdict.Rule != nil || j.Verdict.Hook != "" }

// foretoldRejection reports whether the packet was turned away where a rule was expected
// to reject it.
func (o *Outcome) foretoldRejection() bool {
	e := o.Expected
	if e == nil || e.Verdict != netfilter.Rejected || e.Unsure != "" || len(e.Stages) == 0 || o.cameOn() {
		return false
	}
	x := o.Answer.Objection
	return x == nil || x.From == o.Destination.Address || e.Stages[len(e.Stages)-1].Namespace.HasAddress(x.From)
}

// gotThere reports whether the packet can have come to whom it was addressed: to the
// namespace that has the address, or out of sight.
func (o *Outcome) gotThere() bool {
	j := last(o.Journeys.There)
	if j == nil || len(j.Hops) == 0 || j.Verdict.Result == trace.Delivered || j.Verdict.Result == trace.Left || j.Topology == nil {
		return true
	}
	end := &j.Hops[len(j.Hops)-1]
	if end.Point.Direction == capture.Out {
		return true
	}
	n := j.Topology.Namespace(end.Point.Namespace)
	return n == nil || n.HasAddress(end.Headers.Tuple.Destination())
}
