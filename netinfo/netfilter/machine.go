package netfilter

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"natlens/capture/packet"
)

// knowledge says how much is known of a register.
type knowledge uint8

const (
	unknownValue knowledge = iota
	knownValue
	notLocal    // the type of an address: anything but local
	partlyKnown // the bits in registersBits are
)

// machine is nf_tables' virtual machine (net/netfilter/nf_tables_core.c), run
// on what is known of a packet. What is not known stays so through every step:
// a comparison with it neither holds nor fails.
type machine struct {
	packet Packet // as it is by now
	rule   *rule  // whose expressions are run
	// Which addresses and ports of the packet's tuple are known: source,
	// destination.
	addressKnown, portKnown [2]bool
	hook                    Hook
	tracked                 bool // connection tracking has seen it
	// untranslated: NAT has not yet done what it does at this hook.
	untranslated bool
	// bridged: rules of IP see what bridges pass on.
	bridged Fact
	effects
	link           fields
	network        fields
	transport      fields
	sets           map[string]*set
	links          map[int32]string
	ipsets         map[string]*ipset
	registers      [16][4]byte
	registersKnown [16]knowledge
	registersBits  [16][4]byte // of those that are partly known
	registersWhy   [16]string  // what a register that is not known should hold
	// mapped are the verdicts that a lookup in a verdict map found: one, or all
	// that it may have found.
	mapped []verdict
	why    string // what a condition that was neither yes nor no asked for
}

// effects are what rules change without deciding.
type effects struct {
	mark, connMark uint32
	markBits       uint32 // those of mark that are known
	connMarkKnown  bool
	state          State
	zoning         zoning
	marker         *rule // that set the mark last; nil: none here, or not known
}

const allBits = 1<<32 - 1

// orElse returns what is sure when it is not known which of two it is.
func (e effects) orElse(f effects) effects {
	e.markBits &= f.markBits &^ (e.mark ^ f.mark)
	if e.marker != f.marker {
		e.marker = nil
	}
	e.connMarkKnown = e.connMarkKnown && f.connMarkKnown && e.connMark == f.connMark
	if e.state != f.state {
		e.state = StateUnknown
	}
	if e.zoning != f.zoning {
		e.zoning = zoning{chosen: true, doubtful: true}
	}
	return e
}

const (
	sourceSide = iota
	destinationSide
)

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

func newMachine(p *Packet, r *Ruleset) *machine {
	m := &machine{packet: *p, links: r.links, ipsets: r.ipsets, tracked: true, bridged: r.SeesBridged(p.Tuple.Is4())}
	m.effects = effects{mark: p.Mark, markBits: p.MarkBits, marker: p.marker, state: p.State, connMarkKnown: p.State == StateNew}
	if p.MarkKnown {
		m.markBits = allBits
	}
	m.addressKnown, m.portKnown = [2]bool{true, true}, [2]bool{true, true}
	m.fill()
	return m
}

// enter moves the packet to a hook. What begins a flow, or belongs to the direction
// that did, has at the first hook the tuple that its flow is known by.
func (m *machine) enter(hook Hook) {
	p := &m.packet
	first := hook == Prerouting || hook == Output
	if first && !p.original.Valid() && (p.Direction == DirectionOriginal || p.Direction == DirectionUnknown && m.state == StateNew) {
		p.original = p.Tuple
	}
	m.hook = hook
}

// fill lays out the headers as far as they are known.
func (m *machine) fill() {
	m.network, m.transport = fields{}, fields{}
	m.fillFrame()
	p, t := &m.packet, m.packet.Tuple
	source, destination := t.Source().AsSlice(), t.Destination().AsSlice()
	sourceAt, destinationAt := 8, 24
	if t.Is4() {
		sourceAt, destinationAt = 12, 16
		m.network.put(9, byte(t.Protocol))
		if p.Length > 0 {
			m.network.put(2, byte(p.Length>>8), byte(p.Length))
		}
	}
	if m.addressKnown[sourceSide] {
		m.network.put(sourceAt, source...)
	}
	if m.addressKnown[destinationSide] {
		m.network.put(destinationAt, destination...)
	}
	switch t.Protocol {
	case packet.TCP, packet.UDP, packet.SCTP:
		if m.portKnown[sourceSide] {
			m.transport.put(0, byte(t.SourcePort>>8), byte(t.SourcePort))
		}
		if m.portKnown[destinationSide] {
			m.transport.put(2, byte(t.DestinationPort>>8), byte(t.DestinationPort))
		}
		if t.Protocol == packet.TCP && p.TCPFlagsKnown {
			m.transport.put(13, p.TCPFlags)
		}
	case packet.ICMP, packet.ICMPv6:
		m.transport.put(0, byte(t.DestinationPort>>8), byte(t.DestinationPort))
		if m.portKnown[sourceSide] {
			m.transport.put(4, byte(t.SourcePort>>8), byte(t.SourcePort))
		}
	}
}

