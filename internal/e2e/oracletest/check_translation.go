package oracletest

import (
	"cmp"
	"slices"
)

// nowhere is the side of a change that no tap saw.
const nowhere = -1

// change is a pair of hops between which addresses changed.
type change struct {
	i, j          int
	before, after tuple
}

// checkTranslations holds what the journey says between two hops against the
// addresses that tcpdump saw there. In a packet that is cut, one change can be
// seen several times; saying it once is enough.
func (c *checker) checkTranslations() {
	var changes []change
	for i, s := range c.hops {
		b := c.before(i)
		if s == nil || b == nil || s.whole == b.whole {
			continue
		}
		from := i - 1
		if f := c.journey.Hops[i].From; f != nil {
			from = *f
		}
		changes = append(changes, change{from, i, b.whole, s.whole})
	}
	changes = append(changes, c.unseen()...)
	said := make([]bool, len(changes))
	claimed := 0
	for n, ch := range changes {
		shown := c.between(ch.i, ch.j)
		if len(shown) == 0 {
			continue
		}
		said[n] = true
		claimed += len(shown)
		c.checkTranslation(ch, shown)
	}
	for n, ch := range changes {
		if said[n] || slices.ContainsFunc(changes, func(o change) bool {
			return o.before == ch.before && o.after == ch.after && len(c.between(o.i, o.j)) > 0 && c.packet.Pieces()
		}) {
			continue
		}
		c.bad(Translated, "between hops %d and %d nothing is said", ch.i, ch.j)
	}
	all := 0
	for _, tr := range c.journey.Translations {
		if tr.Kind != "proxy" && (tr.Between[1] != nil || !c.beyond(tr)) {
			all++
		}
	}
	if all > claimed {
		c.bad(Translated, "%d translations where tcpdump saw none", all-claimed)
	}
}

func (c *checker) between(i, j int) (shown []Translation) {
	index := func(n *int) int {
		if n == nil {
			return nowhere
		}
		return *n
	}
	for _, tr := range c.journey.Translations {
		if tr.Kind != "proxy" && index(tr.Between[0]) == i && index(tr.Between[1]) == j {
			shown = append(shown, tr)
		}
	}
	return shown
}

// unconfirmed reports whether a packet was dropped behind the translation, so that
// it never had an entry, and the translation rests on something else.
func (c *checker) unconfirmed(tr Translation) bool {
	last := &c.packet.Sightings[len(c.packet.Sightings)-1]
	return c.refused(last) && slices.Contains([]string{"evaluated", "inferred", "trace"}, tr.Evidence) && tr.ConntrackID == 0
}

// beyond reports whether a packet was translated behind the last point where it was
// seen, and dropped there.
func (c *checker) beyond(tr Translation) bool {
	last := &c.packet.Sightings[len(c.packet.Sightings)-1]
	return c.unconfirmed(tr) || !last.Out && !c.isFor(last) && c.isOnTheWay(tr)
}

// unseen are the changes that conntrack(8) tells of and no tap saw: of what the
// host itself sends, before the first, and of what it takes, behind the last.
func (c *checker) unseen() (changes []change) {
	p := c.packet
	if p.Entry == nil || p.About || len(c.hops) == 0 {
		return nil
	}
	before, after := p.Entry.way(p.Reply)
	local := func(s *Sighting) bool { return s != nil && s.Space == c.host.Self }
	if first := c.hops[0]; local(first) && first.Out && first.whole != before {
		changes = append(changes, change{nowhere, 0, before, first.whole})
	}
	at, ok := c.journey.Verdict.At.(float64)
	if !ok || int(at) >= len(c.hops) {
		return changes
	}
	last := c.hops[int(at)]
	if local(last) && !last.Out && c.host.Addresses[last.Space][after.dest.IP] && last.whole != after {
		changes = append(changes, change{int(at), nowhere, last.whole, after})
	}
	return changes
}

