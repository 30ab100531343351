package filter

import (
	"net/netip"
	"strconv"

	"natlens/capture/packet"
)

// node is a part of an expression.
type node interface {
	match(*sighting) bool
	bounds() bounds
	String() string
}

// direction says which end of the packet a primitive is about.
type direction uint8

const (
	eitherEnd direction = iota // src or dst
	sourceEnd
	destinationEnd
	bothEnds
)

// of combines what is true of the source and of the destination.
func (d direction) of(source, destination bool) bool {
	switch d {
	case sourceEnd:
		return source
	case destinationEnd:
		return destination
	case bothEnds:
		return source && destination
	}
	return source || destination
}

// prefix is the direction as it stands before a primitive.
func (d direction) prefix() string {
	return [...]string{"", "src ", "dst ", "src and dst "}[d]
}

// family is the protocol that a primitive is limited to, where it matters which
// IP it is over.
type family uint8

const (
	anyFamily family = iota
	ip4
	ip6
)

func (f family) match(s *sighting) bool {
	switch f {
	case ip4:
		return s.is4()
	case ip6:
		return s.is6()
	}
	return true
}

func (f family) bounds() bounds { return bounds{some: everyProtocol} }

func (f family) String() string { return [...]string{"", "ip", "ip6"}[f] }

// protocol is one of the protocols above IP.
type protocol packet.Protocol

func (p protocol) match(s *sighting) bool {
	switch packet.Protocol(p) {
	case packet.ICMP:
		return s.protocol == packet.ICMP && s.is4()
	case packet.ICMPv6:
		return s.protocol == packet.ICMPv6 && s.is6()
	}
	return s.protocol == packet.Protocol(p)
}

func (p protocol) bounds() bounds {
	b := bounds{some: protocols(packet.Protocol(p))}
	if p := packet.Protocol(p); p != packet.ICMP && p != packet.ICMPv6 {
		b.every = b.some
	}
	return b
}

func (p protocol) String() string { return packet.Protocol(p).String() }

// network is host and net: a host is a network of one address.
type network struct {
	direction direction
	prefix    netip.Prefix // masked
	host      bool         // for String
}

func (n network) match(s *sighting) bool {
	return n.direction.of(n.prefix.Contains(s.source), n.prefix.Contains(s.destination))
}

func (n network) bounds() bounds { return bounds{some: everyProtocol} }

func (n network) String() string {
	if n.host {
		return n.direction.prefix() + "host " + n.prefix.Addr().String()
	}
	return n.direction.prefix() + "net " + n.prefix.String()
}

// ports is port and portrange. Only first fragments and whole packets have
// ports.
type ports struct {
	direction direction
	protocol  packet.Protocol // 0: any that has ports
	low, high uint16
}

func (p ports) match(s *sighting) bool {
	if !s.ports || p.protocol != 0 && p.protocol != s.protocol {
		return false
	}
	within := func(port uint16) bool { return p.low <= port && port <= p.high }
	return p.direction.of(within(s.sourcePort), within(s.destinationPort))
}

func (p ports) bounds() bounds {
	if p.protocol != 0 {
		return bounds{some: protocols(p.protocol)}
	}
	return bounds{some: protocols(packet.TCP, packet.UDP, packet.SCTP)}
}

func (p ports) String() string {
	var s string
	if p.protocol != 0 {
		s = p.protocol.String() + " "
	}
	s += p.direction.prefix()
	if p.low == p.high {
		return s + "port " + strconv.Itoa(int(p.low))
	}
	return s + "portrange " + strconv.Itoa(int(p.low)) + "-" + strconv.Itoa(int(p.high))
}

// container is a container by its name.
type container struct {
	direction direction
	name      string
}

func (c container) match(s *sighting) bool {
	if c.direction == eitherEnd {
		return s.at(c.name)
	}
	return c.direction.of(s.from(c.name), s.to(c.name))
}

func (c container) bounds() bounds { return bounds{some: everyProtocol} }

func (c container) String() string { return c.direction.prefix() + "container " + c.name }

type negation struct{ of node }

func (n negation) match(s *sighting) bool { return !n.of.match(s) }

func (n negation) bounds() bounds {
	b := n.of.bounds()
	return bounds{some: b.every.complement(), every: b.some.complement()}
}

func (n negation) String() string { return "not " + operand(n.of) }

// combination is and and or.
type combination struct {
	and         bool
	left, right node
}

func (c combination) match(s *sighting) bool {
	if c.and {
		return c.left.match(s) && c.right.match(s)
	}
	return c.left.match(s) || c.right.match(s)
}

func (c combination) bounds() bounds {
	l, r := c.left.bounds(), c.right.bounds()
	if c.and {
		return bounds{some: l.some.intersection(r.some), every: l.every.intersection(r.every)}
	}
	return bounds{some: l.some.union(r.some), every: l.every.union(r.every)}
}

func (c combination) String() string {
	word := " or "
	if c.and {
		word = " and "
	}
	return c.left.String() + word + operand(c.right)
}

// operand is n as it stands where a combination needs parentheses.
func operand(n node) string {
	if _, ok := n.(combination); ok {
		return "(" + n.String() + ")"
	}
	return n.String()
}
