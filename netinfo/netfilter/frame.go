package netfilter

import "encoding/binary"

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

// rewrite puts bytes into a header. Addresses and ports that may have changed are not
// known any more.
func (m *machine) rewrite(e *expression) {
	b, k := m.load(e.source, int(min(e.length, 64)))
	f := &m.packet.Frame
	switch end := e.offset + e.length; {
	case e.base == payloadLink && k == knownValue && e.length == 6 && e.offset == 0:
		copy(f.Destination[:], b)
	case e.base == payloadLink && k == knownValue && e.length == 6 && e.offset == 6:
		copy(f.Source[:], b)
	case e.base == payloadLink:
		f.Known = false
	case e.base == payloadNetwork && (end > 12 || !m.packet.Tuple.Is4() && end > 8):
		m.addressKnown = [2]bool{}
	case e.base == payloadTransport && e.offset < 4:
		m.portKnown = [2]bool{}
	}
	m.fill()
}

// hasNone reports whether packets have no link of that kind at this hook.
func (m *machine) hasNone(link string) bool {
	if link == outgoingLink {
		return m.hook == Prerouting || m.hook == Input || m.hook == Ingress
	}
	return m.hook == Output || m.hook == Egress || m.packet.Bridged && m.hook == Postrouting
}
