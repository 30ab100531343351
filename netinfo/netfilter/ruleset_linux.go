package netfilter

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// Messages of nf_tables (enum nf_tables_msg_types).
const (
	nftNewChain   = 3
	nftGetChain   = 4
	nftNewRule    = 6
	nftGetRule    = 7
	nftNewSet     = 9
	nftGetSet     = 10
	nftNewSetElem = 12
	nftGetSetElem = 13
	nftNewGen     = 15
	nftGetGen     = 16
)

// errChanged: the ruleset changed while it was read.
var errChanged = errors.New("the ruleset keeps changing")

// ReadRuleset reads the rules of a namespace: a handful of system calls, one
// more for each set that rules look into, two for each of ipset, and three for each
// table of iptables-legacy. It needs CAP_NET_ADMIN there, and for iptables-legacy
// CAP_NET_RAW. A kernel without nf_tables or iptables-legacy has no rules of it.
// Rules of nf_tables are read as of one moment; when they keep changing
// meanwhile, that is the error. A table of iptables-legacy that can't be read is
// named by Ruleset.Legacy.
func ReadRuleset(ns *netns.Handle) (*Ruleset, error) {
	s, err := openSocket(ns, 0, 0)
	if err != nil {
		return nil, fmt.Errorf("read rules of %v: %w", ns.ID(), err)
	}
	defer func() { _ = s.close() }()
	r, err := s.readRuleset(ns, newReceiver(1, dumpDatagramSize))
	if err != nil {
		return nil, fmt.Errorf("read rules of %v: %w", ns.ID(), err)
	}
	return r, nil
}

// readRuleset tries until nothing changes while it reads.
func (s *socket) readRuleset(ns *netns.Handle, in *receiver) (*Ruleset, error) {
	const tries = 10
	for range tries {
		before, err := s.generation(in)
		if err != nil {
			return nil, err
		}
		r := &Ruleset{Namespace: ns.ID(), Time: now(), tables: map[tableKey]*table{}}
		if before != noTables {
			if err := s.readTables(in, r); err != nil {
				return nil, err
			}
		}
		if err := r.readLegacy(ns); err != nil {
			return nil, err
		}
		written, err := s.nameIPSets(in, r)
		if err != nil {
			return nil, err
		}
		if err := s.readIPSets(in, r, written); err != nil {
			return nil, err
		}
		if err := r.readLinks(ns); err != nil {
			return nil, err
		}
		if err := r.readBridged(ns); err != nil {
			return nil, err
		}
		r.finish()
		after, err := s.generation(in)
		if err != nil {
			return nil, err
		}
		if before == after {
			return r, nil
		}
	}
	return nil, errChanged
}

// noTables is the generation of a kernel that has no nf_tables; the kernel's
// own begin with 1.
const noTables = 0

