package netfilter

import (
	"fmt"
	"slices"
	"strings"

	"natlens/capture/packet"
)

// Verdict is what the rules make of a packet.
type Verdict string

const (
	Accepted Verdict = "accept"
	Dropped  Verdict = "drop"
	Rejected Verdict = "reject" // dropped, and its sender told
	// Handed: to a program (queue), a local socket (tproxy) or elsewhere; what
	// becomes of it there is not known.
	Handed Verdict = "handed over"
)

// Path is the hooks that a packet passes in one namespace, in order.
type Path []Hook

// The ways through a namespace. Which of them a packet takes is decided by its
// route, after Prerouting has translated its destination: walk Prerouting alone,
// look up the route of Walk.Packet, then walk the rest with it.
var (
	ToHost      = Path{Prerouting, Input}
	ThroughHost = Path{Prerouting, Forward, Postrouting}
	FromHost    = Path{Output, Postrouting}
)

// Step is one rule that the packet matched, or the policy of a base chain.
type Step struct {
	Hook  Hook
	Chain ChainRef // the base chain
	Rule  *RuleRef // nil for a policy
	// Verdict is what the rule made of it: "accept", "drop", "reject", "jump
	// DOCKER", "dnat", …; empty when it only counted, logged or marked it.
	Verdict string
}

// ChainRef names a base chain.
type ChainRef struct {
	Backend             Backend
	Family, Table, Name string
	Hook                Hook
	Priority            int32
}

// NATRule is the rule that translates a flow's first packet.
type NATRule struct {
	Kind string // snat, dnat, redirect, masquerade, netmap
	Hook Hook
	Rule RuleRef
}

// Walk is the evaluation of a ruleset for a packet on a path.
type Walk struct {
	// Verdict is sure, or empty: not known.
	Verdict Verdict
	// Hook is where the packet's way ended; the last of the path if accepted.
	Hook Hook
	// Decisive is the rule that ended it; nil when none did, or when it can't
	// be said which one of several.
	Decisive *Rule
	// Policy is the base chain whose policy ended it; nil when none did.
	Policy *ChainRef
	// Destination and Source are the rules that translate the packet; nil when
	// none does, or when that is not sure. Only the first packet of a flow is
	// shown to them.
	Destination, Source *NATRule
	// Rewriter is the first rule that wrote another address or port into the packet,
	// which is no NAT; nil when none did, or when that is not sure.
	Rewriter *RuleRef
	// Unsure is why Verdict, the rule or a translation is not known, in words;
	// empty when all is. UnsureRule is the rule to blame, if it is one.
	Unsure     string
	UnsureRule *RuleRef
	// Steps are what the packet matched, in order, as far as it is sure.
	Steps []Step
	// Packet is the packet as it leaves the path: translated, with its mark
	// and state. What is not known any more has its zero value; a tuple of
	// which an address is not known is invalid.
	Packet Packet
}

// Walk evaluates what the rules of all backends do with a packet: hook by hook,
// in each the base chains by priority, as nf_hook_slow does
// (net/netfilter/core.c). Rules of NAT see the first packet of a flow only, once
// for each side, at the place where connection tracking asks them
// (net/netfilter/nf_nat_core.c).
//
// What can't be evaluated is tried all ways. Where all lead to one end, it is
// sure; where not, Unsure says what is not known.
//
// It is a pure function: it asks nobody and changes nothing.
func (r *Ruleset) Walk(path Path, p Packet) Walk {
	switch {
	case r == nil:
		return Walk{Unsure: "the rules are not known"}
	case r.Unreadable != nil:
		return Walk{Unsure: "the rules can't be read: " + r.Unreadable.Error()}
	case r.natOnly:
		return Walk{Unsure: "only the rules of NAT are known"}
	}
	if p.OutLink == "" && slices.Contains(path, Egress) && slices.ContainsFunc(r.base, func(c *chain) bool { return c.hook == Egress }) {
		return Walk{Unsure: outgoingLink + " is not known"}
	}
	if p.ofFrames(path) && !r.hasAt(path, &p) {
		w := Walk{Verdict: Accepted, Packet: p}
		if len(path) > 0 {
			w.Hook = path[len(path)-1]
		}
		return w
	}
	if !p.Tuple.Valid() {
		return Walk{Unsure: "the packet's addresses are not known"}
	}
	if t, hidden := r.hidden(p.Tuple.Is4(), false); hidden && !p.ofFrames(path) {
		return Walk{Unsure: fmt.Sprintf("table %s of iptables-legacy can't be read: %s", t.Name, t.Unreadable)}
	}
	all, complete := r.explore(&p, func(x *pass) {
		for _, hook := range path {
			if x.hookOf(hook); x.over() {
				return
			}
		}
		x.verdict = Accepted
		if len(path) > 0 {
			x.at = path[len(path)-1]
		}
	})
	return r.join(all, complete)
}

