package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// iptables-legacy hands its tables to the kernel as one block of entries, one
// after the other (include/uapi/linux/netfilter/x_tables.h, ip_tables.h,
// ip6_tables.h). An entry is decoded into the expressions that iptables-nft
// would make of it, so that one evaluation and one way of writing do for both.

// legacyInfo is struct ipt_getinfo and ip6t_getinfo, without the name.
type legacyInfo struct {
	hooks             uint32 // bits: those that have a chain
	entry, underflow  [5]uint32
	entries, byteSize uint32
}

func decodeLegacyInfo(b []byte) (i legacyInfo, ok bool) {
	if len(b) < 84 {
		return i, false
	}
	b = b[32:]
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(b[4*at:]) }
	i.hooks = word(0)
	for k := range i.entry {
		i.entry[k], i.underflow[k] = word(1+k), word(6+k)
	}
	i.entries, i.byteSize = word(11), word(12)
	return i, true
}

// legacyShape is where the fields of an entry are, in bytes.
type legacyShape struct {
	address              int // length of one
	names                int // the links: in and out, then their masks
	protocol, flags      int
	invert               int
	target, next, counts int
	size                 int
}

// On machines of 64 bits, where the counters are aligned to 8.
var legacyShapes = map[string]legacyShape{
	"ip":  {address: 4, names: 16, protocol: 80, flags: 82, invert: 83, target: 88, next: 90, counts: 96, size: 112},
	"ip6": {address: 16, names: 64, protocol: 128, flags: 131, invert: 132, target: 140, next: 142, counts: 152, size: 168},
}

var errLegacy = errors.New("malformed table of iptables-legacy")

// legacyReader decodes one table.
type legacyReader struct {
	shape   legacyShape
	key     tableKey
	number  uint8 // of the family
	info    legacyInfo
	bytes   []byte
	table   *table
	starts  map[uint32]string // chains by the offset of their first rule
	current *chain
	hook    int // of current; -1 for a user's chain
}

// decodeLegacy reads the entries of a table.
func decodeLegacy(family, name string, info legacyInfo, b []byte) (*table, error) {
	l := &legacyReader{
		shape: legacyShapes[family], key: tableKey{family, name, true}, number: familyNumbers[family], info: info, bytes: b,
		table: &table{chains: map[string]*chain{}, sets: map[string]*set{}, xtables: true}, starts: map[uint32]string{},
	}
	if l.shape.size == 0 {
		return nil, errLegacy
	}
	if err := l.each(l.findChain); err != nil {
		return nil, err
	}
	l.current = nil
	if err := l.each(l.entry); err != nil {
		return nil, err
	}
	l.close()
	return l.table, nil
}

// each calls f for every entry.
func (l *legacyReader) each(f func(at uint32, b []byte) error) error {
	for at := uint32(0); int(at) < len(l.bytes); {
		b := l.bytes[at:]
		if len(b) < l.shape.size {
			return errLegacy
		}
		next, target := int(binary.NativeEndian.Uint16(b[l.shape.next:])), int(binary.NativeEndian.Uint16(b[l.shape.target:]))
		if target < l.shape.size || next < target+xtHeader || next > len(b) {
			return errLegacy
		}
		if err := f(at, b[:next]); err != nil {
			return err
		}
		at += uint32(next)
	}
	return nil
}

// xtHeader is the length of struct xt_entry_match and xt_entry_target without
// what is behind them: length, name and revision.
const xtHeader = 32

// findChain notes where the chains that a user made begin.
func (l *legacyReader) findChain(at uint32, b []byte) error {
	if name, ok := l.header(b); ok {
		l.starts[at+uint32(len(b))] = name
	}
	return nil
}

// header returns the name of the chain that an entry begins.
func (l *legacyReader) header(b []byte) (string, bool) {
	t := b[binary.NativeEndian.Uint16(b[l.shape.target:]):]
	if text(t[2:31]) != "ERROR" || len(t) < xtHeader+30 {
		return "", false
	}
	return text(t[xtHeader : xtHeader+30]), true
}

