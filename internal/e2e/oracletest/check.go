package oracletest

import (
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
	Parted                   // a piece, or what was merged, is not what tcpdump saw
	Unrelated                // it belongs to another earlier one, or is not said to
	faults
)

// String returns the heading of the table.
func (f Fault) String() string {
	return [...]string{"joined", "split", "order", "transl.", "verdict", "evid.", "missing", "parts", "related"}[f]
}

// Mistake is one thing that is wrong with a journey.
type Mistake struct {
	Fault Fault
	Text  string
}

// Host is what ip(8), docker(1) and whoever makes the traffic know.
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
	// Uplinks are the links of the host behind which nothing is recorded, by
	// index. Without any, every link that sends is one.
	Uplinks map[int]bool
	// Inside are the addresses that NAT hides from what is behind an uplink.
	Inside map[string]bool
	// Drop tells what drops a packet of this kind, if it is dropped: the hook and
	// a part of the rule's text; empty if it is no rule. May be nil.
	Drop func(*Packet) (hook, rule string)
	// Foreign: journeys come from files that have packets and nothing else, so
	// that neither flows nor verdicts are known.
	Foreign bool
	// Redirected reports whether it is a REDIRECT that changes destinations of
	// a packet's flow. May be nil.
	Redirected func(*Packet) bool
}

// uplink reports whether what is sent there is out of sight.
func (h *Host) uplink(s *Sighting) bool {
	return s.Space == h.Self && (len(h.Uplinks) == 0 || h.Uplinks[s.Ifindex])
}

// checker compares one journey with its packet.
type checker struct {
	oracle   *Oracle
	host     *Host
	journey  *Journey
	packet   *Packet
	matched  map[moment]int64 // when tcpdump saw what hops saw
	hops     []*Sighting      // of each hop of the journey; nil when wrongly joined
	mistakes []Mistake

	// What is right and yet less than there is to know: a rule dropped it and is
	// not named; where it was last seen is all that is said.
	unruled, vanished bool
	inferred          bool // a translation was read out of packets alone, or is one of several that fit
}

func (c *checker) bad(f Fault, format string, args ...any) {
	c.mistakes = append(c.mistakes, Mistake{f, fmt.Sprintf(format, args...)})
}

// check holds one journey against the truth and notes what is wrong with it. The
// packet is nil when the oracle saw none that the journey can be of.
func (o *Oracle) check(j *Journey, p *Packet, host *Host, matched map[moment]int64) *checker {
	c := &checker{oracle: o, host: host, journey: j, packet: p, matched: matched}
	if p == nil {
		c.bad(Joined, "tcpdump saw no such packet")
		return c
	}
	c.checkHops()
	c.checkParts()
	if host.Foreign {
		c.checkInferred()
		return c
	}
	c.checkFlow()
	c.checkTranslations()
	c.checkProxies()
	c.checkVerdict()
	if j.ambiguous() && !c.packet.Ambiguous {
		c.bad(Unevidenced, "called ambiguous, which it is not")
	}
	return c
}

// stampSlack is by how much the stamps of two sockets may differ for one packet: the
// kernel can be interrupted between them, and a virtual processor be taken away for a good
// part of a second. Which packet a hop is of, and in what order hops are, is told by
// tcpdump's stamps; what this bound is for is a clock that is another's.
const stampSlack = time.Second

func (c *checker) checkHops() {
	j, p := c.journey, c.packet
	left := make([]*Sighting, len(p.Sightings))
	for i := range p.Sightings {
		left[i] = &p.Sightings[i]
	}
	c.hops = make([]*Sighting, len(j.Hops))
	for i := range j.Hops {
		h := &j.Hops[i]
		stamp, seen := c.matched[h.moment()]
		n := slices.IndexFunc(left, func(s *Sighting) bool { return seen && s.moment() == moment{h.point(), stamp} })
		if n < 0 {
			c.bad(Joined, "hop %d, %s/%s %s: of another packet", i, h.Namespace, h.Interface, h.Direction)
			continue
		}
		s := left[n]
		c.hops[i], left = s, slices.Delete(left, n, n+1)
		if d := apart(h, s); d > stampSlack && !s.unrecorded {
			c.bad(Order, "hop %d: %v from tcpdump's stamp", i, d)
		}
	}
	for i, s := range c.hops {
		before := c.before(i)
		if s == nil || before == nil {
			continue
		}
		tolerance := int64(0)
		if before.Space != s.Space {
			tolerance = int64(50 * time.Microsecond)
		}
		if s.Time < before.Time-tolerance {
			c.bad(Order, "hop %d is earlier than the one it came from", i)
		}
	}
	for _, s := range left {
		if s.unrecorded && c.host.Foreign {
			continue
		}
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
