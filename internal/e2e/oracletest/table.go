package oracletest

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Tally is one line of the table.
type Tally struct {
	Case    string
	Packets int
	Right   int
	Wrong   [faults]int // journeys (for Missing, packets) with that fault

	// Of the right ones: dropped by a rule that is not named; ended where they
	// did, without a word that it was a drop; translated by inference, or passed on
	// by a proxy for one of several clients that fit.
	Unruled, Vanished, Inferred int

	Ambiguous int // packets whose truth nobody can know; not among the others
	Unsaid    int // of these, journeys that do not say so
}

// Table counts journeys by case.
type Table struct {
	Foreign  bool // of files that have packets and nothing else
	Lines    []*Tally
	Examples []string // of what was wrong, the first of each fault and case
}

func (t *Table) line(name string) *Tally {
	for _, l := range t.Lines {
		if l.Case == name {
			return l
		}
	}
	l := &Tally{Case: name}
	t.Lines = append(t.Lines, l)
	return l
}

// Judge holds all journeys against the oracle. caseOf names the case of a
// packet; what it calls "" is not counted.
func (o *Oracle) Judge(journeys []Journey, host *Host, since int64, caseOf func(*Packet) string) *Table {
	t := &Table{Foreign: host.Foreign}
	var counted []*Journey
	byID := map[uint64]*checker{}
	for i := range journeys {
		j := &journeys[i]
		if len(j.Hops) == 0 || housekeeping(j.Hops[0].Source.IP, j.Hops[0].Destination.IP) || j.Hops[0].Time.UnixNano() < since {
			byID[j.ID] = &checker{journey: j}
			continue
		}
		counted = append(counted, j)
	}
	matched, related := o.match(counted), o.relate()
	found := map[*Packet]*checker{}
	var checked []*checker
	for _, j := range counted {
		c := o.check(j, o.find(j, matched, found), host, matched)
		checked = append(checked, c)
		for _, id := range append(j.earlier, j.ID) {
			byID[id] = c
		}
		switch p := c.packet; {
		case p == nil:
		case found[p] == nil:
			found[p] = c
		case !p.Ambiguous:
			c.bad(Split, "a second journey of one packet")
		}
	}
	examples := map[string]int{}
	example := func(name, column, text, format string, args ...any) {
		if key := name + column; examples[key] < 3 {
			examples[key]++
			t.Examples = append(t.Examples, fmt.Sprintf("%s, %s: %s: ", name, column, text)+fmt.Sprintf(format, args...))
		}
	}
	for _, c := range checked {
		p, j, name := c.packet, c.journey, "other"
		if p != nil {
			if name = caseOf(p); name == "" {
				continue
			}
			if p.Ambiguous {
				if !j.ambiguous() && !host.Foreign && !p.borderline {
					t.line(name).Unsaid++
					example(name, "unsaid", "not called ambiguous", "journey %d, %s %s, %v to %v: %v", j.ID, j.Protocol, j.Info, j.From, j.To, p.Sightings)
				}
				continue
			}
			c.checkRelated(related[p], byID, found)
		}
		l := t.line(name)
		if len(c.mistakes) == 0 {
			l.Right++
			l.Unruled += number(c.unruled)
			l.Vanished += number(c.vanished)
			l.Inferred += number(c.inferred)
		}
		var had [faults]bool
		for _, m := range c.mistakes {
			if !had[m.Fault] {
				had[m.Fault] = true
				l.Wrong[m.Fault]++
				example(name, m.Fault.String(), m.Text, "journey %d, %s %s, %v to %v", j.ID, j.Protocol, j.Info, j.From, j.To)
			}
		}
	}
	for _, p := range o.Packets {
		name := caseOf(p)
		if name == "" {
			continue
		}
		l := t.line(name)
		switch {
		case p.Ambiguous:
			l.Ambiguous++
			continue
		case found[p] == nil:
			l.Wrong[Missing]++
			example(name, Missing.String(), "no journey", "%v", p.Sightings)
		}
		l.Packets++
	}
	slices.SortFunc(t.Lines, func(a, b *Tally) int { return strings.Compare(a.Case, b.Case) })
	return t
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Add takes over the lines of another table.
func (t *Table) Add(o *Table) {
	t.Lines = append(t.Lines, o.Lines...)
	t.Examples = append(t.Examples, o.Examples...)
}

// Total adds the lines.
func (t *Table) Total() Tally {
	sum := Tally{Case: "total"}
	for _, l := range t.Lines {
		sum.Packets += l.Packets
		sum.Right += l.Right
		sum.Unruled += l.Unruled
		sum.Vanished += l.Vanished
		sum.Inferred += l.Inferred
		sum.Ambiguous += l.Ambiguous
		sum.Unsaid += l.Unsaid
		for f, n := range l.Wrong {
			sum.Wrong[f] += n
		}
	}
	return sum
}

// Perfect reports whether every packet has one journey and nothing is wrong with
// it.
func (t *Table) Perfect() bool {
	sum := t.Total()
	return sum.Right == sum.Packets && sum.Wrong == [faults]int{} && sum.Unsaid == 0
}

// column is one that counts apart what is right.
type column struct {
	heading string
	of      func(*Tally) int
}

func (t *Table) columns() []column {
	if t.Foreign {
		return []column{{"inferred", func(l *Tally) int { return l.Inferred }}, {"ambig.", func(l *Tally) int { return l.Ambiguous }}}
	}
	live := []column{
		{"unruled", func(l *Tally) int { return l.Unruled }}, {"vanished", func(l *Tally) int { return l.Vanished }},
		{"ambig.", func(l *Tally) int { return l.Ambiguous }}, {"unsaid", func(l *Tally) int { return l.Unsaid }},
	}
	if t.Total().Inferred > 0 {
		live = append(live, column{"inferred", func(l *Tally) int { return l.Inferred }})
	}
	return live
}

// String prints the table.
func (t *Table) String() string { return t.print(t.Lines) }

// Brief prints the lines of what is not all right, and the total.
func (t *Table) Brief() string {
	return t.print(slices.DeleteFunc(slices.Clone(t.Lines), func(l *Tally) bool { return l.Right == l.Packets && l.Wrong == [faults]int{} }))
}

func (t *Table) print(lines []*Tally) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-20s %7s %7s %6s", "case", "packets", "right", "%")
	for f := range faults {
		fmt.Fprintf(&b, " %7s", f)
	}
	for _, c := range t.columns() {
		fmt.Fprintf(&b, " %8s", c.heading)
	}
	b.WriteByte('\n')
	sum := t.Total()
	for _, l := range append(slices.Clone(lines), &sum) {
		share := 100.0
		if l.Packets > 0 { // rounded down: 100.00 is all
			share = math.Floor(float64(l.Right)/float64(l.Packets)*1e4) / 100
		}
		fmt.Fprintf(&b, "%-20s %7d %7d %6.2f", l.Case, l.Packets, l.Right, share)
		for _, n := range l.Wrong {
			fmt.Fprintf(&b, " %7d", n)
		}
		for _, c := range t.columns() {
			fmt.Fprintf(&b, " %8d", c.of(l))
		}
		b.WriteByte('\n')
	}
	return b.String()
}
