package netfilter

import "encoding/binary"

// meta reads or sets what the kernel knows beside the packet (nft_meta.c).
func (m *machine) meta(e *expression) {
	if e.hasSource {
		if e.key == metaMark {
			b, k := m.load(e.source, 4)
			m.mark, m.markBits = binary.NativeEndian.Uint32(append(b, 0, 0, 0, 0)), 0
			switch s, ok := slot(e.source); {
			case k == knownValue:
				m.markBits = allBits
			case k == partlyKnown && ok:
				m.markBits = binary.NativeEndian.Uint32(m.registersBits[s][:])
			}
			m.marker = m.rule
		}
		return
	}
	switch e.key {
	case metaMark:
		m.putMark(e.destination)
	case metaL4Proto:
		m.store(e.destination, []byte{byte(m.packet.Tuple.Protocol)})
	case metaNFProto:
		m.store(e.destination, []byte{m.familyOf(e)})
	case metaProtocol:
		m.store(e.destination, binary.BigEndian.AppendUint16(nil, m.etherType()))
	case metaIIFName:
		m.storeName(e.destination, m.packet.InLink, m.hasNone(incomingLink), incomingLink)
	case metaOIFName:
		m.storeName(e.destination, m.packet.OutLink, m.hasNone(outgoingLink), outgoingLink)
	case metaIIF:
		m.storeIndex(e.destination, m.packet.InLink, m.hasNone(incomingLink), incomingLink)
	case metaOIF:
		m.storeIndex(e.destination, m.packet.OutLink, m.hasNone(outgoingLink), outgoingLink)
	case metaBridgeIn:
		m.storeName(e.destination, m.packet.Bridge, m.hasNone(incomingLink), metaName(e.key))
	case metaBridgeOut:
		m.storeName(e.destination, m.packet.Bridge, m.hasNone(outgoingLink), metaName(e.key))
	case metaIIFType:
		const ether = 1 // ARPHRD_ETHER
		known := m.packet.Frame.Known && !m.hasNone(incomingLink)
		m.put(e.destination, binary.NativeEndian.AppendUint16(nil, ether), knownIf(known), metaName(e.key))
	case metaPacketType:
		known := m.packet.Frame.Known && (m.packet.Bridged || m.hook == Ingress)
		m.put(e.destination, []byte{m.packet.Frame.Type}, knownIf(known), metaName(e.key))
	case metaLength:
		m.put(e.destination, binary.NativeEndian.AppendUint32(nil, m.packet.Length), knownIf(m.packet.Length > 0), "its length")
	default:
		m.forget(e.destination, 16, metaName(e.key))
	}
}

// Protocol families (NFPROTO_IPV4, NFPROTO_IPV6).
const (
	familyInet = 1
	familyIPv4 = 2
	familyIPv6 = 10
)

// familyOf is the one that a chain of the expression's family is called with.
func (m *machine) familyOf(e *expression) byte {
	switch familyNames[e.extensionFamily] {
	case "bridge", "netdev", "arp":
		return e.extensionFamily
	}
	return m.family()
}

func (m *machine) family() byte {
	if m.packet.Tuple.Is4() {
		return familyIPv4
	}
	return familyIPv6
}

func knownIf(b bool) knowledge {
	if b {
		return knownValue
	}
	return unknownValue
}

// storeName stores a link's name as the kernel compares it, padded with NUL. An
// empty name is known only at hooks where there is no such link.
func (m *machine) storeName(number uint32, name string, none bool, what string) {
	b := make([]byte, 16)
	if !none {
		copy(b, name)
	}
	m.put(number, b, knownIf(name != "" || none), what)
}

const (
	incomingLink = "the link by which it came in"
	outgoingLink = "the link by which it leaves"
)

// storeIndex stores a link's index; 0 at hooks where there is no such link.
func (m *machine) storeIndex(number uint32, name string, none bool, what string) {
	var index uint32
	found := none
	for i, n := range m.links {
		if !none && name != "" && n == name {
			index, found = uint32(i), true
		}
	}
	m.put(number, binary.NativeEndian.AppendUint32(nil, index), knownIf(found), what)
}

// metaName says what meta asks for, in words.
func metaName(key uint32) string {
	switch key {
	case metaIIFType, metaOIFType:
		return "the kind of its link"
	case metaSocketUser, metaSocketGroup, metaCgroup:
		return "whose socket it is of"
	case metaPacketType:
		return "whom its frame was addressed to"
	case metaBridgeIn:
		return "the bridge by which it came in"
	case metaBridgeOut:
		return "the bridge by which it leaves"
	}
	return "what meta asks for"
}
