package netinfo

import (
	"fmt"
	"net/netip"
	"slices"
)

// RouteQuery is a packet that came in, as it is when it is routed: behind the rules of
// prerouting.
type RouteQuery struct {
	Source, Destination         netip.Addr
	Protocol                    uint8
	SourcePort, DestinationPort uint16 // 0 of a protocol that has none
	In                          int32  // index of the link; of a bridge, not of its port
	Mark                        uint32
	MarkBits                    uint32 // which bits of Mark are known
}

// Fate is where a packet goes.
type Fate uint8

const (
	FateUnknown   Fate = iota
	FateLocal          // to the namespace itself
	FateForwarded      // out again
	FateRefused        // nowhere
)

// Refusal is why a packet is refused.
type Refusal uint8

const (
	NotRefused  Refusal = iota
	NoRoute             // nothing leads there
	Blackhole           // a route or rule of that kind: dropped without a word
	Unreachable         // likewise: the sender is told
	Prohibit
	NotForwarding // what came in by that link is not passed on
	ReversePath   // answers would not go out by the link that it came in by (rp_filter, RFC 3704)
	Martian       // such a source or destination can't come in by a link
)

// Decision is what a namespace's kernel does with a packet that came in.
type Decision struct {
	Fate    Fate
	Refusal Refusal
	// Route and Rule decided; nil where none did. Of ReversePath they are those of the
	// way back.
	Route *TableRoute
	Rule  *RoutingRule
	// Link and Next are by which it goes out and to whom; 0 and invalid where it goes by
	// one of several.
	Link int32
	Next netip.Addr
	// Why is what is not known, of FateUnknown; of a Martian what it is.
	Why string
	// Setting decided, of NotForwarding, ReversePath and some Martians: "net.ipv4.ip_forward = 0".
	Setting string
}

// Decide works out what becomes of a packet, as ip_route_input_slow (net/ipv4/route.c)
// and ip6_forward (net/ipv6/ip6_output.c) do. It is a pure function; a namespace whose
// Routing is not known decides nothing.
func (n *Namespace) Decide(q RouteQuery) Decision {
	if n == nil || n.Routing == nil {
		return unknown("its routes and settings")
	}
	d := decider{n: n, r: n.Routing, q: q}
	if q.Source.Is4() {
		return d.decide4()
	}
	return d.decide6()
}

// Same reports whether two decisions are the same and for the same reason.
func (d Decision) Same(e Decision) bool {
	texts := func(d Decision) (s [2]string) {
		if d.Route != nil {
			s[0] = d.Route.String()
		}
		if d.Rule != nil {
			s[1] = d.Rule.String()
		}
		return s
	}
	return d.Fate == e.Fate && d.Refusal == e.Refusal && d.Link == e.Link && d.Next == e.Next && d.Setting == e.Setting && d.Why == e.Why && texts(d) == texts(e)
}

type decider struct {
	n *Namespace
	r *Routing
	q RouteQuery
}

func unknown(format string, args ...any) Decision {
	return Decision{Why: fmt.Sprintf(format, args...)}
}

// in is the name of the link by which the packet came in.
func (d decider) in() string { return d.linkName(d.q.In) }

// martian is a packet that may not come in with such an address.
func martian(setting, format string, args ...any) Decision {
	return Decision{Fate: FateRefused, Refusal: Martian, Setting: setting, Why: fmt.Sprintf(format, args...)}
}

