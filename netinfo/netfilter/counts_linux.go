package netfilter

import (
	"time"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// How often counters are read: every second, but where that takes long so that
// it is one part in a hundred of the time.
const (
	countInterval = time.Second
	countShare    = 100
)

// counting is the counters of one namespace as they were read last.
type counting struct {
	packets map[RuleID]uint64
	start   int64
	due     time.Time
}

// read reads the counters of a namespace's rules.
func (c *counting) read(ns *netns.Handle, legacy []LegacyTable) (Counts, error) {
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
	if err := readLegacyCounts(ns, legacy, packets); err != nil {
		return out, err
	}
	out.End = now()
	if list, ok := moved(c.packets, packets); ok && c.packets != nil {
		out.Since, out.Moved = c.start, list
	}
	c.packets, c.start = packets, out.Start
	c.due = time.Now().Add(max(countInterval, countShare*time.Duration(out.End-out.Start)))
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
