package jsonl

import (
	"net/netip"

	"natlens/capture/packet"
)

// end is one end of a tuple.
type end struct {
	IP   netip.Addr `json:"ip"`
	Port *uint16    `json:"port,omitempty"` // TCP and UDP
}

// ends is a tuple without its protocol.
type ends struct {
	Source      *end       `json:"source,omitempty"`
	Destination *end       `json:"destination,omitempty"`
	ICMP        *icmpTuple `json:"icmp,omitempty"`
}

// icmpTuple is what conntrack keeps of an ICMP packet instead of ports.
type icmpTuple struct {
	Type uint8   `json:"type"`
	Code uint8   `json:"code"`
	ID   *uint16 `json:"id,omitempty"` // of queries and their answers
}

// tuple is a tuple with its protocol.
type tuple struct {
	Protocol string `json:"protocol"`
	ends
}

func newEnd(ip netip.Addr, port uint16, hasPort bool) *end {
	if !ip.IsValid() {
		return nil
	}
	e := &end{IP: ip}
	if hasPort {
		e.Port = &port
	}
	return e
}

func newEnds(t packet.Tuple) ends {
	e := ends{
		Source:      newEnd(t.Source(), t.SourcePort, t.HasPorts()),
		Destination: newEnd(t.Destination(), t.DestinationPort, t.HasPorts()),
	}
	if t.Valid() && (t.Protocol == packet.ICMP || t.Protocol == packet.ICMPv6) {
		e.ICMP = &icmpTuple{Type: uint8(t.DestinationPort >> 8), Code: uint8(t.DestinationPort)}
		if t.Inverse().DestinationPort != t.DestinationPort { // a type that has an answer has an id
			id := t.SourcePort
			e.ICMP.ID = &id
		}
	}
	return e
}

func newTuple(t packet.Tuple) *tuple {
	if !t.Valid() {
		return nil
	}
	return &tuple{Protocol: t.Protocol.String(), ends: newEnds(t)}
}
