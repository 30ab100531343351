package netfilter

import (
	"time"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// How often counters are read: every second where rules drop, and sooner where
// somebody asked; but where that takes long so that it is one part in a hundred of the
// time.
const (
	countInterval = time.Second
	countGap      = 20 * time.Millisecond
	countShare    = 100
)

// counting is the counters of one namespace as they were read last.
type counting struct {
	packets map[RuleID]uint64
	start   int64
	of      *Ruleset  // whose they are
	due     time.Time // to be read unasked
	soonest time.Time // to be read when asked
}

// wanted reports whether the counters are to be read now. Rules of NAT alone are read
// when they are new, to compare with, and then when somebody asked.
func (c *counting) wanted(rules *Ruleset, asked bool) bool {
	now := time.Now()
	switch {
	case now.Before(c.soonest):
		return false
	case now.After(c.due) && rules.drops():
		return true
	}
	if !asked && c.of == rules || !rules.translates() {
		c.of = rules
		return false
	}
	return true
}

// read reads the counters of a namespace's rules.
func (c *counting) read(ns *netns.Handle, rules *Ruleset) (Counts, error) {
	out := Counts{Namespace: ns.ID(), Start: now()}
	packets := map[RuleID]uint64{}
	s, err := openSocket(ns, 0, 0)
	if err != nil {
		return out, err
	}
	defer func() { _ = s.close() }()
	err = s.ask(newReceiver(1, dumpDatagramSize), nftGetRule, flagDump, unix.AF_UNSPEC, nil, func(sub, family uint8, a attributes) {
		if id, n, ok := decodeCount(a, familyNames[family]); ok && sub == nftNewRule {
			packets[id] = n
		}
	})
	if err != nil {
		return out, err
	}
	if rules.countsPolicies() {
		err := s.ask(newReceiver(1, dumpDatagramSize), nftGetChain, flagDump, unix.AF_UNSPEC, nil, func(sub, family uint8, a attributes) {
			if id, n, ok := decodePolicyCount(a, familyNames[family]); ok && sub == nftNewChain {
				packets[id] = n
			}
		})
		if err != nil {
			return out, err
		}
	}
	if err := readLegacyCounts(ns, rules.legacy, packets); err != nil {
		return out, err
	}
	out.End = now()
	if list, ok := moved(c.packets, packets); ok && c.packets != nil {
		out.Since, out.Moved = c.start, list
	}
	c.packets, c.start, c.of = packets, out.Start, rules
	took := time.Duration(out.End - out.Start)
	c.due = time.Now().Add(max(countInterval, countShare*took))
	c.soonest = time.Now().Add(max(countGap, countShare*took))
	return out, nil
}

// readLegacyCounts adds those of iptables-legacy's tables.
func readLegacyCounts(ns *netns.Handle, tables []LegacyTable, packets map[RuleID]uint64) error {
	if len(tables) == 0 {
		return nil
	}
	return ns.Do(func() error {
		for _, l := range tables {
			t, err := readLegacyTable(l.Family, l.Name)
			if err != nil {
				continue // the Ruleset says so
			}
			for _, c := range t.chains {
				if c.policyCounts && c.policy == verdictDrop {
					packets[ChainRef{Backend: IPTablesLegacy, Family: c.family, Table: c.table, Name: c.name}.ID()] = c.passed.Packets
				}
				for i := range c.rules {
					r := c.rules[i].public()
					r.Backend = IPTablesLegacy
					packets[r.ID()] = r.Counter.Packets
				}
			}
		}
		return nil
	})
}
