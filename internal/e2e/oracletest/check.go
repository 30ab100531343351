package oracletest

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Fault is a way in which a journey can be wrong.
type Fault int

const (
	Joined      Fault = iota // it has a hop of another packet
	Split                    // it lacks hops, or the packet has a second journey
	Order                    // hops are not in the order of their time
	Translated               // a translation is not what the addresses and conntrack say
	Judged                   // the verdict, or the direction, is another
	Unevidenced              // right, but not on the evidence that there is
	Missing                  // the packet has no journey
	faults
)

// String returns the heading of the table.
func (f Fault) String() string {
	return [...]string{"joined", "split", "order", "transl.", "verdict", "evidence", "missing"}[f]
}

// Mistake is one thing that is wrong with a journey.
type Mistake struct {
	Fault Fault
	Text  string
}

// Host says whose addresses are where, as ip(8) and docker(1) know it.
type Host struct {
	// Addresses are those of each namespace that is recorded, by its inode.
	Addresses map[uint64]map[string]bool
	// Containers are the names of the namespaces that are containers'.
	Containers map[uint64]string
	// Self is the namespace whose entries the oracle has: there a packet
	// without one was not let pass.
	Self uint64
	// Kinds are what this host's rules do to a source and to a destination;
	// empty: masquerade and dnat.
	Kinds [2]string
}

// checker compares one journey with its packet.
type checker struct {
	oracle   *Oracle
	host     *Host
	journey  *Journey
	packet   *Packet
	hops     []*Sighting // of each hop of the journey; nil when wrongly joined
	mistakes []Mistake
}

func (c *checker) bad(f Fault, format string, args ...any) {
	c.mistakes = append(c.mistakes, Mistake{f, fmt.Sprintf(format, args...)})
}

// Check holds one journey against the truth and returns what is wrong with it.
// The packet is nil when the oracle saw none that the journey can be of.
func (o *Oracle) Check(j *Journey, host *Host) (*Packet, []Mistake) {
	c := &checker{oracle: o, host: host, journey: j, packet: o.find(&j.Hops[0])}
	if c.packet == nil {
		return nil, []Mistake{{Joined, "tcpdump saw no such packet"}}
	}
	c.checkHops()
	c.checkFlow()
	c.checkTranslations()
	c.checkVerdict()
	return c.packet, c.mistakes
}

func (c *checker) checkHops() {
	j, p := c.journey, c.packet
	left := make([]*Sighting, len(p.Sightings))
	for i := range p.Sightings {
		left[i] = &p.Sightings[i]
	}
	c.hops = make([]*Sighting, len(j.Hops))
	for i := range j.Hops {
		h := &j.Hops[i]
		n := slices.IndexFunc(left, func(s *Sighting) bool { return s.point() == h.point() })
		if n < 0 {
			c.bad(Joined, "hop %d, %s/%s %s: of another packet", i, h.Namespace, h.Interface, h.Direction)
			continue
		}
		s := left[n]
		c.hops[i], left = s, slices.Delete(left, n, n+1)
		if d := apart(h, s); d > time.Millisecond {
			c.bad(Order, "hop %d: %v from tcpdump's stamp", i, d)
		}
		if before := c.before(i); before != nil {
			tolerance := int64(0)
			if before.Space != s.Space {
				tolerance = int64(50 * time.Microsecond)
			}
			if s.Time < before.Time-tolerance {
				c.bad(Order, "hop %d is earlier than the one it came from", i)
			}
		}
	}
	for _, s := range left {
		c.bad(Split, "not in the journey: %v", *s)
	}
}

// before returns the sighting of the hop that hop i came from, or nil.
func (c *checker) before(i int) *Sighting {
	from := i - 1
	if f := c.journey.Hops[i].From; f != nil {
		from = *f
	}
	if from < 0 || from >= len(c.hops) {
		return nil
	}
	return c.hops[from]
}

func (c *checker) checkFlow() {
	j, p := c.journey, c.packet
	if want := c.oracle.direction(p); j.Direction != want {
		c.bad(Judged, "direction %s, want %s", j.Direction, want)
	}
	// The first hop's container is the one that conntrack's original tuple names.
	first := p.Sightings[0]
	if p.Entry != nil && !p.Reply && !p.About && c.host.Containers[first.Space] != "" && first.whole.source != p.Entry.Original[0] {
		c.bad(Judged, "starts at %v, conntrack says %v", first.whole.source, p.Entry.Original[0])
	}
}

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
		if tr.Between[0] != nil && tr.Between[1] != nil {
			all++
		}
	}
	if all > claimed {
		c.bad(Translated, "%d translations where tcpdump saw none", all-claimed)
	}
}

func (c *checker) between(i, j int) (shown []Translation) {
	for _, tr := range c.journey.Translations {
		if tr.Between[0] != nil && tr.Between[1] != nil && *tr.Between[0] == i && *tr.Between[1] == j {
			shown = append(shown, tr)
		}
	}
	return shown
}

func (c *checker) checkTranslation(ch change, shown []Translation) {
	p := c.packet
	end := &p.Sightings[len(p.Sightings)-1]
	var want, got []string
	source, dest := ch.before.source != ch.after.source || ch.before.icmpID != ch.after.icmpID, ch.before.dest != ch.after.dest
	if p.Reply {
		source, dest = ch.before.source != ch.after.source, dest || ch.before.icmpID != ch.after.icmpID
	}
	kinds := [2]string{cmp.Or(c.host.Kinds[0], "masquerade"), cmp.Or(c.host.Kinds[1], "dnat")}
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
		if p.Entry == nil && end.Space == c.host.Self && !end.Out && slices.Contains([]string{"evaluated", "inferred"}, tr.Evidence) && tr.ConntrackID == 0 {
			continue // dropped behind the translation: never an entry
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

// checkVerdict knows three ends: out by a link that nothing recorded is behind,
// in where the address is, and in where it is not, which is a drop. So is one that
// the host's connection tracking has no entry for.
func (c *checker) checkVerdict() {
	v := c.journey.Verdict
	end := &c.packet.Sightings[len(c.packet.Sightings)-1]
	to := end.Dest
	if e := c.packet.Entry; e != nil && !c.packet.About { // what comes in is translated first
		switch {
		case !c.packet.Reply && to == e.Original[1]:
			to = e.Reply[0]
		case c.packet.Reply && to == e.Reply[1]:
			to = e.Original[0]
		}
	}
	want, evidence := []string{"left"}, []string{"tap"}
	switch {
	case end.Out:
	case end.Space == c.host.Self && c.packet.Entry == nil && !end.loopback():
		want, evidence = []string{"dropped", "vanished"}, []string{"tap", "inferred", "evaluated", "reply"}
	case c.host.Addresses[end.Space][to.IP], c.host.Addresses[end.Space][end.Dest.IP] && end.Space != c.host.Self:
		want, evidence = []string{"delivered"}, []string{"tap", "conntrack"}
	default:
		want, evidence = []string{"dropped", "vanished"}, []string{"tap", "inferred", "evaluated", "reply"}
	}
	if !slices.Contains(want, v.Result) {
		c.bad(Judged, "verdict %s (%s), want %v", v.Result, v.Reason, want)
	} else if !slices.Contains(evidence, v.Evidence) {
		c.bad(Unevidenced, "verdict %s by %s, want one of %v", v.Result, v.Evidence, evidence)
	}
}
