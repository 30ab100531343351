package netfilter

import (
	"time"

	"golang.org/x/sys/unix"

	"natlens/netinfo/cost"
	"natlens/netinfo/netns"
)

// How often counters are read: every second where rules drop, and sooner where
// somebody asked; but where that costs much so that it is one part in a hundred of a
// processor's time.
const (
	countInterval = time.Second
	countGap      = 20 * time.Millisecond
	countShare    = 100
)

// costOf reads and returns what that cost the processors, at most. They did not work for
// longer than it took. And where the machine has other things to do, so that it took
// long, they did no more than thrice what they did for the reading thread: the rest is a
// thread that enters the namespace, and collecting garbage.
func costOf(read func()) time.Duration {
	began := time.Now()
	spent := cost.Of(read)
	return min(time.Since(began), 3*spent)
}

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
	var err error
	spent := costOf(func() { err = readCounts(ns, rules, packets) })
	if err != nil {
		return out, err
	}
	ofLegacy, err := readLegacyCounts(ns, rules.legacy, packets)
	if err != nil {
		return out, err
	}
	out.End = now()
	if list, ok := moved(c.packets, packets); ok && c.packets != nil {
		out.Since, out.Moved = c.start, list
	}
	c.packets, c.start, c.of = packets, out.Start, rules
	spent += ofLegacy
	c.due = time.Now().Add(max(countInterval, countShare*spent))
	c.soonest = time.Now().Add(max(countGap, countShare*spent))
	return out, nil
}

// readCounts adds those of nf_tables.
func readCounts(ns *netns.Handle, rules *Ruleset, packets map[RuleID]uint64) error {
	s, err := openSocket(ns, 0, 0)
	if err != nil {
		return err
	}
	defer func() { _ = s.close() }()
	err = s.ask(newReceiver(1, dumpDatagramSize), nftGetRule, flagDump, unix.AF_UNSPEC, nil, func(sub, family uint8, a attributes) {
		if id, n, ok := decodeCount(a, familyNames[family]); ok && sub == nftNewRule {
			packets[id] = n
		}
	})
	if err != nil || !rules.countsPolicies() {
		return err
	}
	return s.ask(newReceiver(1, dumpDatagramSize), nftGetChain, flagDump, unix.AF_UNSPEC, nil, func(sub, family uint8, a attributes) {
		if id, n, ok := decodePolicyCount(a, familyNames[family]); ok && sub == nftNewChain {
			packets[id] = n
		}
	})
}

// readLegacyCounts adds those of iptables-legacy's tables, and says what that cost.
func readLegacyCounts(ns *netns.Handle, tables []LegacyTable, packets map[RuleID]uint64) (spent time.Duration, err error) {
	if len(tables) == 0 {
		return 0, nil
	}
	err = ns.Do(func() error {
		spent = costOf(func() {
			for _, l := range tables {
				t, err := readLegacyTable(l.Family, l.Name)
				if err != nil {
					continue // the Ruleset says so
				}
				t.addCounts(packets)
			}
		})
		return nil
	})
	return spent, err
}

// addCounts adds those of a table of iptables-legacy.
func (t *table) addCounts(packets map[RuleID]uint64) {
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
