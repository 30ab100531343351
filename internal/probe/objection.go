package probe

import (
	"net/netip"

	"natlens/capture/packet"
)

// Objection is an ICMP error about a probe: somebody tells its sender why it got no
// further.
type Objection struct {
	// From is who says so: one of the sender's own addresses when its own kernel does, as
	// where no neighbour answers.
	From       netip.Addr
	Type, Code uint8 // of ICMP or, where From is an IPv6 address, of ICMPv6
}

// String returns the words of RFC 792 and RFC 4443: "port unreachable".
func (x Objection) String() string {
	h := packet.Headers{ICMPType: x.Type, ICMPCode: x.Code}
	h.Layers = packet.LayerICMP | packet.LayerIPv4
	if x.From.Is6() {
		h.Layers = packet.LayerICMP | packet.LayerIPv6
	}
	return h.ICMPName()
}

// portUnreachable is what a host says of a datagram that nothing listens for, and what
// rules say that reject without being told what to say (iptables-extensions(8), REJECT).
func (x Objection) portUnreachable() bool {
	if x.From.Is6() {
		return x.Type == 1 && x.Code == 4
	}
	return x.Type == 3 && x.Code == 3
}

// prohibits reports the errors by which routers tell that somebody forbade it (RFC 1812,
// section 5.2.7.1; RFC 4443, section 3.1).
func (x Objection) prohibits() bool {
	if x.From.Is6() {
		return x.Type == 1 && (x.Code == 1 || x.Code == 5)
	}
	return x.Type == 3 && (x.Code == 9 || x.Code == 10 || x.Code == 13)
}

// objectionIn returns what the observed answers tell, where the socket was told nothing;
// nil when none of them is an error.
func (p *Journeys) objectionIn() *Objection {
	for _, j := range p.Back {
		for i := range j.Hops {
			if h := &j.Hops[i].Headers; h.Quoted.Valid() {
				return &Objection{From: h.Tuple.Source(), Type: h.ICMPType, Code: h.ICMPCode}
			}
		}
	}
	return nil
}
