package oracletest

import (
	"slices"
	"strings"
)

// end is what must become of a packet.
type end struct {
	results  []string
	evidence []string
	at       *Sighting // where; nil when at several places
	hook     string    // of the rule that dropped it, if one did
	rule     string    // a part of its text
}

// end knows how a packet ended by where it was seen last and whose the address is
// that it was for.
func (c *checker) end() end {
	p := c.packet
	dropped, rule := "", ""
	if c.host.Drop != nil {
		dropped, rule = c.host.Drop(p)
	}
	last := &p.Sightings[len(p.Sightings)-1]
	for i := range p.Sightings {
		s := &p.Sightings[i]
		if s.Type == broadcast || s.Type == multicast {
			return end{results: []string{"flooded"}, evidence: []string{"tap"}}
		}
		// A bridge that does not know where an address is sends to all ports; one
		// of them is where it is for.
		if s.Type == toHost && c.isFor(s) {
			last = s
		}
	}
	switch {
	case last.Out && c.host.uplink(last):
		return end{[]string{"left"}, []string{"tap"}, last, "", ""}
	case c.refused(last):
	case !last.Out && dropped != "input" && c.isFor(last):
		return end{[]string{"delivered"}, []string{"tap", "conntrack"}, last, "", ""}
	}
	return end{[]string{"dropped", "vanished"}, []string{"tap", "inferred", "evaluated", "counter", "trace", "reply"}, last, dropped, rule}
}

// refused reports whether a packet was last seen coming to where connections are
// tracked, and has no entry there: it was not let pass. What is on the loopback
// need not be tracked.
func (c *checker) refused(last *Sighting) bool {
	return !last.Out && last.Space == c.host.Self && c.packet.Entry == nil && !last.loopback()
}

// isFor reports whether a packet is for the namespace where it was seen coming in.
func (c *checker) isFor(s *Sighting) bool {
	own := c.host.Addresses[s.Space]
	if p := c.packet; p.Entry != nil && !p.About && s.Space == c.host.Self {
		_, after := p.Entry.way(p.Reply)
		return !s.Out && own[after.dest.IP]
	}
	return !s.Out && own[s.Dest.IP]
}

func (c *checker) checkVerdict() {
	v, want := c.journey.Verdict, c.end()
	if !slices.Contains(want.results, v.Result) {
		c.bad(Judged, "verdict %s (%s), want %v", v.Result, v.Reason, want.results)
		return
	}
	if !slices.Contains(want.evidence, v.Evidence) {
		c.bad(Unevidenced, "verdict %s by %s, want one of %v", v.Result, v.Evidence, want.evidence)
	}
	if n, ok := v.At.(float64); want.at != nil && (!ok || int(n) >= len(c.hops) || c.hops[int(n)] == nil || c.hops[int(n)].place() != want.at.place()) {
		c.bad(Judged, "verdict %s at %v, want at %v", v.Result, v.At, *want.at)
	}
	if want.hook != "" && v.Hook != "" && v.Hook != want.hook {
		c.bad(Judged, "dropped at hook %s, want %s", v.Hook, want.hook)
	}
	if v.Rule != nil && (want.rule == "" || !strings.Contains(v.Rule.Text, want.rule)) {
		c.bad(Judged, "dropped by %q, want a rule with %q", v.Rule.Text, want.rule)
	}
	c.unruled = want.rule != "" && v.Rule == nil
	c.vanished = v.Result == "vanished"
	if leaks := slices.ContainsFunc(c.packet.Sightings, func(s Sighting) bool {
		return s.Out && c.host.uplink(&s) && c.host.Inside[s.Source.IP]
	}); v.Leak != leaks {
		c.bad(Judged, "leak %v, want %v", v.Leak, leaks)
	}
}
