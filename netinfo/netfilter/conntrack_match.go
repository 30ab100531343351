package netfilter

import "encoding/binary"

// Keys of ct expressions (enum nft_ct_keys).
const (
	ctState     = 0
	ctDirection = 1
	ctStatus    = 2
	ctMark      = 3
	ctZone      = 17
)

// Bits of the state in a register, NF_CT_STATE_BIT (nf_conntrack_common.h).
const (
	stateInvalidBit     = 1
	stateEstablishedBit = 2
	stateRelatedBit     = 4
	stateNewBit         = 8
	stateUntrackedBit   = 64
)

// stateBit is what a rule sees of the packet's state; false when it is not known.
func (m *machine) stateBit() (uint32, bool) {
	state := m.state
	if !m.tracked && state != StateUntracked {
		if m.packet.InLink == "lo" {
			return 0, false // it may carry what was said of it on its way out
		}
		state = StateInvalid // a packet that was not looked up is no better
	}
	switch state {
	case StateNew:
		return stateNewBit, true
	case StateEstablished:
		return stateEstablishedBit, true
	case StateRelated:
		return stateRelatedBit, true
	case StateInvalid:
		return stateInvalidBit, true
	case StateUntracked:
		return stateUntrackedBit, true
	}
	return 0, false
}

const stateOfPacket = "what connection tracking says of the packet"

// ct runs a ct expression, which loads or sets. A packet outside of any flow has but a
// state, and a rule that asks it for more does not match (nft_ct_get_eval).
func (m *machine) ct(e *expression) truth {
	if e.hasSource {
		switch e.key {
		case ctMark:
			b, k := m.load(e.source, 4)
			m.connMark, m.connMarkKnown = binary.NativeEndian.Uint32(append(b, 0, 0, 0, 0)), k == knownValue
		case ctZone:
			m.setZone(e)
		}
		return yes
	}
	if e.key != ctState && m.flowless() {
		return no
	}
	switch e.key {
	case ctState:
		bit, known := m.stateBit()
		m.put(e.destination, binary.NativeEndian.AppendUint32(nil, bit), knownIf(known), stateOfPacket)
	case ctDirection:
		d := byte(0)
		if m.packet.Direction == DirectionReply {
			d = 1
		}
		m.put(e.destination, []byte{d}, knownIf(m.packet.Direction != DirectionUnknown && m.inFlow()), stateOfPacket)
	case ctMark:
		m.put(e.destination, binary.NativeEndian.AppendUint32(nil, m.connMark), knownIf(m.connMarkKnown && m.inFlow()), "the mark of its flow")
	case ctStatus:
		m.putStatus(e.destination)
	default:
		m.begun(e)
	}
	return yes
}

// flowless reports whether the packet is known to belong to no flow at this place.
func (m *machine) flowless() bool {
	bit, known := m.stateBit()
	return known && bit&(stateInvalidBit|stateUntrackedBit) != 0
}

// inFlow reports whether the packet is known to belong to a flow at this place.
func (m *machine) inFlow() bool {
	return m.tracked && (m.state == StateNew || m.state == StateEstablished || m.state == StateRelated)
}

// xtConntrack is struct xt_conntrack_mtinfo2 and 3, as far as it is evaluated.
type xtConntrack struct {
	match, invert uint16
	state, status uint16
	addresses     [4][2][16]byte // address and mask: source and destination of both directions
	protocol      uint16
	ports         [4][2]uint16 // likewise, from and to
	expires       [2]uint32
}

// Flags of xtConntrack (xt_conntrack.h).
const (
	conntrackState      = 1 << 0
	conntrackProtocol   = 1 << 1
	conntrackAddress    = 1 << 2 // and the three bits behind it
	conntrackStatus     = 1 << 6
	conntrackExpires    = 1 << 7
	conntrackPort       = 1 << 8 // likewise
	conntrackAddresses  = 15 * conntrackAddress
	conntrackPorts      = 15 * conntrackPort
	conntrackDirection  = 1 << 12
	conntrackStateAlias = 1 << 13

	conntrackStateUntracked      = 1 << 8
	conntrackStateSourceNAT      = 1 << 6
	conntrackStateDestinationNAT = 1 << 7
)

func decodeXTConntrack(e *expression) (c xtConntrack, ok bool) {
	b := e.data
	if e.revision < 2 || e.revision > 3 || len(b) < 154 {
		return c, false
	}
	for i := range c.addresses {
		c.addresses[i] = [2][16]byte{[16]byte(b[32*i:]), [16]byte(b[32*i+16:])}
	}
	c.expires = [2]uint32{binary.NativeEndian.Uint32(b[128:]), binary.NativeEndian.Uint32(b[132:])}
	c.protocol = binary.NativeEndian.Uint16(b[136:])
	c.match, c.invert = binary.NativeEndian.Uint16(b[146:]), binary.NativeEndian.Uint16(b[148:])
	c.state, c.status = binary.NativeEndian.Uint16(b[150:]), binary.NativeEndian.Uint16(b[152:])
	for i := range c.ports {
		if e.revision == 2 { // in network order, one port
			port := binary.BigEndian.Uint16(b[138+2*i:])
			c.ports[i] = [2]uint16{port, port}
			continue
		}
		if len(b) < 162 {
			return c, false
		}
		c.ports[i] = [2]uint16{binary.NativeEndian.Uint16(b[138+2*i:]), binary.NativeEndian.Uint16(b[154+2*i:])}
	}
	return c, true
}

// conntrack evaluates -m conntrack: its state, and NAT in the place of a state, the
// direction, and how its flow began.
func (m *machine) conntrack(e *expression) truth {
	c, ok := decodeXTConntrack(e)
	if e.extension == "state" && len(e.data) >= 4 { // struct xt_state_info
		c, ok = xtConntrack{match: conntrackState, state: uint16(binary.NativeEndian.Uint32(e.data))}, true
	}
	if !ok {
		m.why = stateOfPacket
		return maybe
	}
	began := m.conntrackBegan(e, &c)
	if began == no || c.match&conntrackState == 0 {
		return began
	}
	state := m.conntrackState(&c)
	if state == yes {
		return began
	}
	return state
}

func (m *machine) conntrackState(c *xtConntrack) truth {
	bit, known := m.stateBit()
	if bit == stateUntrackedBit {
		bit = conntrackStateUntracked
	}
	hit := truthOf(uint32(c.state)&bit != 0)
	if !known {
		m.why, hit = stateOfPacket, maybe
	}
	for _, nat := range []struct {
		bit  uint16
		fact Fact
	}{{conntrackStateSourceNAT, m.sourceTranslated()}, {conntrackStateDestinationNAT, m.destinationTranslated()}} {
		if c.state&nat.bit == 0 || hit == yes || known && !m.inFlow() {
			continue
		}
		switch {
		case nat.fact == True && m.inFlow():
			hit = yes
		case nat.fact != False:
			m.why, hit = "what NAT does to its flow", maybe
		}
	}
	if c.invert&conntrackState != 0 {
		return not(hit)
	}
	return hit
}