// after returns the packet as it is now.
func (m *machine) after() Packet {
	p := m.packet
	p.Mark, p.MarkKnown, p.MarkBits, p.marker, p.State = m.mark, m.markBits == allBits, m.markBits, m.marker, m.state
	p.zoning = m.zoning
	if m.addressKnown != [2]bool{true, true} || m.portKnown != [2]bool{true, true} {
		p.Tuple = packet.Tuple{}
	}
	return p
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

// store puts known bytes into registers from number on.
func (m *machine) store(number uint32, b []byte) { m.put(number, b, knownValue, "") }

func (m *machine) put(number uint32, b []byte, k knowledge, why string) {
	s, ok := slot(number)
	for i := 0; ok && i < len(b) && s < len(m.registers); i, s = i+4, s+1 {
		m.registers[s] = [4]byte{}
		copy(m.registers[s][:], b[i:])
		m.registersKnown[s], m.registersWhy[s] = k, why
	}
}

// forget makes n bytes of registers unknown. why names what they should hold.
func (m *machine) forget(number uint32, n int, why string) {
	m.put(number, make([]byte, n), unknownValue, why)
}

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
			m.why = m.registersWhy[i]
		case notLocal:
			if k == knownValue {
				k = notLocal
				m.why = "what kind of address it is"
			}
		case partlyKnown:
			m.why = m.registersWhy[i]
			if k = unknownValue; n <= 4 {
				k = partlyKnown
			}
		}
	}
	return b[:n], k
}

// unknown says what a condition that was neither yes nor no asked for.
func (m *machine) unknown(e *expression) string {
	switch name := e.name + e.extension; {
	case name == "limit", name == "matchlimit", name == "matchhashlimit", name == "objref" && e.key == objectLimit:
		return "how much of a rate limit is left is not known"
	case name == "quota", name == "matchquota", name == "objref" && e.key == objectQuota:
		return "how much of a quota is left is not known"
	case name == "connlimit", name == "matchconnlimit", name == "objref" && e.key == objectConnlimit:
		return "how many connections there were is not known"
	case name == "matchstatistic":
		return pickedPackets + " is not known"
	}
	if m.why == "" || e.opaque {
		return "what it asks by " + e.what() + " is not known here"
	}
	return m.why + " is not known"
}

const pickedPackets = "which packets a rule picks by number or chance"

// untrack takes the packet out of connection tracking. Where it has been there
// already, or a rule has chosen its zone, nothing happens (nft_notrack_eval, xt_ct_target).
func (m *machine) untrack() {
	if !m.tracked && !m.zoning.chosen {
		m.state = StateUntracked
	}
}