// join tells what all ways have in common.
func (r *Ruleset) join(all []outcome, complete bool) Walk {
	first := &all[0]
	w := Walk{Verdict: first.verdict, Hook: first.at, Packet: first.left}
	rule, policy, nat, rewriter := first.by, first.policy, first.nats, first.rewriter
	for i := range all {
		o := &all[i]
		if o.verdict != first.verdict || o.aborted != "" || !complete {
			w.Verdict = ""
		}
		if o.by != first.by || o.policy != first.policy {
			rule, policy = nil, nil
		}
		if o.at != first.at {
			w.Hook = ""
		}
		for side := range nat {
			if o.nats[side] != first.nats[side] {
				nat[side] = translated{}
			}
		}
		if o.rewriter != rewriter {
			rewriter = nil
		}
		w.Packet = common(w.Packet, o.left)
	}
	if rewriter != nil {
		w.Rewriter = &rewriter.ref
	}
	if w.Verdict == "" {
		rule, policy, w.Hook = nil, nil, ""
	}
	if rule != nil {
		public := rule.public()
		w.Decisive = &public
	}
	if policy != nil {
		ref := r.chainRef(policy)
		w.Policy = &ref
	}
	w.Destination, w.Source = nat[destinationNAT].public(), nat[sourceNAT].public()
	w.Steps = first.steps
	d, differ := decisiveDoubt(all)
	if differ {
		w.Unsure, w.Steps = d.why, first.steps[:min(d.step, len(first.steps))]
		if d.rule != nil {
			ref := d.rule.ref
			w.UnsureRule = &ref
		}
	}
	switch {
	case !complete:
		w.Unsure = "too much of what rules ask for is not known"
	case !differ:
		w.Unsure = first.aborted
	}
	w.Steps = slices.Clip(w.Steps)
	return w
}

func (t translated) public() *NATRule {
	if t.rule == nil {
		return nil
	}
	return &NATRule{Kind: t.kind, Hook: t.hook, Rule: t.rule.ref}
}

func (r *Ruleset) chainRef(c *chain) ChainRef {
	if c == nil {
		return ChainRef{}
	}
	return ChainRef{Backend: r.backend(c), Family: c.family, Table: c.table, Name: c.name, Hook: c.hook, Priority: c.priority}
}

// common returns what two packets that were one have in common.
func common(a, b Packet) Packet {
	if a.Tuple != b.Tuple {
		a.Tuple = packet.Tuple{}
	}
	a.MarkBits &= b.MarkBits &^ (a.Mark ^ b.Mark)
	a.MarkKnown = a.MarkBits == allBits
	if a.marker != b.marker {
		a.marker = nil
	}
	if a.Frame != b.Frame {
		a.Frame = Frame{}
	}
	if a.original != b.original {
		a.original = packet.Tuple{}
	}
	if a.State != b.State {
		a.State = StateUnknown
	}
	if a.SourceTranslated != b.SourceTranslated {
		a.SourceTranslated = NotKnown
	}
	if a.DestinationTranslated != b.DestinationTranslated {
		a.DestinationTranslated = NotKnown
	}
	return a
}

// Priorities at which the kernel itself acts (enum nf_ip_hook_priorities).
const (
	priorityConntrack = -200
	priorityNATDst    = -100
	priorityNATSrc    = 100
)

// hookOf walks the base chains of one hook.
func (x *pass) hookOf(hook Hook) {
	x.enter(hook)
	x.untranslated = true
	natAt := int32(priorityNATDst)
	if sideOf(hook) == sourceNAT {
		natAt = priorityNATSrc
	}
	tracks := hook == Prerouting || hook == Output
	asked := hook == Forward || hook == Ingress || hook == Egress || x.packet.Bridged // no NAT there
	for i := 0; i < len(x.rules.base) && !x.over(); {
		same := i
		for ; i < len(x.rules.base) && x.rules.base[i].priority == x.rules.base[same].priority; i++ {
		}
		priority := x.rules.base[same].priority
		if !asked && priority > natAt {
			asked = true
			if x.nat(hook); x.over() {
				return
			}
		}
		x.tracked = !tracks && hook != Ingress || tracks && priority >= priorityConntrack || x.packet.InLink == "lo"
		x.group(x.rules.base[same:i], hook)
	}
	if !asked && !x.over() {
		x.nat(hook)
	}
	x.tracked = true
}

