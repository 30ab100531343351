package oracletest

import "time"

// flow is a direction of a conntrack entry.
type flow struct {
	entry *Entry
	reply bool
	about bool
	// firm: no two entries that live have the tuple so. What the host itself sends may
	// have one of another's before its port is changed, and nothing records it there.
	firm bool
}

// late is how long after the first packet of a flow conntrack(8) at most tells of it: it
// stamps an event when it comes to read it. A SYN that is sent again for one that was
// dropped comes later than this, after a second (RFC 6298, section 2.1).
const late = int64(900 * time.Millisecond)

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

// flowsOf finds entries by every tuple that their packets can carry, and from
// sightings, which are in the order of their time, when each began.
func flowsOf(entries []Entry, sightings []Sighting) map[tuple][]flow {
	flows := map[tuple][]flow{}
	for i := range entries {
		e := &entries[i]
		e.began = 0
		firm := [2]tuple{}
		_, firm[0] = e.way(false)
		firm[1], _ = e.way(true)
		add := func(source, dest Address, id int, reply bool) {
			k := tuple{protocols[e.Protocol], source, dest, id}
			if n := len(flows[k]); n == 0 || flows[k][n-1].entry != e {
				flows[k] = append(flows[k], flow{entry: e, reply: reply, firm: k == firm[0] || k == firm[1]})
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
	for i := range sightings {
		s := &sightings[i]
		for _, f := range flows[s.whole] {
			if e := f.entry; e.began == 0 && s.quoted == nil && s.Time <= e.Time && s.Time >= e.Time-late {
				if before, _ := e.way(false); before == s.whole {
					e.began = s.Time
				}
			}
		}
	}
	for i := range entries {
		if e := &entries[i]; e.began == 0 {
			e.began = e.Time - late
		}
	}
	return flows
}

// flowAt returns the flow of a tuple at that time: the last that began by then and
// lived, and of those one that surely has it.
func flowAt(flows map[tuple][]flow, t tuple, at int64) flow {
	found := flow{}
	for _, f := range flows[t] {
		e := f.entry
		if e.began <= at && (e.Ended == 0 || e.Ended >= at) && (f.firm || !found.firm) {
			found = f
		}
	}
	return found
}
