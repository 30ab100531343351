package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/trace"
)

// Outcome is everything about one probe. It is immutable once it was reported.
type Outcome struct {
	Request     Request
	Source      Source
	Destination Destination
	// Expected is what the routes and rules said before; nil when nothing was
	// to be expected, as for a name that does not resolve.
	Expected *Expectation
	// Queries are the questions that were asked about the name; none for what is
	// known without.
	Queries []Query
	// Sent holds what was sent; its zero Tuple means nothing was.
	Sent     Sent
	Answer   Answer
	Journeys Journeys
	Result   Result
	Cause    Cause
	// Failed is why the probe itself could not be made, so that Result says
	// nothing; nil otherwise.
	Failed error

	// unresolvedNeighbour: the packet never left, because nobody answered for
	// the next address; invalid when that is not so.
	unresolvedNeighbour netip.Addr
	// noWayOn is why the namespace where the packet was seen last could send it nowhere;
	// empty where that is not so.
	noWayOn string
}

// Sent is one packet of our own.
type Sent struct {
	Tuple packet.Tuple
	Time  time.Time
	Bytes int // of payload
}

// Cause is what a result rests on.
type Cause struct {
	// Journey is the one that ended before it should: the packet's own, or its
	// answer's; nil when none did.
	Journey *trace.Journey
	// Answer: it is the answer that was stopped or lost.
	Answer bool
	// Rule is the one that ended the packet, where no journey names it but an error came
	// from where the rules had said that this one would; else nil.
	Rule   *netfilter.RuleRef
	Reason string // words for a person; may be empty
}

// conclude works the result out of what the sender learned and what was seen.
func (o *Outcome) conclude() {
	there, back := last(o.Journeys.There), last(o.Journeys.Back)
	if o.Answer.Objection == nil && o.Answer.Result != Replied {
		o.Answer.Objection = o.Journeys.objectionIn()
	}
	stopped := stoppedOf(o.Journeys.There)
	switch {
	case o.Answer.Result == Replied && o.refusedBehind():
		o.Result, o.Cause.Journey = RefusedBy, o.Journeys.Proxied()
	case o.Answer.Result == Replied:
		o.Result = Reached
	case o.Answer.Result == Forbidden:
		o.Result, o.Cause.Reason = Dropped, "the kernel did not let it out: a rule of "+o.Source.Namespace.Name+"'s own output stopped it"
		if e := o.Expected; e != nil && e.Result == Dropped && e.Unsure == "" && !e.Answer && len(e.Stages) == 1 && e.Rule != nil {
			o.Cause.Rule, o.Cause.Reason = e.Rule, "the kernel did not let it out: "+e.Reason
		}
	case o.Answer.Result == NotSent && alone(o.Source.Namespace):
		o.Result, o.Cause.Reason = NoWay, o.Source.Name+" has no link but its loopback"
	case o.Answer.Result == NotSent:
		o.Result, o.Cause.Reason = NoWay, o.refusal()
	case o.unresolvedNeighbour.IsValid() && there == nil:
		o.Result, o.Cause.Reason = NoWay, fmt.Sprintf("%s asked for the MAC address of %v, and nobody answered",
			o.Source.Name, o.unresolvedNeighbour)
	case o.Answer.Objection != nil || o.Answer.Result == Refused:
		o.turnedAway(there, stopped)
	case o.Answer.Result == Unreachable:
		o.Result, o.Cause.Journey = NoWay, there
	case o.noWayOn != "":
		o.Result, o.Cause.Journey = NoWay, there
		if there.Verdict.Result != trace.Dropped {
			o.Cause.Reason = o.noWayOn
		}
	case stopped != nil:
		o.Result, o.Cause.Journey = Dropped, stopped
	case o.Expected != nil && o.Expected.Down && o.Expected.Unsure == "" && !o.cameOn():
		o.Result, o.Cause = NoWay, Cause{Journey: there, Reason: o.Expected.Reason}
	case there == nil:
		o.Result, o.Cause.Reason = Lost, "no tap saw it"
	case arrived(o.Journeys.There) && o.Request.Protocol == packet.UDP:
		o.Result = Reached // a datagram needs no answer
	case back != nil && back.Verdict.Result == trace.Dropped:
		o.Result, o.Cause = Dropped, Cause{Journey: back, Answer: true}
	case back != nil:
		o.Result, o.Cause = Lost, Cause{Journey: back, Answer: true}
	default:
		o.Result, o.Cause.Journey = Lost, there
	}
}

// refusal is why the routes let nothing be sent there.
func (o *Outcome) refusal() string {
	to := o.Destination.Address
	switch {
	case errors.Is(o.Answer.Err, syscall.EACCES):
		return "its routes prohibit that, or it is a broadcast address, which is not one host's"
	case to.Is6() && to.IsLinkLocalUnicast() && o.Source.Link == nil:
		return "an address that begins with fe80: is one on each link, so that FROM has to be a link"
	}
	return "no route there"
}

func last(all []*trace.Journey) *trace.Journey {
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// stoppedOf returns a journey of the packet that was dropped; nil when there is
// none. Where a proxy stands between, one of the two connections may have been.
func stoppedOf(all []*trace.Journey) *trace.Journey {
	for _, j := range all {
		if j.Verdict.Result == trace.Dropped {
			return j
		}
	}
	return nil
}

// arrived reports whether the packet, or what the last process between made of it,
// was delivered.
func arrived(all []*trace.Journey) bool {
	j := last(all)
	return j != nil && j.Verdict.Result == trace.Delivered
}

// refusedBehind reports whether a docker-proxy took the connection and then found
// nobody itself.
func (o *Outcome) refusedBehind() bool {
	made := o.Journeys.Proxied()
	if made == nil || o.Request.Protocol != packet.TCP {
		return false
	}
	answer := o.Journeys.answerTo(made)
	return answer != nil && len(answer.Hops) > 0 && answer.Hops[0].Headers.TCPFlags&packet.RST != 0
}