// early walks the base chains of one hook that come before connection tracking.
func (x *pass) early(hook Hook) {
	x.enter(hook)
	x.tracked = x.packet.InLink == "lo"
	for i := 0; i < len(x.rules.base) && x.rules.base[i].priority < priorityConntrack && !x.over(); {
		same := i
		for ; i < len(x.rules.base) && x.rules.base[i].priority == x.rules.base[same].priority; i++ {
		}
		x.group(x.rules.base[same:i], hook)
	}
}

// nat shows the packet to the chains of NAT, in their order, until one translates
// it. They see it when it begins a flow.
func (x *pass) nat(hook Hook) {
	x.enter(hook)
	x.tracked, x.untranslated = true, true
	defer func() { x.untranslated = false }()
	if !x.begins() {
		x.followFlow(hook)
		return
	}
	side := sideOf(hook)
	if x.nats[side].rule != nil {
		return
	}
	for i := 0; i < len(x.rules.base) && !x.over() && x.nats[side].rule == nil; {
		same := i
		var list []*chain
		for ; i < len(x.rules.base) && x.rules.base[i].priority == x.rules.base[same].priority; i++ {
			if c := x.rules.base[i]; c.kind == "nat" && c.hook == hook && c.sees(&x.packet) {
				list = append(list, c)
			}
		}
		x.inAnyOrder(list, func() bool { return x.nats[side].rule != nil })
	}
	if p := &x.packet; x.opens() && side == destinationNAT && x.nats[side].rule == nil && (!p.Translated.Valid() || p.Translated == p.Tuple) {
		p.DestinationTranslated = False
	}
	if !x.over() {
		x.followFlow(hook)
	}
}

// begins reports whether the packet is shown to the rules of NAT.
func (x *pass) begins() bool {
	if x.packet.Bound {
		return false
	}
	switch x.state {
	case StateNew:
		return true
	case StateRelated: // what a helper expects begins a flow, an error does not
		return x.packet.Tuple.Protocol != packet.ICMP && x.packet.Tuple.Protocol != packet.ICMPv6
	case StateUnknown:
		if x.choose(2, nil, "whether the packet begins a flow is not known") == 0 {
			x.state = StateNew
			return true
		}
	}
	return false
}

// group walks base chains of one priority.
func (x *pass) group(base []*chain, hook Hook) {
	var list []*chain
	for _, c := range base {
		if c.hook == hook && c.kind != "nat" && c.sees(&x.packet) && x.packet.meets(c) {
			list = append(list, c)
		}
	}
	x.inAnyOrder(list, func() bool { return false })
}

// HasIngress reports whether a chain is at the ingress of a link.
func (r *Ruleset) HasIngress(link string) bool {
	return r != nil && r.hasAt(Path{Ingress}, &Packet{InLink: link})
}

// ofFrames reports whether the hooks of a path are those of links and bridges, where
// IP's rules have no part.
func (p *Packet) ofFrames(path Path) bool {
	return p.Bridged || !slices.ContainsFunc(path, func(h Hook) bool { return h != Ingress && h != Egress })
}

// hasAt reports whether a chain at one of the hooks sees the packet.
func (r *Ruleset) hasAt(path Path, p *Packet) bool {
	return slices.ContainsFunc(r.base, func(c *chain) bool { return slices.Contains(path, c.hook) && c.sees(p) && p.meets(c) })
}

// meets reports whether the chain is at the packet's link, where that counts.
func (p *Packet) meets(c *chain) bool {
	name := ""
	switch c.hook {
	case Ingress:
		name = p.InLink
	case Egress:
		name = p.OutLink
	default:
		return true
	}
	return slices.ContainsFunc(c.devices, func(device string) bool {
		prefix, wild := strings.CutSuffix(device, "*")
		return device == name || wild && strings.HasPrefix(name, prefix)
	})
}

// inAnyOrder walks chains of one priority, until the packet's way ends or done
// says so. Which of them comes first depends on when they were made, and that
// can't be read: they are tried in every order in which one of them is first.
func (x *pass) inAnyOrder(list []*chain, done func() bool) {
	for len(list) > 0 && !x.over() && !done() {
		i := 0
		if len(list) > 1 && anyActs(list) {
			i = x.choose(len(list), nil, "two chains of one priority differ, and their order can't be read")
		}
		x.base(list[i])
		list = slices.Concat(list[:i], list[i+1:])
	}
}

// anyActs reports whether the order of chains can matter: more than one has a
// rule or a policy other than accept.
func anyActs(list []*chain) bool {
	n := 0
	for _, c := range list {
		if len(c.rules) > 0 || c.policy != verdictAccept {
			n++
		}
	}
	return n > 1
}
