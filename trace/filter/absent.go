package filter

import (
	"slices"
	"strconv"

	"natlens/capture/packet"
)

// absent is a protocol beside IP, whose packets make no journeys, so that it is true
// of none. It is there to be left out, "not arp", and beside others, "arp or icmp".
type absent string

func (a absent) match(sighting) bool { return false }

func (a absent) bounds() bounds { return bounds{} }

func (a absent) String() string { return string(a) }

// absentWords are the words that pcap-filter(7) has for them.
var absentWords = []absent{
	"arp", "rarp", "stp", "ipx", "iso", "clnp", "esis", "isis", "netbeui", "atalk", "aarp", "decnet", "lat", "moprc", "mopdl",
}

// absentType is ether proto with that type.
func absentType(n uint32) absent {
	switch n {
	case 0x0806:
		return "arp"
	case 0x8035:
		return "rarp"
	}
	return absent("ether proto 0x" + strconv.FormatUint(uint64(n), 16))
}

// noJourney says that something makes no journeys.
func noJourney(what string, event bool) string {
	if event {
		return what + " makes no journeys: see it with --events"
	}
	return what + " makes no journeys"
}

// Absent returns what the filter asks for, rather than leaves out, and what makes no
// journeys, each once. Events has those that are shown as events instead: address
// resolution and group membership.
func (f *Filter) Absent() (events, others []string) {
	if f == nil || f.root == nil {
		return nil, nil
	}
	onlyICMPv6 := f.root.bounds().some.protocols() == protocols(packet.ICMPv6)
	var look func(n node, asked bool)
	look = func(n node, asked bool) {
		switch m := n.(type) {
		case negation:
			look(m.of, !asked)
		case combination:
			look(m.left, asked)
			look(m.right, asked)
		default:
			byByte := onlyICMPv6 && isTypeBehindIP(n)
			if list := &others; asked && (absence(n) || byByte) {
				if byByte || isEvent(n) {
					list = &events
				}
				if word := n.String(); !slices.Contains(*list, word) {
					*list = append(*list, word)
				}
			}
		}
	}
	look(f.root, true)
	return events, others
}

// absence reports whether no packet that makes a journey can be what n asks for.
func absence(n node) bool {
	_, beside := n.(absent)
	return beside || isEvent(n)
}

// absentIn returns the first part of n that makes no journeys; nil when there is none.
func absentIn(n node) node {
	switch n := n.(type) {
	case negation:
		return absentIn(n.of)
	case combination:
		if left := absentIn(n.left); left != nil {
			return left
		}
		return absentIn(n.right)
	}
	if absence(n) {
		return n
	}
	return nil
}

// isEvent reports whether n asks for what makes events.
func isEvent(n node) bool {
	switch n := n.(type) {
	case absent:
		return n == "arp"
	case protocol:
		return n.number == packet.IGMP
	case relation:
		return isEventType(n, field{icmp6Header, 0, 1})
	}
	return false
}

// isTypeBehindIP is isEvent for "ip6[40] = 135", where only ICMPv6 is asked for.
func isTypeBehindIP(n node) bool {
	r, ok := n.(relation)
	return ok && isEventType(r, captured{ip6Header, constant(40), 1})
}

// isEventType reports whether typ is compared with a type of ICMPv6 that is of
// neighbour discovery or of group membership (RFC 4861, 2710, 3810).
func isEventType(r relation, typ value) bool {
	is, ok := r.right.(constant)
	of := r.left
	if !ok {
		is, ok = r.left.(constant)
		of = r.right
	}
	return ok && r.operator == "=" && of == typ && (is >= 130 && is <= 137 || is == 143)
}

// never reports whether n picks nothing because of what is absent.
func never(n node) bool {
	switch n := n.(type) {
	case negation:
		return always(n.of)
	case combination:
		if n.and {
			return never(n.left) || never(n.right)
		}
		return never(n.left) && never(n.right)
	}
	return absence(n)
}

// always reports whether n picks everything because of what is absent.
func always(n node) bool {
	switch n := n.(type) {
	case negation:
		return never(n.of)
	case combination:
		if n.and {
			return always(n.left) && always(n.right)
		}
		return always(n.left) || always(n.right)
	}
	return false
}
