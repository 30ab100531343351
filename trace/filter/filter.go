// Package filter is the language in which a person says which journeys to see.
//
// It is the part of pcap-filter(7) that is about IP, with the same meaning, and
// words for what only a journey has. docs/filters.md explains it.
//
//	icmp  icmp6  tcp  udp  sctp  igrp  pim  ah  esp  vrrp  carp  ip  ip6
//	arp  igmp  stp  ether proto NUMBER, and the like: true of no journey
//	[ip|ip6] proto NUMBER|NAME
//	[ip|ip6] [src|dst] host ADDRESS
//	[ip|ip6] [src|dst] net ADDRESS[/LENGTH]   also net 10.1, net A mask M
//	[tcp|udp|sctp] [src|dst] port NUMBER|SERVICE
//	[tcp|udp|sctp] [src|dst] portrange FROM-TO
//	less LENGTH  greater LENGTH
//	EXPR RELATION EXPR                        of len, numbers, HEADER[OFFSET:SIZE]
//	ether [src|dst|host] MAC  ether proto ip|ip6
//	broadcast  multicast  ip multicast  ip6 multicast  vlan [ID]
//	inbound  outbound
//	[src|dst] container NAME
//	[src|dst] network NAME
//	link LINK|NAMESPACE:LINK
//	nat [snat|dnat|redirect|masquerade|netmap]
//	verdict RESULT  flow ID
//	NAME|ADDRESS
//	not X, ! X    X and Y, X && Y    X or Y, X || Y    ( X )
//
// "src or dst" (the default) and "src and dst" stand where src and dst do. As in
// pcap-filter(7), not binds tightest, and and or bind alike, from left to right;
// an identifier behind and or or that says not what it is, is what the one before
// it was: "port 80 or 443". A service's name stands for its number, whatever the
// protocol, and comes from a fixed table, so that a filter means the same on
// every host.
//
// Other than there, a word by itself is a container's name, and an address only
// when no container is called so; names are never looked up as host names. tcp[…]
// is about IPv6, too, and vlan leaves the meaning of what follows as it is. Words
// of pcap-filter(7) that mean nothing on journeys are refused, never taken for
// names.
package filter

import (
	"natlens/capture/packet"
	"natlens/trace"
)

// Filter picks journeys. It is immutable and safe for concurrent use. The zero
// Filter and a nil one pick every journey.
type Filter struct {
	root node
	// negations are all in the expression, inner ones first. Each is judged
	// once for a journey: judged where it stands, at every place anew, nested
	// ones would cost a power of the hops.
	negations []negation
	framed    []framed // all that some files don't tell
}

// Match reports whether the filter picks j: whether its expression is true of the
// packet as it was at any one place. The places are the hops and, where no tap
// saw a side of a translation, what connection tracking says the packet looked
// like there; a journey without hops is judged by its endpoints. So translation
// is no obstacle: the place that knows the address before is enough, and
// "src host A and dst port 80" asks one place for both.
//
// "not X" is true when X is true at no place. It leaves out a packet that shows
// X anywhere: "not port 22" leaves out what comes in for port 2222 and is
// translated to 22.
//
// What is known of the whole journey (container, network by its ends, nat,
// verdict, flow) is true at all its places or at none.
//
// Match does not allocate for expressions with at most 64 negations.
func (f *Filter) Match(j *trace.Journey) bool {
	if f == nil || f.root == nil {
		return true
	}
	known := newTruths(len(f.negations))
	for i, n := range f.negations {
		if !somewhere(n.of, j, known) {
			known.set(i)
		}
	}
	return somewhere(f.root, j, known)
}

// Protocols returns the IP protocols of the packets that can make the filter
// pick a journey, in ascending order: a capture that takes only these misses
// nothing, whatever is translated on the way, because translation leaves the
// protocol as it is. It is nil when any protocol can, and empty but not nil when
// none can.
func (f *Filter) Protocols() []packet.Protocol {
	if f == nil || f.root == nil {
		return nil
	}
	return f.root.bounds().some.protocols().list()
}

// String returns the expression with nothing left to be implied. Parsing it
// gives the same filter. It is empty for a filter that picks everything.
func (f *Filter) String() string {
	if f == nil || f.root == nil {
		return ""
	}
	return f.root.String()
}