// generation returns the number that every change of the ruleset raises.
func (s *socket) generation(in *receiver) (generation uint32, err error) {
	err = s.ask(in, nftGetGen, 0, 0, nil, func(sub uint8, _ uint8, a attributes) {
		if _, value, ok := a.next(); ok && sub == nftNewGen {
			generation, _ = be32(value)
		}
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return noTables, nil
	}
	return generation, err
}

// ask sends a request and hands every message of the answer to f.
func (s *socket) ask(in *receiver, sub uint8, flags uint16, family uint8, attrs []byte, f func(sub, family uint8, a attributes)) error {
	return s.askOf(subsystemNFTables, in, sub, flags, family, attrs, f)
}

// askOf does so of a subsystem.
func (s *socket) askOf(subsystem int, in *receiver, sub uint8, flags uint16, family uint8, attrs []byte, f func(sub, family uint8, a attributes)) error {
	if err := s.request(uint8(subsystem), sub, flags, family, attrs); err != nil {
		return err
	}
	for {
		n, err := in.receive(s)
		if err != nil {
			return err
		}
		for i := range n {
			data, ok := in.datagram(i)
			if !ok {
				return errMalformed
			}
			done, err := s.answer(subsystem, data, flags, f)
			if done || err != nil {
				return err
			}
		}
	}
}

var errMalformed = errors.New("malformed message")

// answer goes through one datagram and reports whether it ends the answer.
func (s *socket) answer(of int, data []byte, flags uint16, f func(sub, family uint8, a attributes)) (done bool, err error) {
	for len(data) > 0 {
		m, rest, ok := nextMessage(data)
		if !ok {
			return true, errMalformed
		}
		data = rest
		if m.sequence != s.sequence {
			continue
		}
		if m.kind == messageDone || m.kind == messageError {
			return true, m.err()
		}
		subsystem, sub := m.subsystem()
		family, a, ok := m.attributes()
		if int(subsystem) != of || !ok {
			return true, errMalformed
		}
		f(sub, family, a)
		done = flags&flagDump == 0
	}
	return done, nil
}

// readTables reads chains, rules and the sets that rules look into.
func (s *socket) readTables(in *receiver, r *Ruleset) error {
	err := s.ask(in, nftGetChain, flagDump, unix.AF_UNSPEC, nil, func(sub, family uint8, a attributes) {
		name := familyNames[family]
		if sub != nftNewChain || name == "" {
			return
		}
		if c, ok := decodeChain(a, name); ok {
			r.table(name, c.table).chains[c.name] = c
		}
	})
	if err != nil {
		return fmt.Errorf("chains: %w", err)
	}
	err = s.ask(in, nftGetRule, flagDump, unix.AF_UNSPEC, nil, func(sub, family uint8, a attributes) {
		name := familyNames[family]
		if sub != nftNewRule || name == "" {
			return
		}
		one, ok := decodeRule(a, name, family)
		if c := r.table(name, one.ref.Table).chains[one.ref.Chain]; c != nil {
			c.incompatible = c.incompatible || !ok
			one.ref.Position = len(c.rules) + 1
			c.rules = append(c.rules, one)
		}
	})
	if err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	err = s.ask(in, nftGetSet, flagDump, unix.AF_UNSPEC, nil, func(sub, family uint8, a attributes) {
		name := familyNames[family]
		if sub != nftNewSet || name == "" {
			return
		}
		if in, one, ok := decodeSet(a); ok {
			r.table(name, in).sets[one.name] = one
		}
	})
	if err != nil {
		return fmt.Errorf("sets: %w", err)
	}
	if err := s.readElements(in, r); err != nil {
		return err
	}
	return nil
}

// readLinks notes the names of links where a rule asks for one by its index.
func (r *Ruleset) readLinks(ns *netns.Handle) error {
	if !r.asksForIndex() {
		return nil
	}
	return ns.Do(func() error {
		list, err := net.Interfaces()
		if err != nil {
			return err
		}
		r.links = map[int32]string{}
		for _, l := range list {
			r.links[int32(l.Index)] = l.Name
		}
		return nil
	})
}

// table returns the table, made at its first mention.
func (r *Ruleset) table(family, name string) *table {
	key := tableKey{family: family, name: name}
	if r.tables[key] == nil {
		r.tables[key] = &table{chains: map[string]*chain{}, sets: map[string]*set{}}
	}
	return r.tables[key]
}

// readElements reads the elements of the sets that rules look into.
func (s *socket) readElements(in *receiver, r *Ruleset) error {
	for key, t := range r.tables {
		for name := range t.usedSets() {
			one := t.sets[name]
			if one == nil {
				continue
			}
			attrs := appendText(appendText(nil, 1, key.name), 2, name)
			err := s.ask(in, nftGetSetElem, flagDump, familyNumbers[key.family], attrs, func(sub, _ uint8, a attributes) {
				if sub != nftNewSetElem {
					return
				}
				elements, ok := decodeElements(a)
				one.elements = append(one.elements, elements...)
				one.unreadable = one.unreadable || !ok
			})
			if errors.Is(err, unix.ENOENT) {
				continue // gone meanwhile: the generation tells
			}
			if err != nil {
				return fmt.Errorf("set %s: %w", name, err)
			}
			one.seal()
		}
	}
	return nil
}

// appendAttribute appends an attribute of at most four bytes.
func appendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = append(b, make([]byte, 8)...)
	h := b[len(b)-8:]
	putNative16(h, uint16(4+len(value)))
	putNative16(h[2:], kind)
	copy(h[4:], value)
	return b
}

// appendText appends a string attribute.
func appendText(b []byte, kind uint16, value string) []byte {
	n := 4 + len(value) + 1
	b = append(b, 0, 0, 0, 0)
	h := b[len(b)-4:]
	putNative16(h, uint16(n))
	putNative16(h[2:], kind)
	b = append(b, value...)
	return append(b, make([]byte, 1+(-n&3))...) // the end, and the padding
}
