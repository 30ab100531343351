package text

import (
	"strconv"
	"strings"

	"natlens/trace"
)

// Detail is how much of a journey is shown.
type Detail struct {
	Verbose bool // -v: a full card for every journey, rules in full
	Quiet   bool // -q: lines only
	MACs    bool // -e: hardware addresses on each hop
	NoTime  bool // -t: no time of day
}

// Printer shows a stream of journeys: a full card for the first packet of each
// flow, direction and path, then one line for each that went the same way. It
// remembers a bounded number of paths, least recently used first to be
// forgotten. A Printer is not safe for concurrent use.
type Printer struct {
	style  Style
	detail Detail
	shown  *recent
}

// rememberedPaths bounds the Printer's memory to a few hundred kilobytes.
const rememberedPaths = 4096

// NewPrinter returns a Printer that has shown nothing yet.
func NewPrinter(st Style, d Detail) *Printer {
	return &Printer{style: st, detail: d, shown: newRecent(rememberedPaths)}
}

// Journey returns the text for j, ended with a line break.
func (p *Printer) Journey(j *trace.Journey) string {
	first := p.shown.meet(pathOf(j), j.ID)
	switch {
	case p.detail.Quiet:
		return p.style.Line(p.detail, j, 0)
	case p.detail.Verbose || first == j.ID || j.Supersedes != 0:
		return p.style.Card(p.detail, j)
	}
	return p.style.Line(p.detail, j, first)
}

// head is how every journey begins: its time and number.
func (st Style) head(d Detail, j *trace.Journey) string {
	s := "#" + strconv.FormatUint(j.ID, 10)
	if d.NoTime {
		return s
	}
	return st.Clock(j.Time) + " " + s
}

// Line shows one journey on one line. as is the number of an earlier journey
// that went the same way, whose card says the rest; 0 for none.
func (st Style) Line(d Detail, j *trace.Journey, as uint64) string {
	left := st.head(d, j)
	if j.Supersedes != 0 {
		left += " amends #" + strconv.FormatUint(j.Supersedes, 10)
	}
	if as != 0 {
		left += " as #" + strconv.FormatUint(as, 10)
		if what := st.sequence(j); what != "" {
			left += ", " + what
		}
	}
	l := st.lineOf(left, j)
	switch l.again = as != 0; {
	case !l.again:
		l.more = strings.TrimLeft(l.more+"  "+st.info(j), " ")
	case l.more != "":
		l.from, l.to = "", ""
	}
	if n := len(j.Hops); n > 1 {
		l.took = st.duration(j.Hops[n-1].Time - j.Hops[0].Time)
	}
	return l.String() + "\n"
}

// changes lists what was translated, before and after, without the details.
func (st Style) changes(j *trace.Journey) string {
	var all []string
	become := func(before, after string) {
		all = append(all, st.Paint(Before, before)+" "+st.symbols().becomes+" "+st.Paint(After, after))
	}
	for i := range j.Translations {
		t := &j.Translations[i]
		said := len(all)
		if before, after := changedSource(t); before != after {
			become(before, after)
		}
		if destinationChanged(t) {
			become(changedDestination(t))
		}
		if before, after := changedID(t); before != after && len(all) == said {
			become("id "+before, after)
		}
	}
	return strings.Join(all, ", ")
}
