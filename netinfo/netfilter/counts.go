package netfilter

import "natlens/netinfo/netns"

// RuleID names a rule as long as its Ruleset stands. It is comparable.
type RuleID struct {
	Family, Table, Chain string
	Handle               uint64
	Position             int  // of iptables-legacy, which has no handles
	Legacy               bool // of iptables-legacy
}

// ID returns the name of the rule.
func (r RuleRef) ID() RuleID {
	id := RuleID{Family: r.Family, Table: r.Table, Chain: r.Chain, Handle: r.Handle, Legacy: r.Backend == IPTablesLegacy}
	if id.Legacy {
		id.Position = r.Position
	}
	return id
}

// Counts is a reading of all counters of one namespace's rules: which have moved
// since the reading before.
type Counts struct {
	Namespace netns.ID
	// Start and End are when it was read, in nanoseconds since the Unix epoch: a
	// packet before Start is in it, one after End is not.
	Start, End int64
	Since      int64 // Start of the reading before; 0: there was none, and Moved is empty
	Moved      []Count
}

// Count is a rule that has counted packets.
type Count struct {
	Rule    RuleID
	Packets uint64
}

// moved returns the counters that differ; false when one was set back, or there
// are other rules than before.
func moved(before, after map[RuleID]uint64) (list []Count, ok bool) {
	if len(before) != len(after) {
		return nil, false
	}
	for id, n := range after {
		was, there := before[id]
		switch {
		case !there || n < was:
			return nil, false
		case n > was:
			list = append(list, Count{id, n - was})
		}
	}
	return list, true
}

// decodeCount reads the name and the counter of NFT_MSG_NEWRULE; false when the
// rule has none.
func decodeCount(a attributes, family string) (id RuleID, packets uint64, ok bool) {
	id.Family = family
	for {
		kind, value, more := a.next()
		if !more {
			return id, packets, ok
		}
		switch kind {
		case 1:
			id.Table = text(value)
		case 2:
			id.Chain = text(value)
		case 3:
			id.Handle, _ = be64(value)
		case 4:
			for list := attributes(value); ; {
				_, element, more := list.next()
				if !more {
					break
				}
				if e := countOf(element); e != nil {
					packets, ok = e.counter.Packets, true
				}
			}
		}
	}
}

// countOf decodes an expression if it is a counter.
func countOf(b []byte) *expression {
	a := attributes(b)
	kind, name, ok := a.next()
	if !ok || kind != 1 || text(name) != "counter" {
		return nil
	}
	e := decodeExpression(b, 0)
	return &e
}

// drops reports whether a rule drops or rejects, or may, by a verdict map.
func (r *Ruleset) drops() bool {
	for _, t := range r.tables {
		for _, c := range t.chains {
			for i := range c.rules {
				for j := range c.rules[i].expressions {
					e := &c.rules[i].expressions[j]
					switch {
					case e.verdict.there && e.verdict.code == verdictDrop, e.name == "reject", e.extension == "REJECT":
						return true
					case e.name == "lookup" && e.hasDestination && e.destination == 0:
						return true
					}
				}
			}
		}
	}
	return false
}
