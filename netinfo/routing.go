package netinfo

import (
	"fmt"
	"net/netip"
	"strings"
)

// Routing is what a namespace's kernel goes by when it decides where a packet that comes
// in goes: ip-rule(8), the routes of all tables, and settings.
type Routing struct {
	// Rules are those of IPv4, then those of IPv6, each in the order in which they are
	// asked.
	Rules []RoutingRule
	// Routes are those of each table, long prefixes first, then low metrics.
	Routes   []TableRoute
	Forward6 bool          // net.ipv6.conf.all.forwarding
	Links    []LinkRouting // by index; a port of a bridge has none, it hands all to the bridge
}

// LinkRouting is the settings of IP for what comes in by a link (net.ipv4.conf.LINK.*),
// those for all links (net.ipv4.conf.all.*) included where the kernel joins them
// (include/linux/inetdevice.h).
type LinkRouting struct {
	Link          int32
	Forwarding    bool `json:",omitempty"`
	RPFilter      int  `json:",omitempty"` // 0 off, 1 strict, 2 loose: the greater of all's and its own
	RPFilterOfAll bool `json:",omitempty"` // that is all's
	AcceptLocal   bool `json:",omitempty"`
	RouteLocalnet bool `json:",omitempty"`
	ValidMark     bool `json:",omitempty"` // src_valid_mark
	Forward6      bool `json:",omitempty"` // net.ipv6.conf.LINK.force_forwarding (Linux 6.17)
}

// RoutingRule is one rule of ip-rule(8). What it does not ask for has its zero value.
type RoutingRule struct {
	Is6              bool `json:",omitempty"`
	Priority         uint32
	Invert           bool         `json:",omitempty"`
	From, To         netip.Prefix `json:",omitzero"`
	In, Out          string       `json:",omitempty"`
	Mark, Mask       uint32       `json:",omitempty"`
	Protocol         uint8        `json:",omitempty"`
	SourcePorts      [2]uint16    `json:",omitzero"`
	DestinationPorts [2]uint16    `json:",omitzero"`
	Action           RuleAction
	Table            uint32 `json:",omitempty"`
	Goto             uint32 `json:",omitempty"`
	// Suppress is one more than the length up to which prefixes are passed over.
	Suppress int `json:",omitempty"`
	// Other: it asks for something else, which is not known here.
	Other bool `json:",omitempty"`
}

// RuleAction is what a RoutingRule does (FR_ACT_* in include/uapi/linux/fib_rules.h).
type RuleAction uint8

const (
	RuleToTable     RuleAction = 1
	RuleGoto        RuleAction = 2
	RuleNothing     RuleAction = 3
	RuleBlackhole   RuleAction = 6
	RuleUnreachable RuleAction = 7
	RuleProhibit    RuleAction = 8
)

// RouteType is what a route does (RTN_* in include/uapi/linux/rtnetlink.h).
type RouteType uint8

const (
	RouteUnicast     RouteType = 1
	RouteLocal       RouteType = 2
	RouteBroadcast   RouteType = 3
	RouteAnycast     RouteType = 4
	RouteMulticast   RouteType = 5
	RouteBlackhole   RouteType = 6
	RouteUnreachable RouteType = 7
	RouteProhibit    RouteType = 8
	RouteThrow       RouteType = 9
)

// TableRoute is a route of any table and type.
type TableRoute struct {
	Table       uint32
	Type        RouteType
	Destination netip.Prefix
	Metric      int       `json:",omitempty"`
	TOS         uint8     `json:",omitempty"` // only for packets that have it
	Hops        []NextHop `json:",omitempty"` // of a route that leads somewhere; those that are dead are left out
}

// NextHop is one way that a route leads.
type NextHop struct {
	Link    int32
	Gateway netip.Addr `json:",omitzero"` // invalid where the destination is on the link
}

// Tables that every namespace has (RT_TABLE_*).
const (
	TableDefault = 253
	TableMain    = 254
	TableLocal   = 255
)

func tableName(n uint32) string {
	switch n {
	case TableDefault:
		return "default"
	case TableMain:
		return "main"
	case TableLocal:
		return "local"
	}
	return fmt.Sprint(n)
}

var actionWords = map[RuleAction]string{RuleNothing: "nop", RuleBlackhole: "blackhole", RuleUnreachable: "unreachable", RuleProhibit: "prohibit"}

// String returns the rule as ip rule prints it, but for what is not known here.
func (r *RoutingRule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:", r.Priority)
	add := func(format string, args ...any) { fmt.Fprintf(&b, " "+format, args...) }
	if r.Invert {
		add("not")
	}
	from := "all"
	if r.From.IsValid() {
		from = prefixText(r.From)
	}
	add("from %s", from)
	if r.To.IsValid() {
		add("to %s", prefixText(r.To))
	}
	if r.Mask != 0 {
		add("fwmark %#x", r.Mark)
		if r.Mask != 1<<32-1 {
			fmt.Fprintf(&b, "/%#x", r.Mask)
		}
	}
	if r.In != "" {
		add("iif %s", r.In)
	}
	if r.Out != "" {
		add("oif %s", r.Out)
	}
	switch r.Protocol {
	case 0:
	case 1:
		add("ipproto icmp")
	case 6:
		add("ipproto tcp")
	case 17:
		add("ipproto udp")
	default:
		add("ipproto %d", r.Protocol)
	}
	for _, p := range []struct {
		word  string
		ports [2]uint16
	}{{"sport", r.SourcePorts}, {"dport", r.DestinationPorts}} {
		switch {
		case p.ports == [2]uint16{}:
		case p.ports[0] == p.ports[1]:
			add("%s %d", p.word, p.ports[0])
		default:
			add("%s %d-%d", p.word, p.ports[0], p.ports[1])
		}
	}
	switch r.Action {
	case RuleToTable:
		add("lookup %s", tableName(r.Table))
		if r.Suppress > 0 {
			add("suppress_prefixlength %d", r.Suppress-1)
		}
	case RuleGoto:
		add("goto %d", r.Goto)
	default:
		add("%s", actionWords[r.Action])
	}
	return b.String()
}

// prefixText is a prefix as ip(8) writes it: an address by itself where all bits count.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

var routeTypeWords = map[RouteType]string{
	RouteLocal: "local", RouteBroadcast: "broadcast", RouteAnycast: "anycast", RouteMulticast: "multicast", RouteBlackhole: "blackhole",
	RouteUnreachable: "unreachable", RouteProhibit: "prohibit", RouteThrow: "throw",
}

// String returns the route's type and destination as ip route prints them, and its table
// where that is not main.
func (r *TableRoute) String() string {
	s := "default"
	if r.Destination.Bits() > 0 {
		s = prefixText(r.Destination)
	}
	if word := routeTypeWords[r.Type]; word != "" {
		s = word + " " + s
	}
	if r.Table != TableMain {
		s += " table " + tableName(r.Table)
	}
	return s
}

// of returns the settings of a link; false where they are not known.
func (r *Routing) of(link int32) (LinkRouting, bool) {
	for _, l := range r.Links {
		if l.Link == link {
			return l, true
		}
	}
	return LinkRouting{}, false
}
