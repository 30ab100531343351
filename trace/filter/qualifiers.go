package filter

// what a primitive's identifier is.
type what uint8

const (
	unsaid what = iota // a container's name, else an address
	isHost
	isNet
	isPort
	isPortRange
	isContainer
	isProto
	isStation
	isNetwork
	isLink
	isNAT
	isVerdict
	isFlow
)

var whats = map[string]what{
	"host": isHost, "net": isNet, "port": isPort, "portrange": isPortRange, "container": isContainer,
	"proto": isProto, "network": isNetwork, "link": isLink, "nat": isNAT, "verdict": isVerdict, "flow": isFlow,
}

var directions = map[string]direction{"src": sourceEnd, "dst": destinationEnd}

// hasEnds reports whether src and dst can stand before it.
func (w what) hasEnds() bool {
	switch w {
	case isProto, isLink, isNAT, isVerdict, isFlow:
		return false
	}
	return true
}

// isName reports whether any word is a name there.
func (w what) isName() bool { return w == isContainer || w == isNetwork || w == isLink || w == isProto }

// qualifiers say what an identifier means. They are handed on to identifiers
// behind and and or that have none.
type qualifiers struct {
	protocol  node // nil for none
	direction direction
	what      what
	given     bool // something was said
}

// fits reports whether the protocol can qualify what was said: as in
// pcap-filter(7), ports have a transport protocol and addresses a version of IP.
func (q qualifiers) fits() bool {
	switch _, version := q.protocol.(family); q.what {
	case isPort, isPortRange:
		return !version
	case unsaid, isHost, isNet, isContainer, isNetwork, isProto:
		return version
	}
	return false
}

// of returns q with another meaning of the identifier, for a message.
func (q qualifiers) of(w what) qualifiers {
	q.what = w
	return q
}

// needs says in words what must follow.
var needs = [...]struct{ who, what string }{
	unsaid:      {"", "a container's name or an address"},
	isHost:      {"host", "an address"},
	isNet:       {"net", "a network such as 172.17.0.0/16"},
	isPort:      {"port", "a number or a service name"},
	isPortRange: {"portrange", "two ports such as 8000-8080"},
	isContainer: {"container", "a name"},
	isProto:     {"proto", "a protocol's number or name"},
	isStation:   {"ether", "a MAC such as 02:42:ac:11:00:02"},
	isNetwork:   {"network", "a name"},
	isLink:      {"link", "a name such as eth0 or back:eth0"},
	isNAT:       {"nat", "snat, dnat, redirect, masquerade or netmap"},
	isVerdict:   {"verdict", "delivered, left, dropped, vanished, flooded, looped or unfinished"},
	isFlow:      {"flow", "a conntrack id such as 3047873481"},
}