// entry takes one entry into its chain.
func (l *legacyReader) entry(at uint32, b []byte) error {
	if name, ok := l.header(b); ok {
		l.close()
		if int(at)+len(b) < len(l.bytes) { // the last one ends the table
			l.open(name, -1)
		}
		return nil
	}
	for h := range hooks {
		if l.info.hooks>>h&1 != 0 && l.info.entry[h] == at {
			l.close()
			l.open(builtinName(hooks[h]), h)
			l.current.base, l.current.hook, l.current.kind = true, hooks[h], legacyKind(l.key.name)
			l.current.priority = xtablesPriorities[l.key.name][l.current.name]
		}
	}
	if l.current == nil {
		return errLegacy
	}
	r, err := l.rule(at, b)
	if err != nil {
		return err
	}
	if l.hook >= 0 && l.info.underflow[l.hook] == at {
		l.current.policy = verdictAccept
		for i := range r.expressions {
			if v := r.expressions[i].verdict; v.there {
				l.current.policy = v.code
			}
		}
		l.current.passed, l.current.policyCounts = r.public().Counter, true
		l.current, l.hook = nil, -1
		return nil
	}
	l.current.rules = append(l.current.rules, r)
	return nil
}

// legacyKind is the type that nf_tables has for such a table's chains.
func legacyKind(table string) string {
	if table == "nat" {
		return "nat"
	}
	return "filter"
}

func builtinName(h Hook) string {
	for name, hook := range hookOfXtablesChain {
		if hook == h {
			return name
		}
	}
	return ""
}

func (l *legacyReader) open(name string, hook int) {
	l.current = &chain{family: l.key.family, table: l.key.name, name: name, legacy: true, policy: verdictAccept}
	l.hook = hook
	l.table.chains[name] = l.current
}

// close ends a chain. That of a user ends with a rule that iptables does not
// show, which returns.
func (l *legacyReader) close() {
	if c := l.current; c != nil && l.hook < 0 && len(c.rules) > 0 {
		c.rules = c.rules[:len(c.rules)-1]
	}
	l.current = nil
}

// Flags and inversions of an entry (IPT_F_*, IPT_INV_*; the same for IPv6 but
// for where the flags differ).
const (
	legacyFragment = 1 // of IPv4 flags
	legacyGoto     = 2 // of IPv4 flags; of IPv6 it is 4

	legacyNotIn          = 0x01
	legacyNotOut         = 0x02
	legacyNotSource      = 0x08
	legacyNotDestination = 0x10
	legacyNotFragment    = 0x20
	legacyNotProtocol    = 0x40
)

