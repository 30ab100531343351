package netfilter

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"natlens/capture/packet"
)

// knowledge says how much is known of a register.
type knowledge uint8

const (
	unknownValue knowledge = iota
	knownValue
	notLocal // the type of an address: anything but local
)

// machine is nf_tables' virtual machine (net/netfilter/nf_tables_core.c), run
// on what is known of a packet. What is not known stays so through every step:
// a comparison with it neither holds nor fails.
type machine struct {
	packet         *Packet
	hook           Hook
	mark           uint32
	markKnown      bool
	network        fields
	transport      fields
	sets           map[string]*set
	registers      [16][4]byte
	registersKnown [16]knowledge
	// mapped is the verdict that a lookup in a verdict map found.
	mapped verdict
}

// fields is the part of a header whose bytes a Packet tells.
type fields struct {
	bytes [40]byte
	known [40]bool
}

func (f *fields) put(offset int, b ...byte) {
	for i, v := range b {
		f.bytes[offset+i], f.known[offset+i] = v, true
	}
}

func newMachine(hook Hook, p *Packet) *machine {
	m := &machine{packet: p, hook: hook, mark: p.Mark, markKnown: p.MarkKnown}
	t := p.Tuple
	if t.Is4() {
		source, destination := t.Source().As4(), t.Destination().As4()
		m.network.put(9, byte(t.Protocol))
		m.network.put(12, source[:]...)
		m.network.put(16, destination[:]...)
	} else {
		source, destination := t.Source().As16(), t.Destination().As16()
		m.network.put(8, source[:]...)
		m.network.put(24, destination[:]...)
	}
	switch t.Protocol {
	case packet.TCP, packet.UDP:
		m.transport.put(0, byte(t.SourcePort>>8), byte(t.SourcePort), byte(t.DestinationPort>>8), byte(t.DestinationPort))
	case packet.ICMP, packet.ICMPv6:
		m.transport.put(0, byte(t.DestinationPort>>8), byte(t.DestinationPort))
		m.transport.put(4, byte(t.SourcePort>>8), byte(t.SourcePort))
	}
	return m
}

// truth is the outcome of a condition.
type truth uint8

const (
	no truth = iota
	yes
	maybe
)

func not(t truth) truth { return [...]truth{yes, no, maybe}[t] }

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// slot turns a register's number into the first of its 4-byte words: 1 to 4 are
// the old registers of 16 bytes, 8 to 23 the words themselves.
func slot(number uint32) (int, bool) {
	switch {
	case number >= 1 && number <= 4:
		return int(number-1) * 4, true
	case number >= 8 && number <= 23:
		return int(number - 8), true
	}
	return 0, false
}

// store puts bytes into registers from number on.
func (m *machine) store(number uint32, b []byte, k knowledge) {
	s, ok := slot(number)
	for i := 0; ok && i < len(b) && s < len(m.registers); i, s = i+4, s+1 {
		m.registers[s] = [4]byte{}
		copy(m.registers[s][:], b[i:])
		m.registersKnown[s] = k
	}
}

// forget makes n bytes of registers unknown.
func (m *machine) forget(number uint32, n int) { m.store(number, make([]byte, n), unknownValue) }

// load takes n bytes out of registers. The least that is known of any of them
// is known of all.
func (m *machine) load(number uint32, n int) ([]byte, knowledge) {
	s, ok := slot(number)
	if !ok || n == 0 || s+(n+3)/4 > len(m.registers) {
		return nil, unknownValue
	}
	b := make([]byte, 0, n+3)
	k := knownValue
	for i := s; len(b) < n; i++ {
		b = append(b, m.registers[i][:]...)
		switch m.registersKnown[i] {
		case unknownValue:
			k = unknownValue
		case notLocal:
			if k == knownValue {
				k = notLocal
			}
		}
	}
	return b[:n], k
}

// condition runs an expression that is no verdict and no translation. yes means
// go on, no that the rule does not match.
func (m *machine) condition(e *expression) truth {
	if e.opaque {
		return m.opaque(e)
	}
	switch e.name {
	case "counter", "log":
		return yes
	case "payload":
		return m.payload(e)
	case "meta":
		m.meta(e)
		return yes
	case "fib":
		m.fib(e)
		return yes
	case "bitwise":
		m.bitwise(e)
		return yes
	case "immediate":
		m.store(e.destination, e.data, knownValue)
		return yes
	case "cmp":
		return m.compare(e)
	case "range":
		return m.rangeOf(e)
	case "lookup":
		return m.lookup(e)
	case "match":
		return m.match(e)
	}
	return maybe
}

// opaque forgets what an expression may have written. Those that only note
// something go on.
func (m *machine) opaque(e *expression) truth {
	switch e.name {
	case "counter", "log", "last", "notrack":
		return yes
	}
	m.registersKnown = [16]knowledge{}
	if e.name == "meta" || e.name == "target" {
		m.markKnown = false
	}
	return maybe
}

func (m *machine) payload(e *expression) truth {
	if !e.hasDestination {
		return maybe
	}
	var f *fields
	switch e.base {
	case payloadNetwork:
		f = &m.network
	case payloadTransport:
		f = &m.transport
	}
	from, to := int(e.offset), int(e.offset)+int(e.length)
	if f == nil || e.offset > 40 || e.length > 40 || to > len(f.bytes) {
		m.forget(e.destination, int(min(e.length, 64)))
		return yes
	}
	k := knownValue
	for _, known := range f.known[from:to] {
		if !known {
			k = unknownValue
		}
	}
	m.store(e.destination, f.bytes[from:to], k)
	return yes
}

