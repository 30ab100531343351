package netfilter

import "encoding/binary"

// setMark clears the bits of the packet's mark that a mask names and flips those
// of mark (xt_mark_tg); the others stay as they are, known or not.
func (m *machine) setMark(mark, mask uint32) {
	m.mark = m.mark&^mask ^ mark
	m.markBits |= mask
	m.marker = m.rule
}

// hasMark reports whether the bits of the packet's mark that a mask names are
// those.
func (m *machine) hasMark(mark, mask uint32) truth {
	switch {
	case mark&^mask != 0 || (m.mark^mark)&mask&m.markBits != 0:
		return no
	case mask&^m.markBits == 0:
		return yes
	}
	m.why = "the packet's mark"
	return maybe
}

// putMark stores the packet's mark, as far as it is known.
func (m *machine) putMark(number uint32) {
	k := partlyKnown // though it may be no bit at all: a rule may set one
	if m.markBits == allBits {
		k = knownValue
	}
	m.put(number, binary.NativeEndian.AppendUint32(nil, m.mark), k, "the packet's mark")
	if s, ok := slot(number); ok {
		binary.NativeEndian.PutUint32(m.registersBits[s][:], m.markBits)
	}
}

// bitwiseOfBits takes bits out of a register that is partly known, and flips some:
// what was taken out is known.
func (m *machine) bitwiseOfBits(e *expression, b []byte) {
	from, ok := slot(e.source)
	to, good := slot(e.destination)
	if !ok || !good {
		return
	}
	var bits [4]byte
	k, why := knownValue, m.registersWhy[from]
	for i := range b {
		bits[i] = m.registersBits[from][i] | ^e.data[i]
		b[i] = b[i]&e.data[i] ^ e.data2[i]
		if bits[i] != 0xff {
			k = partlyKnown
		}
	}
	m.put(e.destination, b, k, why)
	m.registersBits[to] = bits
}

// asksMark reports whether a rule asks for the packet's mark.
func (r *rule) asksMark() bool {
	for i := range r.expressions {
		e := &r.expressions[i]
		if e.name == "meta" && e.key == metaMark && !e.hasSource || e.name == "match" && e.extension == "mark" {
			return true
		}
	}
	return false
}

// Behind returns the packet with the mark that the rules of a hook left it, and with
// what they saw of how its flow began.
func (p Packet) Behind(m Match) Packet {
	p.Mark, p.MarkKnown, p.MarkBits, p.marker = m.Mark, m.MarkKnown, m.MarkBits, m.marker
	if m.original.Valid() {
		p.original = m.original
	}
	return p
}
