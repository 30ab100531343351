package netfilter

import "encoding/binary"

// status returns the bits of the status of the packet's flow, and which of them are
// known. Those of a flow that the packet begins are not set yet.
func (m *machine) status() (value, known uint32) {
	set := func(s Status, is Fact) {
		if is != NotKnown {
			known |= uint32(s)
		}
		if is == True {
			value |= uint32(s)
		}
	}
	if !m.inFlow() {
		return 0, 0
	}
	set(SrcNAT, m.sourceTranslated())
	set(DstNAT, m.destinationTranslated())
	switch m.state {
	case StateNew:
		set(SeenReply|Assured, False)
		if m.opens() {
			set(Expected|Confirmed, False)
		}
	case StateEstablished:
		set(SeenReply|Confirmed, True)
	}
	return value, known
}

// sourceTranslated and destinationTranslated say whether that side of the packet's flow is
// translated. Of a flow that the packet begins it is not before NAT is asked: for the
// destination at the first hook, for the source at the last.
func (m *machine) sourceTranslated() Fact {
	if m.opens() && (m.untranslated || m.hook != Postrouting && m.hook != Input) {
		return False
	}
	return m.packet.SourceTranslated
}

func (m *machine) destinationTranslated() Fact {
	if m.opens() && m.untranslated && (m.hook == Prerouting || m.hook == Output) {
		return False
	}
	return m.packet.DestinationTranslated
}

// opens reports whether the packet begins a flow in this hook or one before, and has
// passed no others: what comes by lo has passed those of its way out.
func (m *machine) opens() bool {
	return m.state == StateNew && !m.packet.Bound && m.packet.InLink != "lo"
}

// putStatus stores the status of the packet's flow, as far as it is known.
func (m *machine) putStatus(number uint32) {
	value, known := m.status()
	m.put(number, binary.NativeEndian.AppendUint32(nil, value), partlyKnown, stateOfPacket)
	if s, ok := slot(number); ok {
		binary.NativeEndian.PutUint32(m.registersBits[s][:], known)
	}
}
