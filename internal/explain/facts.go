// Package explain gathers what an explanation of this host rests on, and works
// out what follows from it: which way packets take, which rule translates them,
// what listens behind a published port. It writes no sentence; views do.
package explain

import (
	"net/netip"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// Facts is what is known of a host at one moment. It is immutable and safe for
// concurrent use. Its maps may be nil: then nothing of that kind was asked.
type Facts struct {
	Topology *netinfo.Topology
	Sockets  map[netns.ID]Sockets
	Rules    map[netns.ID]Rules
	// Holders are the commands of the processes that hold natlens's own
	// namespace's sockets on published ports, by the socket's inode.
	Holders map[uint64]string
	// Forwarding is net.ipv4.ip_forward of natlens's own namespace: "1", "0",
	// or "" when it is not known.
	Forwarding string
	// BridgeFilter is net.bridge.bridge-nf-call-iptables there: "1" when bridges
	// show packets to the rules of IP, "0" when they do not (or can't, without
	// the module br_netfilter), or "" when it is not known.
	BridgeFilter string
}

// Sockets is what listens in a namespace, or why that is not known.
type Sockets struct {
	Listeners []netinfo.Listener // by port
	Err       error
}

// Rules answers what the rules of a namespace do to a packet, or says why
// that is not known. NAT and Walk have the contracts of netfilter.Ruleset's; they
// are functions so that a host can be described without a kernel.
type Rules struct {
	NAT  func(netfilter.Hook, netfilter.Packet) netfilter.Match
	Walk func(netfilter.Path, netfilter.Packet) netfilter.Walk
	// Hidden: some of the rules are iptables-legacy's, and could not be read.
	Hidden bool
	Err    error
}

// Outside4 and Outside6 stand for any address that is not on this host. They
// are from the blocks kept for documentation (RFC 5737, RFC 3849).
var (
	Outside4 = netip.MustParseAddr("198.51.100.7")
	Outside6 = netip.MustParseAddr("2001:db8::7")
)

// outsideOf returns the outside address of a's family.
func outsideOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return Outside4
	}
	return Outside6
}
