package trace

import (
	"cmp"
	"fmt"
	"net/netip"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// ruling is what the rules of a namespace make of a packet that was last seen
// coming in there.
type ruling struct {
	netfilter.Walk
	rules *netfilter.Ruleset
	piece bool // it came in pieces, and this is a later one, or they were put together
	// stop is why the packet could not go through all hooks; empty when it
	// could. Then Walk is of the hooks before.
	stop string
	// decision is what routes and settings make of it behind prerouting; the zero
	// Decision where it was not routed. query is what they were asked.
	decision netinfo.Decision
	query    netinfo.RouteQuery
	to       netip.Addr // where it was going, behind the translation
	link     string     // by which it was to leave; empty when that is not known
	// standing: they are known to be those that it met. dated: it may have met others,
	// which say something else.
	standing, dated bool
	rejecting       *ruling // by the only rule that may have ended its way, where it is dated
	// back is why a bridge does not send it back where it came from; then Walk is of
	// the hooks before that.
	back string
}

// evaluate is rule by those that the namespace has or had, however many packets were
// walked.
func (c *Correlator) evaluate(rules *netfilter.Ruleset, hops []sighting) (r ruling, ok bool) {
	s := &hops[len(hops)-1]
	if s.link == nil || !rulable(s) || !s.tuple.Valid() || c.foreign {
		return r, false
	}
	if s.point.Direction == capture.Out {
		return c.ruleOfSent(rules, s), true
	}
	p := c.question(rules, hops)
	r.rules, r.piece = rules, s.inPieces()
	port := s.link.master != (netinfo.LinkKey{})
	before := p
	if !c.comesIn(&r, s, &p) {
		return r, true
	}
	if port && !c.forBridge(s) {
		c.acrossBridge(&r, s, p)
		return r, true
	}
	seen := rules.SeesBridged(p.Tuple.Is4()) == netfilter.True
	if port && !seen && !c.upToBridge(&r, s, &p) {
		return r, true
	}
	p.InLink, p.InPort = before.InLink, before.InPort
	if !r.pass(netfilter.Path{netfilter.Prerouting}, &p) {
		return r, true
	}
	if s.flow.flow == nil && !c.tracks(s) && r.Rewriter == nil {
		p.Tuple = before.Tuple // without connection tracking nothing is translated
	}
	p.InLink, p.InPort = before.InLink, before.InPort
	if !p.Tuple.Valid() {
		r.doubt("where a rule sends the packet is not known")
		return r, true
	}
	r.to = p.Tuple.Destination()
	var routed *netinfo.Namespace
	r.query, routed = c.query(s, &p)
	r.decision = routed.Decide(r.query)
	where := c.ways(s, r.to, r.decision)
	turned := port && seen && r.to != before.Tuple.Destination() && where.link == p.InLink
	if port && seen {
		enters := c.upToBridge
		if turned {
			enters = c.backToBridge
		}
		if !enters(&r, s, &p) {
			return r, true
		}
		p.InLink, p.InPort = before.InLink, before.InPort
	}
	path := netfilter.Path{netfilter.Forward, netfilter.Postrouting}
	switch {
	case where.local:
		path = netfilter.Path{netfilter.Input}
	case r.decision.Fate == netinfo.FateRefused:
		by, why := routed.Refuses(r.query, r.decision)
		r.stop = cmp.Or(by, why)
		return r, true
	case where.none:
		r.stop = fmt.Sprintf("no route to %v in the main table of %s", r.to, s.space.name)
		return r, true
	default:
		if r.back = c.notSentBack(s, r.to); r.back != "" {
			return r, true
		}
		r.link = where.link
	}
	p.OutLink = r.link
	switch {
	case path[0] == netfilter.Input || turned:
		r.pass(path, &p)
	case r.link != "":
		r.pass(append(path, netfilter.Egress), &p)
	case r.pass(path, &p):
		r.pass(netfilter.Path{netfilter.Egress}, &p)
	}
	return r, true
}

// pass takes the packet through some more hooks. It reports whether it came to their
// end; p is what it was like there.
func (r *ruling) pass(path netfilter.Path, p *netfilter.Packet) bool {
	before := r.Walk
	frame := p.Frame.Destination
	r.Walk = r.rules.Walk(path, *p)
	if r.Destination == nil {
		r.Destination = before.Destination
	}
	if r.Source == nil {
		r.Source = before.Source
	}
	if before.Rewriter != nil {
		r.Rewriter = before.Rewriter
	}
	steps := len(r.Steps)
	r.Steps = append(before.Steps, r.Steps...)
	switch {
	case r.piece && steps > 0 && (p.Bridged || path[0] == netfilter.Ingress):
		// Nobody has put the pieces together yet, and later ones have no ports.
		r.doubt("how a rule for frames sees a later piece of a datagram is not known")
	case r.Verdict == netfilter.Accepted && r.Packet.Frame.Known && r.Packet.Frame.Destination != frame:
		r.doubt("where a rule sends the frame is not known")
	}
	if r.Verdict != netfilter.Accepted {
		return false
	}
	*p = r.Packet
	return true
}

// doubt takes back a verdict.
func (r *ruling) doubt(why string) {
	r.Verdict, r.Decisive, r.Policy, r.Unsure = "", nil, nil, why
}

// droppers says what the rules of a namespace may drop: what came in, and what it sends
// itself. Most drop neither, and are not asked.
type droppers struct{ came, sent bool }

func droppersOf(r *netfilter.Ruleset) droppers {
	if r.Unreadable != nil {
		return droppers{}
	}
	return droppers{
		came: r.MayDrop(netfilter.Prerouting, netfilter.Input, netfilter.Forward),
		sent: r.MayDrop(netfilter.Output),
	}
}

// rulable reports whether rules of the namespace come behind what a tap saw.
func rulable(s *sighting) bool {
	return s.point.Direction == capture.In || s.link != nil && s.link.bridge
}

// maxRulings is how many packets are walked through the rules in a second of their
// time. One takes about 20 µs with Docker's rules, and half a millisecond where
// much of what they ask for is not known: a flood that is dropped must not hold up
// all else.
const maxRulings = 500

// mayRule reports whether another packet can be walked through the rules now.
func (c *Correlator) mayRule() bool { return c.ruled.spend(c.now, maxRulings) }

// budget is how many packets were walked through rules in the second that is under way.
type budget struct {
	second  int64
	packets int
}

// spend reports whether there is room for another packet among that many, and takes it.
func (b *budget) spend(now int64, most int) bool {
	if second := now / 1e9; second != b.second {
		b.second, b.packets = second, 0
	}
	b.packets++
	return b.packets <= most
}

// forBridge reports whether a frame that came in by the port of a bridge is for the
// bridge itself, which routes it or takes it.
func (c *Correlator) forBridge(s *sighting) bool {
	bridge := c.hosts.links[s.link.master]
	if bridge == nil || bridge.mac == ([6]byte{}) || !s.h.Layers.Has(packet.LayerEthernet) {
		return true // it is what bridges do for containers, mostly
	}
	return s.h.DestinationMAC == bridge.mac
}

// question is the packet as the rules of the last hop's namespace see it first.
func (c *Correlator) question(rules *netfilter.Ruleset, hops []sighting) netfilter.Packet {
	s := &hops[len(hops)-1]
	first := s
	for i := len(hops) - 2; i >= 0 && hops[i].point.Namespace == s.point.Namespace && hops[i].point.Direction == capture.In; i-- {
		first = &hops[i]
	}
	p := netfilter.Packet{
		Tuple: first.tuple, InLink: c.hosts.layer3(s.link), LocalAddress: s.space.has, MarkKnown: !rules.MarksEarly(), Length: s.h.Length, Time: s.time,
		TCPFlags: s.h.TCPFlags, TCPFlagsKnown: s.h.Layers.Has(packet.LayerTCP),
	}
	if first.link != nil && first.link.master != (netinfo.LinkKey{}) {
		p.InPort = first.link.name
	}
	p.Frame = frameOf(s)
	if first.tuple != s.tuple {
		p.Translated = s.tuple
	}
	switch f := s.flow.flow; {
	case f != nil && s.flow.about:
	case f != nil:
		c.known(&p, s)
	case !c.uncovered(s):
	case begins(s.h):
		p.State, p.Direction = netfilter.StateNew, netfilter.DirectionOriginal
	case neverBegins(s.h):
		p.State = netfilter.StateInvalid
	}
	return p
}

// known adds what the packet's flow tells.
func (c *Correlator) known(p *netfilter.Packet, s *sighting) {
	r := s.flow
	p.Bound, p.Direction = true, netfilter.DirectionOriginal
	switch answered := r.flow.answered; {
	case r.reply:
		p.State, p.Direction = netfilter.StateEstablished, netfilter.DirectionReply
	case answered != 0 && answered < s.time:
		p.State = netfilter.StateEstablished
	case answered == 0 && r.flow.Status&netfilter.Expected == 0 && !c.deaf(s):
		p.State = netfilter.StateNew
	default:
		// Whether somebody had answered when this packet came is not known.
	}
	forms := r.flow.direction(r.reply)
	if p.Tuple == forms.before {
		p.Translated = forms.half
	}
	// NAT of a flow is said of its original direction.
	p.SourceTranslated = netfilter.FactOf(r.flow.Status&netfilter.SrcNAT != 0)
	p.DestinationTranslated = netfilter.FactOf(r.flow.Status&netfilter.DstNAT != 0)
}

// ways is what the routes of a namespace say of an address.
type ways struct {
	link  string // empty: several, or not known
	local bool   // an address of this namespace, a broadcast or multicast
	none  bool   // no route is known
	// next is the address that it is handed to on the link; invalid where that is not
	// known, or none.
	next netip.Addr
}

// route looks an address up in the local and main tables alone.
func (c *Correlator) route(s *space, to netip.Addr) (w ways) {
	if s.has(to) || to.IsMulticast() {
		return ways{local: true}
	}
	n := c.hosts.topology.Namespace(s.id)
	if n == nil {
		return w
	}
	found := -1
	for i := range n.Routes {
		r := &n.Routes[i]
		if !r.Destination.Contains(to) {
			continue
		}
		if r.Local {
			return ways{local: true}
		}
		if found >= 0 {
			best := &n.Routes[found]
			if best.Destination.Bits() != r.Destination.Bits() || best.Metric != r.Metric {
				break
			}
			if best.Link != r.Link {
				return ways{} // one of several
			}
			continue
		}
		found = i
	}
	if found < 0 {
		return ways{none: true}
	}
	r := &n.Routes[found]
	if r.Link == 0 {
		return ways{none: true}
	}
	if w.next = r.Gateway; !w.next.IsValid() {
		w.next = to
	}
	for _, l := range n.Links {
		if l.Key.Index == r.Link {
			w.link = l.Name
		}
	}
	return w
}

// instead says what may have become of a packet that no rule is sure to drop;
// empty when the rules tell nothing of it. standing: they, and where it was routed, are
// known to be those that it met. tooLarge says so of a packet.
func (r *ruling) instead(standing bool, tooLarge string) string {
	switch {
	case r.stop != "":
		return r.stop
	case r.Verdict == netfilter.Accepted && r.decision.Fate == netinfo.FateForwarded && standing:
		return "the rules and routes let it pass, so " + likely(tooLarge, "traffic control (tc) or a BPF program dropped it when it came in")
	case r.Verdict == netfilter.Accepted && standing:
		return "the rules let it pass, so " + likely("it is not to be passed on (ip_forward, or forwarding of IPv6, is off)", "its source is not believed there (rp_filter)")
	case r.Verdict == netfilter.Accepted:
		return "the rules as they are let it pass: " + likely("they were others then", "its source is not believed there (rp_filter)")
	case r.dated:
		return "likely a rule dropped it (" + r.Unsure + ")"
	case r.UnsureRule != nil:
		return fmt.Sprintf("a rule dropped it, or there is no route; the rules can't tell, for %s (%s #%d)", r.Unsure, r.UnsureRule.Chain, r.UnsureRule.Position)
	}
	return ""
}

// acrossInstead is instead for what a bridge was to pass on: no route, and no setting of
// one, has a part in it. noPort says that it had no port for it.
func (r *ruling) acrossInstead(standing bool, noPort string) string {
	switch {
	case r.Verdict == netfilter.Accepted && standing:
		return "the rules let it pass, so " + likely(noPort, "the ports are kept apart (bridge link: isolated, or state)")
	case r.Verdict == netfilter.Accepted:
		return "the rules as they are let it pass: " + likely("they were others then", noPort)
	case r.dated:
		return "likely a rule dropped it (" + r.Unsure + "), or " + noPort
	case r.UnsureRule != nil:
		return fmt.Sprintf("a rule dropped it, or %s; the rules can't tell, for %s (%s #%d)", noPort, r.Unsure, r.UnsureRule.Chain, r.UnsureRule.Position)
	}
	return "a rule dropped it, or " + noPort
}

// decide says in a verdict what the rules say for sure; false when that is nothing.
func (r *ruling) decide(v *Verdict) bool {
	if r.Verdict != netfilter.Dropped && r.Verdict != netfilter.Rejected {
		return false
	}
	v.Result, v.Evidence, v.Hook, v.Reason = Dropped, ByRules, r.Hook, ""
	switch {
	case r.Decisive != nil:
		v.Rule = &Rule{RuleRef: r.Decisive.RuleRef, Evidence: ByRules}
		v.By = fmt.Sprintf("%s #%d", r.Decisive.Chain, r.Decisive.Position)
	case r.Policy != nil:
		v.By = "the policy of " + r.Policy.Name
	default:
		v.Reason = "several rules may have done it: " + r.Unsure
	}
	return true
}

// handOver reports whether a rule is sure to take the packet out of the usual way (queue,
// tproxy), and puts that into v: no tap sees what becomes of it there.
func (r *ruling) handOver(v *Verdict) bool {
	if r.Verdict != netfilter.Handed || r.Decisive == nil {
		return false
	}
	v.Result, v.Evidence = Unfinished, ByRules
	v.Rule = &Rule{RuleRef: r.Decisive.RuleRef, Evidence: ByRules}
	v.Reason = fmt.Sprintf("%s #%d hands it to a program or a socket, or to another link; what becomes of it there is not known", r.Decisive.Chain, r.Decisive.Position)
	return true
}

// rewrote reports whether a rule is sure to have written another address or port into the
// packet, and puts that into v: what is seen of it then looks like another packet, and
// connection tracking tells of that one.
func (r *ruling) rewrote(v *Verdict) bool {
	if r.Rewriter == nil {
		return false
	}
	v.Result, v.Evidence = Unfinished, ByRules
	v.Rule = &Rule{RuleRef: *r.Rewriter, Evidence: ByRules}
	v.Reason = fmt.Sprintf("%s #%d writes other addresses or ports into it without NAT, and what it is then is not known to be this packet", r.Rewriter.Chain, r.Rewriter.Position)
	return true
}
