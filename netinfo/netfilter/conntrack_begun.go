package netfilter

import (
	"encoding/binary"

	"natlens/capture/packet"
)

// More keys of ct expressions, which ask for one direction of the flow: those of old
// kernels, whose addresses are of the chain's family, and those of both families.
const (
	ctSource          = 8
	ctDestination     = 9
	ctSourcePort      = 11
	ctDestinationPort = 12
	ctSource4         = 19
	ctDestination4    = 20
	ctSource6         = 21
	ctDestination6    = 22
)

// ctOriginal is IP_CT_DIR_ORIGINAL.
const ctOriginal = 0

// begun loads how the packet's flow began, as far as that is known: its addresses and
// ports before any translation here. Of the other direction nothing is known before
// its first packet has come.
func (m *machine) begun(e *expression) {
	t := m.packet.original
	if !e.hasOperation || e.operation != ctOriginal || !t.Valid() || !m.inFlow() {
		m.forget(e.destination, 16, stateOfPacket)
		return
	}
	var b []byte
	switch e.key {
	case ctSource, ctSource4, ctSource6:
		b = t.Source().AsSlice()
	case ctDestination, ctDestination4, ctDestination6:
		b = t.Destination().AsSlice()
	case ctSourcePort, ctDestinationPort:
		port := t.SourcePort
		if e.key == ctDestinationPort {
			port = t.DestinationPort
		}
		if hasPorts(t) {
			b = binary.BigEndian.AppendUint16(nil, port)
		}
	}
	four := e.key == ctSource4 || e.key == ctDestination4
	six := e.key == ctSource6 || e.key == ctDestination6
	if b == nil || four && !t.Is4() || six && t.Is4() {
		m.forget(e.destination, 16, stateOfPacket)
		return
	}
	m.store(e.destination, b)
}

func hasPorts(t packet.Tuple) bool {
	return t.Protocol == packet.TCP || t.Protocol == packet.UDP || t.Protocol == packet.SCTP
}

// conntrackBegan evaluates what -m conntrack asks for beside the state. The kernel
// asks a packet outside of any flow for nothing but that (conntrack_mt).
func (m *machine) conntrackBegan(e *expression, c *xtConntrack) truth {
	asked := c.match &^ (conntrackState | conntrackStateAlias)
	if asked == 0 {
		return yes
	}
	t := m.packet.original
	switch {
	case m.flowless():
		return truthOf(c.match&conntrackState != 0)
	case !m.inFlow():
		m.why = stateOfPacket
		return maybe
	}
	all := yes
	meet := func(bit uint16, holds truth) {
		if asked&bit == 0 {
			return
		}
		asked &^= bit
		if c.invert&bit != 0 {
			holds = not(holds)
		}
		if holds == no || all == yes {
			all = holds
		}
	}
	if d := m.packet.Direction; d != DirectionUnknown {
		meet(conntrackDirection, truthOf(d == DirectionOriginal))
	} else if m.state == StateNew {
		meet(conntrackDirection, yes)
	}
	meet(conntrackProtocol, truthOf(c.protocol == uint16(m.packet.Tuple.Protocol)))
	if value, known := m.status(); uint32(c.status)&value != 0 || uint32(c.status)&^known == 0 {
		meet(conntrackStatus, truthOf(uint32(c.status)&value != 0))
	}
	if t.Valid() {
		for i, a := range [][]byte{t.Source().AsSlice(), t.Destination().AsSlice()} {
			meet(conntrackAddress<<i, truthOf(masked(a, c.addresses[i])))
		}
		if hasPorts(t) {
			for i, port := range []uint16{t.SourcePort, t.DestinationPort} {
				meet(conntrackPort<<i, truthOf(port >= c.ports[i][0] && port <= c.ports[i][1]))
			}
		}
	}
	if asked != 0 && all == yes {
		m.why = stateOfPacket
		return maybe
	}
	return all
}

// masked reports whether an address is that of a match, behind its mask.
func masked(a []byte, of [2][16]byte) bool {
	for i := range a {
		if (a[i]^of[0][i])&of[1][i] != 0 {
			return false
		}
	}
	return true
}
