package netfilter

import (
	"bytes"
	"fmt"
)

// term is what a person reads as one condition or statement of a rule: a field
// that was loaded, perhaps masked, and then compared; or an action.
type term struct {
	fields []field // several: a concatenated key
	// how it is compared: with value, with value to upper, or with a set
	operation     uint32
	value, upper  []byte
	set           *set
	verdictMap    bool
	mapped        bool // set is a map, whose value a later statement takes
	ranged        bool
	action        *expression // a statement; nil for a condition
	undecoded     string      // what can't be told in words
	operandValues values      // for a statement: constants in the registers
}

// fieldKind is a field of a packet or of its surroundings.
type fieldKind uint8

const (
	otherField fieldKind = iota
	sourceAddress
	destinationAddress
	sourcePort
	destinationPort
	ipProtocol // of the IPv4 header
	transportProtocol
	networkProtocol
	inName
	outName
	packetMark
	sourceType
	destinationType
	icmpType
	tcpFlags
	linkIn  // by index
	linkOut // likewise
	flowState
	flowStatus
	flowDirection
	flowMark
	flowSource // of one direction; field.reply says which
	flowDestination
	flowSourcePort
	flowDestinationPort
	packetType
	timeToLive
	nextHeader
	etherSource
	etherDestination
	etherType
	frameType // as the kernel has it beside the frame: behind the tag of a VLAN
	vlanTag   // priority and number together
	vlanID
	vlanPriority
	vlanType
	arpHardware
	arpProtocol
	arpHardwareLength
	arpProtocolLength
	arpOperation
	arpSenderMAC
	arpSender
	arpTargetMAC
	arpTarget
	bridgeIn
	bridgeOut
	linkKindIn // ARPHRD_*
	ipLength
	ipID
	udpLength
	socketUser
	socketGroup
	controlGroup
	linkGroupIn
	linkGroupOut
	constant // an immediate
	mappedField
)

// field is a loaded field, as much of it as was loaded.
type field struct {
	kind      fieldKind
	inet6     bool // of addresses
	reply     bool // of a flow: of the answers' direction
	length    int
	mask, xor []byte // nil: none
	value     []byte // of a constant
	what      string // of otherField: what it is
	parts     []part // of otherField: the fields that one load took together
	lookup    *term  // of mappedField: where it comes from
}

// values are the fields in the registers, by word.
type values map[int]field

func (v values) at(number uint32) (field, bool) {
	s, ok := slot(number)
	if !ok {
		return field{}, false
	}
	f, ok := v[s]
	return f, ok
}

func (v values) put(number uint32, f field) {
	if s, ok := slot(number); ok {
		v[s] = f
	}
}

// gather returns the fields of a key of n bytes.
func (v values) gather(number uint32, n int) (list []field) {
	s, ok := slot(number)
	for ok && n > 0 {
		f, there := v[s]
		if !there || f.length == 0 {
			return nil
		}
		list = append(list, f)
		words := (f.length + 3) / 4
		s, n = s+words, n-words*4
	}
	return list
}

// terms reads a rule's expressions as terms.
func (r *rule) terms(t *table) (list []term) {
	v, at := values{}, placeOf(r.ref.Family)
	for i := range r.expressions {
		e := &r.expressions[i]
		if e.opaque {
			list = append(list, term{undecoded: e.what()})
			clear(v) // it may have written to any register
			continue
		}
		switch e.name {
		case "payload":
			if e.hasSource {
				list = append(list, statement(e, v))
				continue
			}
			v.put(e.destination, payloadField(e, at))
		case "meta":
			if e.hasSource {
				list = append(list, statement(e, v))
				continue
			}
			v.put(e.destination, metaField(e))
		case "ct":
			if e.hasSource {
				list = append(list, statement(e, v))
				continue
			}
			v.put(e.destination, ctField(e))
		case "fib":
			v.put(e.destination, fibField(e))
		case "bitwise":
			f, ok := v.at(e.source)
			if !ok || f.mask != nil || e.operation != 0 || len(e.data) != int(e.length) {
				f = field{what: "bitwise", length: int(e.length)}
			}
			f.mask, f.xor, f.parts = e.data, e.data2, nil
			v.put(e.destination, f.ofVLAN())
		case "immediate":
			if e.verdict.there {
				list = append(list, statement(e, v))
				continue
			}
			v.put(e.destination, field{kind: constant, length: len(e.data), value: e.data})
		case "cmp", "range":
			f, ok := v.at(e.source)
			if !ok {
				f = field{what: e.name}
			}
			t := term{fields: []field{f}, operation: e.operation, value: e.data, upper: e.data2, ranged: e.name == "range"}
			for _, one := range t.split() {
				at.learn(&one)
				list = append(list, one)
			}
		case "lookup":
			list = append(list, lookupTerm(e, v, t))
		default:
			list = append(list, statement(e, v))
		}
	}
	return joinBounds(list)
}