func (c *checker) checkTranslation(ch change, shown []Translation) {
	p := c.packet
	var want, got []string
	source, dest := ch.before.source != ch.after.source || ch.before.icmpID != ch.after.icmpID, ch.before.dest != ch.after.dest
	if p.Reply {
		source, dest = ch.before.source != ch.after.source, dest || ch.before.icmpID != ch.after.icmpID
	}
	kinds := [2]string{cmp.Or(c.host.Kinds[0], "masquerade"), cmp.Or(c.host.Kinds[1], "dnat")}
	if c.host.Redirected != nil && c.host.Redirected(p) {
		kinds[1] = "redirect"
	}
	if ch.before.source.IP == ch.after.source.IP && ch.before.dest.IP == ch.after.dest.IP {
		kinds[0] = "snat" // no rule's: another flow has the port (nf_nat_setup_info)
	}
	if p.Reply {
		kinds[0], kinds[1] = kinds[1], kinds[0]
	}
	if source {
		want = append(want, kinds[0])
	}
	if dest {
		want = append(want, kinds[1])
	}
	for _, tr := range shown {
		got = append(got, tr.Kind)
		if c.unconfirmed(tr) {
			continue
		}
		if p.Entry == nil || tr.ConntrackID != p.Entry.ID || tr.Evidence != "conntrack" {
			c.bad(Unevidenced, "translation by %s %d, conntrack says %+v", tr.Evidence, tr.ConntrackID, p.Entry)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		c.bad(Translated, "between hops %d and %d: %v, want %v", ch.i, ch.j, got, want)
	}
	if p.About {
		return // what it shows are the addresses of the packet that it is about
	}
	first, last := shown[0].Before, shown[len(shown)-1].After
	if first.Source != ch.before.source || first.Destination != ch.before.dest {
		c.bad(Translated, "translation from %+v, want %+v", first, ch.before)
	}
	if last.Source != ch.after.source || last.Destination != ch.after.dest {
		c.bad(Translated, "translation to %+v, want %+v", last, ch.after)
	}
}

// checkProxies holds what is said of a process between two connections against
// the words that both carried. What is said to be one of several that fit is
// counted apart, whichever it names.
func (c *checker) checkProxies() {
	for _, tr := range c.journey.Translations {
		if tr.Kind != "proxy" {
			continue
		}
		if c.journey.OneOfSeveral() {
			c.inferred = true
			if tr.Evidence != "inferred" {
				c.bad(Unevidenced, "a proxy by %s, though others fit", tr.Evidence)
			}
			continue
		}
		before, after := c.oracle.said[[2]Address{tr.Before.Source, tr.Before.Destination}], c.oracle.said[[2]Address{tr.After.Source, tr.After.Destination}]
		if before == "" || before != after {
			c.bad(Translated, "a proxy between %v, which said %.30q, and %v, which said %.30q", tr.Before, before, tr.After, after)
		}
	}
}

// checkInferred holds what was made of packets alone against the addresses that
// changed, and wants it called inferred.
func (c *checker) checkInferred() {
	said := map[[2]int]bool{}
	for _, tr := range c.journey.Translations {
		if tr.Evidence != "inferred" {
			c.bad(Unevidenced, "translation by %s", tr.Evidence)
		}
		if tr.Between[0] == nil || tr.Between[1] == nil {
			if !c.isOnTheWay(tr) {
				c.bad(Translated, "a translation that no packet shows")
			}
			continue
		}
		said[[2]int{*tr.Between[0], *tr.Between[1]}] = true
	}
	for i, s := range c.hops {
		b := c.before(i)
		if s == nil || b == nil {
			continue
		}
		from := i - 1
		if f := c.journey.Hops[i].From; f != nil {
			from = *f
		}
		changed, told := s.whole != b.whole, said[[2]int{from, i}]
		if changed && (told || c.packet.Pieces()) {
			c.inferred = true
		}
		if told != changed && !c.packet.Pieces() {
			c.bad(Translated, "between hops %d and %d: changed %v, said %v", from, i, changed, told)
		}
	}
}

// isOnTheWay reports whether a translation that no two hops show is one that
// conntrack(8) tells of, and is made where the host sends or takes the packet.
func (c *checker) isOnTheWay(tr Translation) bool {
	p := c.packet
	if p.Entry == nil || p.About {
		return false
	}
	at := len(c.hops) - 1
	if tr.Between[0] == nil {
		at = 0
	}
	if c.hops[at] == nil || c.host.Containers[c.hops[at].Space] != "" {
		return false
	}
	before, after := p.Entry.way(p.Reply)
	is := func(source, dest Address) bool {
		return (source == before.source || source == after.source) && (dest == before.dest || dest == after.dest)
	}
	return is(tr.Before.Source, tr.Before.Destination) && is(tr.After.Source, tr.After.Destination)
}