// condition runs an expression that is no verdict and no translation. yes means
// go on, no that the rule does not match.
func (m *machine) condition(e *expression) truth {
	if e.opaque {
		return m.opaque(e)
	}
	switch e.name {
	case "counter", "log", "last":
		return yes
	case "notrack":
		m.untrack()
		return yes
	case "ct":
		return m.ct(e)
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
		m.store(e.destination, e.data)
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
	m.why = ""
	return maybe
}

// opaque forgets what an expression may have written. Those that only note
// something go on.
func (m *machine) opaque(e *expression) truth {
	switch e.name {
	case "counter", "log", "last":
		return yes
	}
	m.registersKnown, m.registersWhy = [16]knowledge{}, [16]string{}
	switch e.name {
	case "numgen", "hash", "byteorder": // these only make a number
		for i := range m.registersWhy {
			m.registersWhy[i] = pickedPackets
			if e.name == "byteorder" {
				m.registersWhy[i] = "a number in another order"
			}
		}
		return yes
	case "meta":
		m.markBits, m.marker = 0, nil
	case "target", "ct":
		m.markBits, m.marker, m.connMarkKnown, m.state = 0, nil, false, StateUnknown
		m.putIn(zoning{doubtful: true})
	}
	return maybe
}

func (m *machine) payload(e *expression) truth {
	if !e.hasDestination {
		return maybe
	}
	var f *fields
	switch e.base {
	case payloadLink:
		if m.tag(e) {
			return yes
		}
		if m.hasFrame() {
			f = &m.link
		}
	case payloadNetwork:
		f = &m.network
	case payloadTransport:
		f = &m.transport
	}
	from, to := int(e.offset), int(e.offset)+int(e.length)
	if f == nil || e.offset > 40 || e.length > 40 || to > len(f.bytes) {
		m.forget(e.destination, int(min(e.length, 64)), "a field of the packet")
		return yes
	}
	for _, known := range f.known[from:to] {
		if !known {
			m.forget(e.destination, int(e.length), m.fieldName(e))
			return yes
		}
	}
	m.store(e.destination, f.bytes[from:to])
	return yes
}

// local tells whether the source or destination is an address of this namespace.
func (m *machine) local(source bool) truth {
	side := destinationSide
	if source {
		side = sourceSide
	}
	if m.packet.LocalAddress == nil || !m.addressKnown[side] {
		m.why = "whether an address is one of this namespace's own"
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
		m.store(e.destination, b)
	case no:
		m.put(e.destination, b, notLocal, "")
	case maybe:
		m.forget(e.destination, 16, "what the routes say of an address")
	}
}

func (m *machine) bitwise(e *expression) {
	b, k := m.load(e.source, int(min(e.length, 64)))
	if k == partlyKnown && e.operation == 0 && len(b) <= 4 && len(e.data) == len(b) && len(e.data2) == len(b) {
		m.bitwiseOfBits(e, b)
		return
	}
	if e.operation != 0 || k != knownValue || len(b) != len(e.data) || len(b) != len(e.data2) {
		m.forget(e.destination, int(min(e.length, 64)), m.why)
		return
	}
	for i := range b {
		b[i] = b[i]&e.data[i] ^ e.data2[i]
	}
	m.store(e.destination, b)
}

func (m *machine) compare(e *expression) truth {
	b, k := m.load(e.source, len(e.data))
	if k == notLocal && bytes.Equal(b, e.data) && e.operation <= cmpNotEqual {
		return truthOf(e.operation == cmpNotEqual)
	}
	if s, ok := slot(e.source); ok && k == partlyKnown && e.operation <= cmpNotEqual {
		for i := range b {
			if (b[i]^e.data[i])&m.registersBits[s][i] != 0 {
				return truthOf(e.operation == cmpNotEqual)
			}
		}
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
		m.why = "what is in the set " + e.set
		return m.doubtful(e, s)
	}
	key, k := m.load(e.source, s.keyBytes)
	if k != knownValue && len(s.elements) > 0 {
		return m.doubtful(e, s)
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
			m.mapped = []verdict{found.verdict}
		} else {
			m.store(e.destination, found.data)
		}
	}
	return yes
}

// doubtful is the outcome of a lookup whose key or set is not known. In a
// verdict map it may be any of the verdicts that are there.
func (m *machine) doubtful(e *expression, s *set) truth {
	why := m.why
	if !e.hasDestination {
		return maybe
	}
	if e.destination != 0 {
		m.forget(e.destination, 16, why)
		return maybe
	}
	if s == nil || s.flags&(setDynamic|setTimeout) != 0 || s.undecoded {
		m.mapped = []verdict{{there: true, code: verdictUnknown}}
		return maybe
	}
	for i := range s.elements {
		if v := s.elements[i].verdict; v.there && !slices.Contains(m.mapped, v) {
			m.mapped = append(m.mapped, v)
		}
	}
	return maybe
}

// verdictUnknown is no code of the kernel's.
const verdictUnknown int32 = -1000

// fieldName says what a load from the packet asks for.
func (m *machine) fieldName(e *expression) string {
	at := placeOf(familyNames[e.extensionFamily])
	if at.network == 0 { // what loads from another header than the packet's does not match
		at.network = m.etherType()
	}
	switch f := payloadField(e, at); f.kind {
	case sourceAddress:
		return "its source address"
	case etherSource, etherDestination, etherType:
		return "the header of its frame"
	case destinationAddress:
		return "its destination address"
	case sourcePort:
		return "its source port"
	case destinationPort:
		return "its destination port"
	}
	return "a field of its headers"
}