func statement(e *expression, v values) term {
	held := values{}
	for k, f := range v {
		held[k] = f
	}
	return term{action: e, operandValues: held}
}

func lookupTerm(e *expression, v values, t *table) term {
	s := t.sets[e.set]
	if s == nil {
		return term{undecoded: "set " + e.set}
	}
	fields := v.gather(e.source, s.keyBytes)
	if fields == nil {
		return term{undecoded: "lookup in " + e.set}
	}
	if e.hasDestination && e.destination != 0 {
		found := term{fields: fields, set: s, mapped: true}
		v.put(e.destination, field{kind: mappedField, length: 4, what: "map", lookup: &found})
		return found
	}
	operation := uint32(cmpEqual)
	if e.flags&lookupInvert != 0 {
		operation = cmpNotEqual
	}
	return term{fields: fields, operation: operation, set: s, verdictMap: e.hasDestination}
}

// joinBounds makes one range of "at least" followed by "at most", as nft writes
// a range that is not negated.
func joinBounds(list []term) []term {
	out := list[:0]
	for _, t := range list {
		if n := len(out); n > 0 && t.action == nil && t.set == nil && t.undecoded == "" && t.operation == cmpLessEqual && !t.ranged {
			last := &out[n-1]
			if last.action == nil && last.set == nil && last.undecoded == "" && last.operation == cmpGreaterEqual && !last.ranged && sameField(last.fields[0], t.fields[0]) {
				last.ranged, last.upper, last.operation = true, t.value, cmpEqual
				continue
			}
		}
		out = append(out, t)
	}
	return out
}

func sameField(a, b field) bool {
	return a.kind == b.kind && a.kind != otherField && bytes.Equal(a.mask, b.mask)
}

// what names an expression that can't be told in words.
func (e *expression) what() string {
	switch e.name {
	case "match", "target":
		return fmt.Sprintf("xt %s %q", e.name, e.extension)
	}
	return fmt.Sprintf("nft expression %q", e.name)
}

func metaField(e *expression) field {
	switch e.key {
	case metaMark:
		return field{kind: packetMark, length: 4}
	case metaL4Proto:
		return field{kind: transportProtocol, length: 1}
	case metaNFProto:
		return field{kind: networkProtocol, length: 1}
	case metaIIF:
		return field{kind: linkIn, length: 4}
	case metaOIF:
		return field{kind: linkOut, length: 4}
	case metaPacketType:
		return field{kind: packetType, length: 1}
	case metaIIFName:
		return field{kind: inName, length: 16}
	case metaOIFName:
		return field{kind: outName, length: 16}
	case metaProtocol:
		return field{kind: frameType, length: 2}
	case metaIIFType:
		return field{kind: linkKindIn, length: 2}
	case metaBridgeIn:
		return field{kind: bridgeIn, length: 16}
	case metaBridgeOut:
		return field{kind: bridgeOut, length: 16}
	}
	return field{kind: metaNumbers[e.key], what: fmt.Sprintf("meta key %d", e.key), length: 4}
}

func ctField(e *expression) field {
	if e.hasOperation {
		return ctFieldOfDirection(e)
	}
	switch e.key {
	case ctState:
		return field{kind: flowState, length: 4}
	case ctStatus:
		return field{kind: flowStatus, length: 4}
	case ctDirection:
		return field{kind: flowDirection, length: 1}
	case ctMark:
		return field{kind: flowMark, length: 4}
	}
	return field{what: "ct", length: 4}
}

// ctFieldOfDirection is what a ct expression loads of one direction of the flow. That
// of old kernels, whose addresses are of the chain's family, is not told.
func ctFieldOfDirection(e *expression) field {
	f := field{reply: e.operation != ctOriginal, what: "ct"}
	switch e.key {
	case ctSource4, ctSource6:
		f.kind = flowSource
	case ctDestination4, ctDestination6:
		f.kind = flowDestination
	case ctSourcePort:
		f.kind, f.length = flowSourcePort, 2
		return f
	case ctDestinationPort:
		f.kind, f.length = flowDestinationPort, 2
		return f
	}
	f.length = 4
	if f.inet6 = e.key == ctSource6 || e.key == ctDestination6; f.inet6 {
		f.length = 16
	}
	return f
}

func fibField(e *expression) field {
	switch {
	case e.key == fibResultType && e.flags == fibSource:
		return field{kind: sourceType, length: 4}
	case e.key == fibResultType && e.flags == fibDest:
		return field{kind: destinationType, length: 4}
	}
	return field{what: "fib", length: 4}
}
