package filter

import (
	"net/netip"
	"strconv"

	"natlens/capture/packet"
)

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

// prefix is host and net: a host is a network of one address.
type prefix struct {
	direction direction
	prefix    netip.Prefix // masked
	host      bool         // for String
}

func (n prefix) match(s sighting) bool {
	return n.direction.of(n.prefix.Contains(s.source), n.prefix.Contains(s.destination))
}

func (n prefix) bounds() bounds {
	if n.prefix.Addr().Is4() {
		return bounds{some: kinds(ip4, everyProtocol)}
	}
	return bounds{some: kinds(ip6, everyProtocol)}
}

func (n prefix) String() string {
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

func (p ports) match(s sighting) bool {
	if !s.ports || p.protocol != 0 && p.protocol != s.protocol {
		return false
	}
	within := func(port uint16) bool { return p.low <= port && port <= p.high }
	return p.direction.of(within(s.sourcePort), within(s.destinationPort))
}

func (p ports) bounds() bounds {
	if p.protocol != 0 {
		return bounds{some: kinds(anyFamily, protocols(p.protocol))}
	}
	return bounds{some: kinds(anyFamily, protocols(packet.TCP, packet.UDP, packet.SCTP))}
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

// group is ip multicast and ip6 multicast: a destination that is a group's
// address.
type group struct{ version family }

func (g group) match(s sighting) bool { return g.version.match(s) && s.destination.IsMulticast() }

func (g group) bounds() bounds { return bounds{some: kinds(g.version, everyProtocol)} }

func (g group) String() string { return g.version.String() + " multicast" }
