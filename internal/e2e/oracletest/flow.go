package oracletest

import "time"

// flow is a direction of a conntrack entry.
type flow struct {
	entry *Entry
	reply bool
	about bool
}

// protocols are the numbers of what conntrack(8) names.
var protocols = map[string]int{"icmp": icmp, "tcp": tcp, "udp": udp, "icmpv6": icmp6}

// way is what the packets of one direction carry before all translation and
// after it.
func (e *Entry) way(reply bool) (before, after tuple) {
	at := func(ends [2]Address, id int) tuple { return tuple{protocols[e.Protocol], ends[0], ends[1], id} }
	inverse := func(ends [2]Address) [2]Address { return [2]Address{ends[1], ends[0]} }
	if reply {
		return at(e.Reply, e.ICMP[1]), at(inverse(e.Original), e.ICMP[0])
	}
	return at(e.Original, e.ICMP[0]), at(inverse(e.Reply), e.ICMP[1])
}

// flowsOf finds entries by every tuple that their packets can carry.
func flowsOf(entries []Entry) map[tuple][]flow {
	flows := map[tuple][]flow{}
	for i := range entries {
		e := &entries[i]
		add := func(source, dest Address, id int, reply bool) {
			k := tuple{protocols[e.Protocol], source, dest, id}
			if n := len(flows[k]); n == 0 || flows[k][n-1].entry != e {
				flows[k] = append(flows[k], flow{entry: e, reply: reply})
			}
		}
		before, after := e.Original, [2]Address{e.Reply[1], e.Reply[0]}
		add(before[0], before[1], e.ICMP[0], false)
		add(after[0], after[1], e.ICMP[1], false)
		add(e.Reply[0], e.Reply[1], e.ICMP[1], true)
		add(before[1], before[0], e.ICMP[0], true)
		// Halfway: one side translated (localhost and hairpin).
		add(before[0], after[1], e.ICMP[0], false)
		add(after[1], before[0], e.ICMP[0], true)
	}
	return flows
}

// flowAt returns the flow of a tuple at that time: the last that began by then, unless
// it was gone.
func flowAt(flows map[tuple][]flow, t tuple, at int64) flow {
	// The news of a flow comes behind its first packet; that which is sent
	// again for one that was dropped comes later than this.
	const late = int64(500 * time.Millisecond)
	found := flow{}
	for _, f := range flows[t] {
		if f.entry.Time <= at+late {
			found = f
		}
	}
	if e := found.entry; e != nil && e.Ended != 0 && e.Ended < at {
		return flow{}
	}
	return found
}
