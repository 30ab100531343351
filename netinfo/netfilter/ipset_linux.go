package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Of the netlink protocol of ipset (include/uapi/linux/netfilter/ipset/ip_set.h).
const (
	subsystemIPSet  = 6
	ipsetList       = 7
	ipsetGetByIndex = 15
	ipsetProtocol   = 7
)

// nameIPSets notes the names of the sets of ipset that rules ask for: a rule has
// their index alone. A set that has gone meanwhile keeps none. It returns the names of
// those that rules change.
func (s *socket) nameIPSets(in *receiver, r *Ruleset) (written []string, err error) {
	names := map[uint16]string{}
	named := func(index uint16) (string, error) {
		name, asked := names[index]
		if asked {
			return name, nil
		}
		name, err := s.ipsetName(in, index)
		if err != nil {
			return "", fmt.Errorf("set %d of ipset: %w", index, err)
		}
		names[index] = name
		return name, nil
	}
	for _, table := range r.tables {
		for _, c := range table.chains {
			for i := range c.rules {
				for k := range c.rules[i].expressions {
					e := &c.rules[i].expressions[k]
					if m, _, ok := decodeIPSet(e); ok && e.name == "match" && e.extension == "set" {
						name, err := named(m.index)
						if err != nil {
							return nil, err
						}
						e.set = name
					}
					for _, index := range ipsetsWritten(e) {
						name, err := named(index)
						if err != nil {
							return nil, err
						}
						written = append(written, name)
					}
				}
			}
		}
	}
	return written, nil
}

// readIPSets reads the members of the sets that rules ask for, and those of the sets
// in lists of them.
func (s *socket) readIPSets(in *receiver, r *Ruleset, written []string) error {
	r.ipsets = nil
	for names := r.asksIPSets(); len(names) > 0; {
		name := names[0]
		names = names[1:]
		if name == "" || r.ipsets[name] != nil {
			continue
		}
		one, err := s.readIPSet(in, name)
		if err != nil {
			return fmt.Errorf("set %s of ipset: %w", name, err)
		}
		if one == nil {
			continue // gone meanwhile
		}
		if r.ipsets == nil {
			r.ipsets = map[string]*ipset{}
		}
		r.ipsets[name] = one
		for i := range one.members {
			names = append(names, one.members[i].set)
		}
	}
	for _, name := range written {
		if one := r.ipsets[name]; one != nil {
			one.written = true
		}
	}
	return nil
}

// readIPSet reads one set; nil when there is none of that name.
func (s *socket) readIPSet(in *receiver, name string) (*ipset, error) {
	at := now()
	one := &ipset{since: at}
	attrs := appendAttribute(nil, ipsetAttrProtocol, []byte{ipsetProtocol})
	attrs = appendText(attrs, ipsetAttrName, name)
	err := s.askOf(subsystemIPSet, in, ipsetList, flagDump, unix.AF_UNSPEC, attrs, func(_, _ uint8, a attributes) { one.add(a, at) })
	var number unix.Errno
	switch {
	case errors.As(err, &number):
		return nil, nil //nolint:nilnil // it is not there
	case err != nil:
		return nil, err
	}
	one.seal()
	return one, nil
}

// ipsetName asks for the name of a set; empty when there is none, or no ipset.
func (s *socket) ipsetName(in *receiver, index uint16) (name string, err error) {
	attrs := appendAttribute(nil, ipsetAttrProtocol, []byte{ipsetProtocol})
	attrs = appendAttribute(attrs, ipsetAttrIndex|unix.NLA_F_NET_BYTEORDER, binary.BigEndian.AppendUint16(nil, index))
	err = s.askOf(subsystemIPSet, in, ipsetGetByIndex, 0, unix.AF_UNSPEC, attrs, func(_, _ uint8, a attributes) {
		for {
			kind, value, ok := a.next()
			if !ok {
				return
			}
			if kind == ipsetAttrName {
				name = text(value)
			}
		}
	})
	var number unix.Errno
	if errors.As(err, &number) {
		return "", nil // there is no such set now, or this kernel has no ipset
	}
	return name, err
}

// ipsetInterval is how often the members of sets are read again, which nobody
// announces; but where that costs much so that it is one part in a hundred of a
// processor's time.
const ipsetInterval = time.Second

// lookForIPSets reads again the sets that rules ask for, and returns the rules with
// them if their members have changed. An error is left to the next look.
func (w *watchedRules) lookForIPSets() *Ruleset {
	if w.last == nil || len(w.last.ipsets) == 0 || time.Now().Before(w.setsDue) {
		return nil
	}
	var changed *Ruleset
	spent := costOf(func() { changed = w.readIPSetsAgain() })
	w.setsDue = time.Now().Add(max(ipsetInterval, countShare*spent))
	return changed
}

func (w *watchedRules) readIPSetsAgain() *Ruleset {
	s, err := openSocket(w.handle, 0, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = s.close() }()
	next := *w.last
	next.Time = now()
	var written []string
	for name, one := range w.last.ipsets {
		if one.written {
			written = append(written, name)
		}
	}
	if s.readIPSets(newReceiver(1, dumpDatagramSize), &next, written) != nil {
		return nil
	}
	if next.rememberIPSets(w.last) {
		return nil
	}
	w.last = &next
	return &next
}
