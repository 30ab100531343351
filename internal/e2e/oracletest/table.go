package oracletest

import (
	"fmt"
	"slices"
	"strings"
)

// Tally is one line of the table.
type Tally struct {
	Case      string
	Packets   int
	Right     int
	Wrong     [faults]int // journeys (for Missing, packets) with that fault
	Ambiguous int         // packets whose truth nobody can know; not among the others
}

// Table counts journeys by case.
type Table struct {
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
	t := &Table{}
	found := map[*Packet]bool{}
	examples := map[string]int{}
	example := func(name string, m Mistake, format string, args ...any) {
		if key := name + m.Fault.String(); examples[key] < 3 {
			examples[key]++
			t.Examples = append(t.Examples, fmt.Sprintf("%s, %s: %s: ", name, m.Fault, m.Text)+fmt.Sprintf(format, args...))
		}
	}
	for i := range journeys {
		j := &journeys[i]
		if len(j.Hops) == 0 || strings.Contains(j.Hops[0].Source.IP, ":") || j.Hops[0].Time.UnixNano() < since {
			continue
		}
		p, mistakes := o.Check(j, host)
		name := "other"
		if p != nil {
			if name = caseOf(p); name == "" {
				continue
			}
			if p.Ambiguous {
				found[p] = true
				continue
			}
			if found[p] {
				mistakes = append(mistakes, Mistake{Split, "a second journey of one packet"})
			}
			found[p] = true
		}
		l := t.line(name)
		if len(mistakes) == 0 {
			l.Right++
		}
		var had [faults]bool
		for _, m := range mistakes {
			if !had[m.Fault] {
				had[m.Fault] = true
				l.Wrong[m.Fault]++
				example(name, m, "journey %d, %s %s, %v to %v", j.ID, j.Protocol, j.Info, j.From, j.To)
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
		case !found[p]:
			l.Wrong[Missing]++
			example(name, Mistake{Missing, "no journey"}, "%v", p.Sightings)
		}
		l.Packets++
	}
	slices.SortFunc(t.Lines, func(a, b *Tally) int { return strings.Compare(a.Case, b.Case) })
	return t
}

// Total adds the lines.
func (t *Table) Total() Tally {
	sum := Tally{Case: "total"}
	for _, l := range t.Lines {
		sum.Packets += l.Packets
		sum.Right += l.Right
		sum.Ambiguous += l.Ambiguous
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
	return sum.Right == sum.Packets && sum.Wrong == [faults]int{}
}

// String prints the table.
func (t *Table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-15s %8s %8s %8s", "case", "packets", "right", "%")
	for f := range faults {
		fmt.Fprintf(&b, " %8s", f)
	}
	fmt.Fprintf(&b, " %9s\n", "ambiguous")
	sum := t.Total()
	for _, l := range append(slices.Clone(t.Lines), &sum) {
		share := 100.0
		if l.Packets > 0 {
			share = float64(l.Right) / float64(l.Packets) * 100
		}
		fmt.Fprintf(&b, "%-15s %8d %8d %8.2f", l.Case, l.Packets, l.Right, share)
		for _, n := range l.Wrong {
			fmt.Fprintf(&b, " %8d", n)
		}
		fmt.Fprintf(&b, " %9d\n", l.Ambiguous)
	}
	return b.String()
}