func (l *legacyReader) rule(at uint32, b []byte) (r rule, err error) {
	s := l.shape
	r.ref = RuleRef{Family: l.key.family, Table: l.key.name, Chain: l.current.name, Position: len(l.current.rules) + 1}
	flags, invert := b[s.flags], b[s.invert]
	add := func(list ...expression) { r.expressions = append(r.expressions, list...) }
	add(l.address(b[0:], b[2*s.address:], invert&legacyNotSource != 0, false)...)
	add(l.address(b[s.address:], b[3*s.address:], invert&legacyNotDestination != 0, true)...)
	add(l.link(b[s.names:], b[s.names+32:], metaIIFName, invert&legacyNotIn != 0)...)
	add(l.link(b[s.names+16:], b[s.names+48:], metaOIFName, invert&legacyNotOut != 0)...)
	if protocol := binary.NativeEndian.Uint16(b[s.protocol:]); protocol != 0 {
		add(expression{name: "meta", key: metaL4Proto, destination: 1, hasDestination: true},
			compare(invert&legacyNotProtocol != 0, []byte{byte(protocol)}))
	}
	jump := verdictJump
	if l.key.family == "ip" {
		if flags&legacyFragment != 0 || invert&legacyNotFragment != 0 {
			add(expression{name: "fragment", opaque: true})
		}
		if flags&legacyGoto != 0 {
			jump = verdictGoto
		}
	} else if flags&4 != 0 {
		jump = verdictGoto
	}
	target := int(binary.NativeEndian.Uint16(b[s.target:]))
	for rest := b[s.size:target]; len(rest) > 0; {
		if len(rest) < xtHeader {
			return r, errLegacy
		}
		n := int(binary.NativeEndian.Uint16(rest))
		if n < xtHeader || n > len(rest) {
			return r, errLegacy
		}
		add(l.extension("match", rest[:n]))
		rest = rest[n:]
	}
	counts := b[s.counts:]
	add(expression{name: "counter", counter: Counter{Packets: binary.NativeEndian.Uint64(counts), Bytes: binary.NativeEndian.Uint64(counts[8:])}})
	t := b[target:]
	if text(t[2:31]) != "" {
		add(l.extension("target", t))
		return r, nil
	}
	if len(t) < xtHeader+4 {
		return r, errLegacy
	}
	v, falls, ok := l.verdict(int32(binary.NativeEndian.Uint32(t[xtHeader:])), at+uint32(len(b)), jump)
	if !ok {
		return r, fmt.Errorf("%w: a jump into the middle of a chain", errLegacy)
	}
	if !falls {
		add(expression{name: "immediate", verdict: v, hasDestination: true})
	}
	return r, nil
}

// verdict decodes that of a standard target: a verdict of netfilter, negative and
// less one, or where to go on. A rule without a target goes to the next one.
func (l *legacyReader) verdict(code int32, next uint32, jump int32) (v verdict, falls, ok bool) {
	switch code {
	case -1:
		return verdict{there: true, code: verdictDrop}, false, true
	case -2:
		return verdict{there: true, code: verdictAccept}, false, true
	case -5:
		return verdict{there: true, code: verdictReturn}, false, true
	}
	if code < 0 {
		return verdict{there: true, code: verdictUnknown}, false, true
	}
	if uint32(code) == next {
		return v, true, true
	}
	name, ok := l.starts[uint32(code)]
	return verdict{there: true, code: jump, chain: name}, false, ok
}

// address makes the expressions of iptables-nft for an address and its mask.
func (l *legacyReader) address(value, mask []byte, invert, destination bool) []expression {
	n := l.shape.address
	value, mask = value[:n], mask[:n]
	if zero(mask) && zero(value) && !invert {
		return nil
	}
	offset := uint32(12)
	if n == 16 {
		offset = 8
	}
	if destination {
		offset += uint32(n)
	}
	list := []expression{{name: "payload", base: payloadNetwork, offset: offset, length: uint32(n), destination: 1, hasDestination: true}}
	if bits, ok := maskBits(mask); !ok || bits != 8*n {
		list = append(list, expression{
			name: "bitwise", source: 1, destination: 1, hasSource: true, hasDestination: true, length: uint32(n),
			data: append([]byte{}, mask...), data2: make([]byte, n),
		})
	}
	return append(list, compare(invert, append([]byte{}, value...)))
}

// link makes the expressions for a link's name; where the mask ends, so does
// what is compared.
func (l *legacyReader) link(name, mask []byte, key uint32, invert bool) []expression {
	n := 0
	for n < 16 && mask[n] != 0 {
		n++
	}
	if n == 0 {
		return nil
	}
	return []expression{
		{name: "meta", key: key, destination: 1, hasDestination: true},
		compare(invert, append([]byte{}, name[:n]...)),
	}
}

func compare(invert bool, data []byte) expression {
	e := expression{name: "cmp", source: 1, hasSource: true, operation: cmpEqual, data: data}
	if invert {
		e.operation = cmpNotEqual
	}
	return e
}

// extension makes the expression of a match or target.
func (l *legacyReader) extension(kind string, b []byte) expression {
	return expression{
		name: kind, extension: text(b[2:31]), revision: uint32(b[31]), extensionFamily: l.number,
		data: append([]byte(nil), b[xtHeader:]...),
	}
}