func (d *decider) decide4() Decision {
	link, ok := d.r.of(d.q.In)
	in := d.in()
	switch from, to := d.q.Source, d.q.Destination; {
	case !ok || in == "lo":
		return unknown("the settings of the link by which it came in")
	case from.IsMulticast(), from == limitedBroadcast:
		return martian("", "%v is no address to send from", from)
	case to.IsMulticast(), to == limitedBroadcast, from.IsUnspecified():
		return unknown("who takes what is for many")
	case (from.IsLoopback() || to.IsLoopback()) && !link.RouteLocalnet:
		a := to
		if from.IsLoopback() {
			a = from
		}
		return martian("net.ipv4.conf."+in+".route_localnet = 0", "%v is an address for lo alone", a)
	}
	found := d.lookUp(lookup{from: d.q.Source, to: d.q.Destination, in: d.q.In, ports: [2]uint16{d.q.SourcePort, d.q.DestinationPort}, marked: true})
	notForwarding := Decision{Fate: FateRefused, Refusal: NotForwarding, Setting: "net.ipv4.conf." + in + ".forwarding = 0"}
	if !slices.ContainsFunc(d.r.Links, func(l LinkRouting) bool { return l.Forwarding }) {
		notForwarding.Setting = "net.ipv4.ip_forward = 0"
	}
	switch {
	case found.Fate == FateUnknown:
		return found
	case found.Fate == FateRefused && !link.Forwarding:
		return notForwarding // no error is sent then (ip_error)
	case found.Fate == FateRefused:
		return found
	case found.Fate == FateLocal && found.Route.Type == RouteLocal:
		return d.believe(link, found)
	case found.Fate == FateLocal:
		return found // a broadcast
	case !link.Forwarding:
		return notForwarding
	}
	return d.believe(link, found)
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// believe checks the source of a packet that goes where found says, as
// __fib_validate_source does (net/ipv4/fib_frontend.c).
func (d *decider) believe(link LinkRouting, found Decision) Decision {
	back := d.lookUp(lookup{
		from: d.q.Destination, to: d.q.Source, in: found.Link, fromSelf: found.Fate == FateLocal, ports: [2]uint16{d.q.DestinationPort, d.q.SourcePort}, marked: link.ValidMark,
	})
	in := d.in()
	setting := fmt.Sprintf("net.ipv4.conf.%s.rp_filter = %d", in, link.RPFilter)
	if link.RPFilterOfAll {
		setting = fmt.Sprintf("net.ipv4.conf.all.rp_filter = %d", link.RPFilter)
	}
	disbelieved := Decision{Fate: FateRefused, Refusal: ReversePath, Setting: setting, Route: back.Route, Rule: back.Rule, Link: back.Link}
	switch {
	case back.Fate == FateUnknown && (link.RPFilter != 0 || d.n.HasAddress(d.q.Source)):
		return unknown("the way back: %s", back.Why)
	case back.Fate == FateUnknown:
		return found
	case back.Fate == FateRefused && link.RPFilter != 0:
		return disbelieved
	case back.Fate == FateRefused:
		return found
	case back.Fate == FateLocal && back.Route.Type == RouteLocal && !link.AcceptLocal:
		return martian("net.ipv4.conf."+in+".accept_local = 0", "its source %v is an address of %s's own", d.q.Source, d.n.Name)
	case back.Fate == FateLocal && back.Route.Type == RouteLocal:
		return unknown("whether a source of its own is believed") // by which link, the local table tells in part
	case back.Fate == FateLocal:
		return martian("", "its source %v is a broadcast address", d.q.Source)
	case link.RPFilter == 1 && !slices.ContainsFunc(back.Route.Hops, func(h NextHop) bool { return h.Link == d.q.In }):
		return disbelieved
	case link.RPFilter != 0 && !d.numbered():
		return unknown("whether a source is believed on a link without an address")
	}
	return found
}

// numbered reports whether the link has an address of IPv4.
func (d *decider) numbered() bool {
	for _, l := range d.n.Links {
		if l.Key.Index == d.q.In {
			return slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() })
		}
	}
	return false
}

func (d *decider) decide6() Decision {
	link, ok := d.r.of(d.q.In)
	switch from, to := d.q.Source, d.q.Destination; {
	case !ok || d.in() == "lo":
		return unknown("the settings of the link by which it came in")
	case to.IsMulticast(), to.IsLinkLocalUnicast(), from.IsLinkLocalUnicast(), from.IsMulticast(), from.IsUnspecified(), from.IsLoopback(), to.IsLoopback():
		return unknown("what is for one link alone")
	}
	found := d.lookUp(lookup{from: d.q.Source, to: d.q.Destination, in: d.q.In, ports: [2]uint16{d.q.SourcePort, d.q.DestinationPort}, marked: true})
	if found.Fate == FateForwarded && !d.r.Forward6 && !link.Forward6 {
		return Decision{Fate: FateRefused, Refusal: NotForwarding, Setting: "net.ipv6.conf.all.forwarding = 0"}
	}
	return found
}
