package filter

import (
	"strconv"

	"natlens/capture/packet"
)

// family is the protocol that a primitive is limited to, where it matters which
// IP it is over.
type family uint8

const (
	anyFamily family = iota
	ip4
	ip6
)

func (f family) match(s sighting) bool {
	switch f {
	case ip4:
		return s.is4()
	case ip6:
		return s.is6()
	}
	return true
}

func (f family) bounds() bounds {
	k := kinds(f, everyProtocol)
	return bounds{some: k, every: k}
}

func (f family) String() string { return [...]string{"", "ip", "ip6"}[f] }

// protocol is a protocol above IP: behind the extension headers of IPv6, where
// there are any.
type protocol struct {
	number packet.Protocol
	over   family
}

func (p protocol) match(s sighting) bool { return s.protocol == p.number && p.over.match(s) }

func (p protocol) bounds() bounds {
	k := kinds(p.over, protocols(p.number))
	return bounds{some: k, every: k}
}

func (p protocol) String() string {
	for word, n := range protocolWords {
		if n == node(p) {
			return word
		}
	}
	number := "proto " + strconv.Itoa(int(p.number))
	if p.over == anyFamily {
		return number
	}
	return p.over.String() + " " + number
}

// Numbers of protocols that package packet has no names for (IANA "Assigned
// Internet Protocol Numbers").
const (
	igrp packet.Protocol = 9
	esp  packet.Protocol = 50
	ah   packet.Protocol = 51
	pim  packet.Protocol = 103
	vrrp packet.Protocol = 112
)

// protocolWords are the protocols by name, over the IP that pcap-filter(7) looks
// for them in. ah is an exception: in IPv6 it is an extension header, which
// packet.Headers tells no more of than that it was passed.
var protocolWords = map[string]node{
	"ip": ip4, "ip6": ip6,
	"icmp": protocol{packet.ICMP, ip4}, "icmp6": protocol{packet.ICMPv6, ip6},
	"tcp": protocol{packet.TCP, anyFamily}, "udp": protocol{packet.UDP, anyFamily},
	"sctp": protocol{packet.SCTP, anyFamily}, "igmp": protocol{packet.IGMP, ip4},
	"igrp": protocol{igrp, ip4}, "pim": protocol{pim, anyFamily},
	"ah": protocol{ah, ip4}, "esp": protocol{esp, anyFamily}, "vrrp": protocol{vrrp, ip4},
}

// inIPv6 are the extension headers that packet.Headers looks behind.
var inIPv6 = map[packet.Protocol]string{
	0: "hop-by-hop options", 43: "routing headers", 44: "fragment headers", ah: "ah", 60: "destination options",
}

// protocolNumber reads what stands behind proto: a number or a name, which may
// have a backslash before it as pcap-filter(7) wants it.
func protocolNumber(s string) (packet.Protocol, bool) {
	if len(s) > 1 && s[0] == '\\' {
		s = s[1:]
	}
	if p, ok := protocolWords[s].(protocol); ok {
		return p.number, true
	}
	if n, ok := protocolNames[s]; ok {
		return n, true
	}
	n, ok := number(s)
	return packet.Protocol(n), ok && n <= 255
}

// number reads a number as C and pcap-filter(7) write it: 13, 0x0d, 015.
func number(s string) (uint32, bool) {
	base := 10
	switch {
	case len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X"):
		base, s = 16, s[2:]
	case len(s) > 1 && s[0] == '0':
		base, s = 8, s[1:]
	}
	n, err := strconv.ParseUint(s, base, 32)
	return uint32(n), err == nil
}
