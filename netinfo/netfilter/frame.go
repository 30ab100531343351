package netfilter

import (
	"encoding/binary"
	"net/netip"

	"natlens/capture/packet"
)

// Frame is the Ethernet header of a packet; the zero Frame is not known.
type Frame struct {
	Known               bool
	Source, Destination [6]byte
	// Type is to whom it was addressed: PACKET_HOST, _BROADCAST, _MULTICAST or
	// _OTHERHOST (linux/if_packet.h).
	Type uint8
	// VLAN is the number in its tag; 0: it has none.
	VLAN uint16
}

// etherType is what the packet is.
func (m *machine) etherType() uint16 {
	if m.packet.Tuple.Is4() {
		return etherIPv4
	}
	return etherIPv6
}

const (
	tagOffset  = 14
	linkHeader = 14
	tagLength  = 4
)

// fillFrame lays out the header of the frame. Rules see the tag of a VLAN where it was,
// though the kernel has taken it out (nft_payload_copy_vlan).
func (m *machine) fillFrame() {
	m.link = fields{}
	f := &m.packet.Frame
	if !f.Known {
		return
	}
	m.link.put(0, f.Destination[:]...)
	m.link.put(6, f.Source[:]...)
	kind := binary.BigEndian.AppendUint16(nil, m.etherType())
	if f.VLAN == 0 {
		m.link.put(12, kind...)
		return
	}
	m.link.put(12, etherVLAN>>8, etherVLAN&0xff)
	m.link.put(linkHeader+2, kind...)
}

// hasFrame reports whether the header that the packet came with stands before it at
// this hook. Packets of this namespace's own have none before they leave, and
// what is routed gets another.
func (m *machine) hasFrame() bool {
	switch m.hook {
	case Ingress, Prerouting, Input, Forward:
		return true
	}
	return m.packet.Bridged
}

// tag loads the tag of a VLAN, of which the priority is not known. It reports false
// when e is no such load.
func (m *machine) tag(e *expression) bool {
	f := &m.packet.Frame
	if !f.Known || f.VLAN == 0 || e.offset != tagOffset || e.length != 2 || !m.hasFrame() {
		return false
	}
	m.put(e.destination, binary.BigEndian.AppendUint16(nil, f.VLAN), partlyKnown, "the priority in its VLAN tag")
	if s, ok := slot(e.destination); ok {
		m.registersBits[s] = [4]byte{0x0f, 0xff}
	}
	return true
}

// rewrite puts bytes into a header, and reports whether that may have changed an address
// or a port. They are known behind it where one is replaced as a whole, as nft does.
func (m *machine) rewrite(e *expression) (moved bool) {
	b, k := m.load(e.source, int(min(e.length, 64)))
	f := &m.packet.Frame
	switch end := e.offset + e.length; {
	case e.base == payloadLink && k == knownValue && e.length == 6 && e.offset == 0:
		copy(f.Destination[:], b)
	case e.base == payloadLink && k == knownValue && e.length == 6 && e.offset == 6:
		copy(f.Source[:], b)
	case e.base == payloadLink:
		f.Known = false
	case k == knownValue && m.replace(e, b):
		moved = true
	case e.base == payloadNetwork && (end > 12 || !m.packet.Tuple.Is4() && end > 8):
		m.addressKnown, moved = [2]bool{}, true
	case e.base == payloadTransport && e.offset < 4:
		m.portKnown, moved = [2]bool{}, true
	}
	m.fill()
	return moved
}

// replace puts a whole address or port into the packet; false where it is neither.
func (m *machine) replace(e *expression, b []byte) bool {
	t := m.packet.Tuple
	source, destination := t.Source(), t.Destination()
	at, size := uint32(8), uint32(16) // of the first address
	if t.Is4() {
		at, size = 12, 4
	}
	address, _ := netip.AddrFromSlice(b)
	switch {
	case e.base == payloadNetwork && e.length == size && e.offset == at && m.addressKnown[destinationSide]:
		source, m.addressKnown[sourceSide] = address, true
	case e.base == payloadNetwork && e.length == size && e.offset == at+size && m.addressKnown[sourceSide]:
		destination, m.addressKnown[destinationSide] = address, true
	case e.base == payloadTransport && t.HasPorts() && e.length == 2 && e.offset == 0:
		t.SourcePort, m.portKnown[sourceSide] = binary.BigEndian.Uint16(b), true
	case e.base == payloadTransport && t.HasPorts() && e.length == 2 && e.offset == 2:
		t.DestinationPort, m.portKnown[destinationSide] = binary.BigEndian.Uint16(b), true
	default:
		return false
	}
	m.packet.Tuple = packet.NewTuple(t.Protocol, source, destination, t.SourcePort, t.DestinationPort)
	return true
}

// hasNone reports whether packets have no link of that kind at this hook.
func (m *machine) hasNone(link string) bool {
	if link == outgoingLink {
		return m.hook == Prerouting || m.hook == Input || m.hook == Ingress
	}
	return m.hook == Output || m.hook == Egress || m.packet.Bridged && m.hook == Postrouting
}