func (m *machine) meta(e *expression) {
	if e.hasSource {
		if e.key == metaMark {
			b, k := m.load(e.source, 4)
			m.mark, m.markKnown = binary.NativeEndian.Uint32(append(b, 0, 0, 0, 0)), k == knownValue
		}
		return
	}
	switch e.key {
	case metaMark:
		m.store(e.destination, binary.NativeEndian.AppendUint32(nil, m.mark), knownIf(m.markKnown))
	case metaL4Proto:
		m.store(e.destination, []byte{byte(m.packet.Tuple.Protocol)}, knownValue)
	case metaNFProto:
		m.store(e.destination, []byte{m.family()}, knownValue)
	case metaProtocol:
		etherType := []byte{0x86, 0xdd}
		if m.packet.Tuple.Is4() {
			etherType = []byte{0x08, 0x00}
		}
		m.store(e.destination, etherType, knownValue)
	case metaIIFName:
		m.storeName(e.destination, m.packet.InLink, m.hook == Output)
	case metaOIFName:
		m.storeName(e.destination, m.packet.OutLink, m.hook == Prerouting || m.hook == Input)
	default:
		m.forget(e.destination, 16)
	}
}

// Protocol families (NFPROTO_IPV4, NFPROTO_IPV6).
const (
	familyInet = 1
	familyIPv4 = 2
	familyIPv6 = 10
)

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
func (m *machine) storeName(number uint32, name string, none bool) {
	b := make([]byte, 16)
	copy(b, name)
	m.store(number, b, knownIf(name != "" || none))
}

// local tells whether the source or destination is an address of this namespace.
func (m *machine) local(source bool) truth {
	if m.packet.LocalAddress == nil {
		return maybe
	}
	var a netip.Addr
	if a = m.packet.Tuple.Destination(); source {
		a = m.packet.Tuple.Source()
	}
	return truthOf(m.packet.LocalAddress(a))
}

// routeLocal is RTN_LOCAL (include/uapi/linux/rtnetlink.h).
const routeLocal = 2

func (m *machine) fib(e *expression) {
	local := maybe
	if e.key == fibResultType && (e.flags == fibSource || e.flags == fibDest) {
		local = m.local(e.flags == fibSource)
	}
	b := binary.NativeEndian.AppendUint32(nil, routeLocal)
	switch local {
	case yes:
		m.store(e.destination, b, knownValue)
	case no:
		m.store(e.destination, b, notLocal)
	case maybe:
		m.forget(e.destination, 16)
	}
}

func (m *machine) bitwise(e *expression) {
	b, k := m.load(e.source, int(min(e.length, 64)))
	if e.operation != 0 || k != knownValue || len(b) != len(e.data) || len(b) != len(e.data2) {
		m.forget(e.destination, int(min(e.length, 64)))
		return
	}
	for i := range b {
		b[i] = b[i]&e.data[i] ^ e.data2[i]
	}
	m.store(e.destination, b, knownValue)
}

func (m *machine) compare(e *expression) truth {
	b, k := m.load(e.source, len(e.data))
	if k == notLocal && bytes.Equal(b, e.data) && e.operation <= cmpNotEqual {
		return truthOf(e.operation == cmpNotEqual)
	}
	if k != knownValue {
		return maybe
	}
	c := bytes.Compare(b, e.data)
	switch e.operation {
	case cmpEqual:
		return truthOf(c == 0)
	case cmpNotEqual:
		return truthOf(c != 0)
	case cmpLess:
		return truthOf(c < 0)
	case cmpLessEqual:
		return truthOf(c <= 0)
	case cmpGreater:
		return truthOf(c > 0)
	case cmpGreaterEqual:
		return truthOf(c >= 0)
	}
	return maybe
}

func (m *machine) rangeOf(e *expression) truth {
	b, k := m.load(e.source, len(e.data))
	if k != knownValue || len(e.data2) != len(e.data) || e.operation > cmpNotEqual {
		return maybe
	}
	within := bytes.Compare(b, e.data) >= 0 && bytes.Compare(b, e.data2) <= 0
	return truthOf(within == (e.operation == cmpEqual))
}

func (m *machine) lookup(e *expression) truth {
	s := m.sets[e.set]
	if s == nil || s.unreadable {
		return m.doubtful(e)
	}
	key, k := m.load(e.source, s.keyBytes)
	if k != knownValue && len(s.elements) > 0 {
		return m.doubtful(e)
	}
	found := s.lookup(key)
	if e.flags&lookupInvert != 0 {
		return truthOf(found == nil)
	}
	if found == nil {
		return no
	}
	if e.hasDestination {
		if found.verdict.there {
			m.mapped = found.verdict
		} else {
			m.store(e.destination, found.data, knownValue)
		}
	}
	return yes
}

// doubtful is the outcome of a lookup whose key or set is not known. In a
// verdict map the verdict is not known either.
func (m *machine) doubtful(e *expression) truth {
	if e.hasDestination {
		if e.destination == 0 {
			m.mapped = verdict{there: true, code: verdictUnknown}
		}
		m.forget(e.destination, 16)
	}
	return maybe
}

// verdictUnknown is no code of the kernel's.
const verdictUnknown int32 = -1000
