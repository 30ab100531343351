package trace

import (
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
	// stop is why the packet could not go through all hooks; empty when it
	// could. Then Walk is of the hooks before.
	stop string
	to   netip.Addr // where it was going, behind the translation
	link string     // by which it was to leave; empty when that is not known
	// back is why a bridge does not send it back where it came from; then Walk is of
	// the hooks before that.
	back string
}

// rule evaluates the rules of the namespace in which the last of hops was seen:
// what they do there with a packet that came in and was not seen to leave. Rules
// of NAT are asked for the first packet of a flow only.
func (c *Correlator) rule(hops []sighting) (r ruling, ok bool) {
	s := &hops[len(hops)-1]
	rules := c.rulesets[s.point.Namespace]
	if rules == nil || !c.mayRule() || s.link == nil || s.point.Direction != capture.In || !s.tuple.Valid() || c.foreign {
		return r, false
	}
	p := c.question(hops)
	port := s.link.master != (netinfo.LinkKey{})
	if port && !c.forBridge(s) {
		return c.ruleOfBridge(rules, s, p), true
	}
	r.Walk = rules.Walk(netfilter.Path{netfilter.Prerouting}, p)
	if r.Verdict != netfilter.Accepted {
		return r, true
	}
	if s.flow.flow == nil && !c.tracks(s) {
		r.Packet.Tuple = p.Tuple // without connection tracking nothing is translated
	}
	tuple := r.Packet.Tuple
	if !tuple.Valid() {
		r.Verdict, r.Unsure = "", "where a rule sends the packet is not known"
		return r, true
	}
	r.to = tuple.Destination()
	var path netfilter.Path
	switch where := c.route(s.space, r.to); {
	case where.local:
		path = netfilter.Path{netfilter.Input}
	case where.none:
		r.stop = fmt.Sprintf("no route to %v in the main table of %s", r.to, s.space.name)
		return r, true
	default:
		if r.back = c.notSentBack(s, r.to); r.back != "" {
			return r, true
		}
		r.link, path = where.link, netfilter.Path{netfilter.Forward, netfilter.Postrouting}
	}
	next := r.Packet
	next.OutLink = r.link
	before := r.Walk
	r.Walk = rules.Walk(path, next)
	if r.Destination == nil {
		r.Destination = before.Destination
	}
	r.Steps = append(before.Steps, r.Steps...)
	return r, true
}

// maxRulings is how many packets are walked through the rules in a second of their
// time. One takes about 20 µs with Docker's rules, and half a millisecond where
// much of what they ask for is not known: a flood that is dropped must not hold up
// all else.
const maxRulings = 500

// mayRule reports whether another packet can be walked through the rules now.
func (c *Correlator) mayRule() bool {
	if second := c.now / 1e9; second != c.ruled.second {
		c.ruled.second, c.ruled.packets = second, 0
	}
	c.ruled.packets++
	return c.ruled.packets <= maxRulings
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

// ruleOfBridge evaluates what happens to a frame that a bridge is to pass on to
// another of its ports.
func (c *Correlator) ruleOfBridge(rules *netfilter.Ruleset, s *sighting, p netfilter.Packet) (r ruling) {
	frame := p
	frame.Bridged, frame.InLink, frame.Translated = true, s.link.name, packet.Tuple{}
	r.to = p.Tuple.Destination()
	r.Walk = rules.Walk(netfilter.ThroughHost, frame)
	if r.Verdict != netfilter.Accepted {
		return r
	}
	r.link = p.InLink
	p.OutLink = p.InLink
	switch rules.SeesBridged(p.Tuple.Is4()) {
	case netfilter.True:
		r.Walk = rules.Walk(netfilter.ThroughHost, p)
	case netfilter.NotKnown:
		r.Verdict, r.Unsure = "", "whether the rules of IP see what is bridged is not known"
	}
	return r
}

// question is the packet as the rules of the last hop's namespace see it first.
func (c *Correlator) question(hops []sighting) netfilter.Packet {
	s := &hops[len(hops)-1]
	first := s
	for i := len(hops) - 2; i >= 0 && hops[i].point.Namespace == s.point.Namespace && hops[i].point.Direction == capture.In; i-- {
		first = &hops[i]
	}
	rules := c.rulesets[s.point.Namespace]
	p := netfilter.Packet{
		Tuple: first.tuple, InLink: c.hosts.layer3(s.link), LocalAddress: s.space.has, MarkKnown: !rules.SetsMarks(), Length: s.h.Length, Time: s.time,
		TCPFlags: s.h.TCPFlags, TCPFlagsKnown: s.h.Layers.Has(packet.LayerTCP),
	}
	if first.link != nil && first.link.master != (netinfo.LinkKey{}) {
		p.InPort = first.link.name
	}
	if first.tuple != s.tuple {
		p.Translated = s.tuple
	}
	switch f := s.flow.flow; {
	case f != nil && s.flow.about:
	case f != nil:
		c.known(&p, s.flow)
	case c.uncovered(s) && begins(s.h):
		p.State, p.Direction = netfilter.StateNew, netfilter.DirectionOriginal
	}
	return p
}

// known adds what the packet's flow tells.
func (c *Correlator) known(p *netfilter.Packet, r flowRef) {
	p.Bound, p.Direction = true, netfilter.DirectionOriginal
	switch status := r.flow.Status; {
	case r.reply:
		p.State, p.Direction = netfilter.StateEstablished, netfilter.DirectionReply
	case status&(netfilter.SeenReply|netfilter.Expected) == 0:
		p.State = netfilter.StateNew
	default:
		// Whether somebody had answered when this packet came is not known,
		// only that somebody has since.
	}
	forms := r.flow.direction(r.reply)
	if p.Tuple == forms.before {
		p.Translated = forms.half
	}
	// NAT of a flow is said of its original direction.
	p.SourceTranslated = fact(r.flow.Status&netfilter.SrcNAT != 0)
	p.DestinationTranslated = fact(r.flow.Status&netfilter.DstNAT != 0)
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

// route looks an address up in the local and main tables. Other tables and the
// rules that lead to them are not known here.
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
// empty when the rules tell nothing of it. standing: they were the same when it came.
func (r *ruling) instead(standing bool) string {
	switch {
	case r.stop != "":
		return r.stop
	case r.Verdict == netfilter.Accepted && standing:
		return "the rules let it pass, so " + likely("it is not to be passed on (ip_forward, or forwarding of IPv6, is off)", "its source is not believed there (rp_filter)")
	case r.Verdict == netfilter.Accepted:
		return "the rules as they are let it pass: " + likely("they were others then", "its source is not believed there (rp_filter)")
	case r.UnsureRule != nil:
		return fmt.Sprintf("a rule dropped it, or there is no route; the rules can't tell, for %s (%s #%d)", r.Unsure, r.UnsureRule.Chain, r.UnsureRule.Position)
	}
	return ""
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
