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
	middle := st.changes(j)
	if as != 0 {
		left += " as #" + strconv.FormatUint(as, 10)
		if what := st.sequence(j); what != "" {
			left += ", " + what
		}
	}
	if as == 0 || middle == "" {
		ends := st.endpoint(j.From) + " " + st.symbols().arrow + " " + st.endpoint(j.To)
		middle = strings.TrimRight(ends+"  "+middle, " ")
		if as == 0 {
			middle += "  " + st.info(j)
		}
	}
	words, tone := st.verdict(j)
	took := ""
	if n := len(j.Hops); n > 1 {
		took = st.duration(j.Hops[n-1].Time - j.Hops[0].Time)
	}
	return st.row(left, middle, words, tone, took) + "\n"
}

// row sets the parts of a line side by side. Where they don't fit, the time it
// took goes first, then the middle is cut, then the rest.
func (st Style) row(left, middle, right string, tone Tone, took string) string {
	total, gap := st.Columns(), "   "
	full := Columns(left) + Columns(middle) + Columns(right)
	if full+2*len(gap)+2+Columns(took) > total {
		gap = "  "
	}
	if took != "" && full+2*len(gap)+2+Columns(took) <= total {
		took = "  " + took
	} else {
		took = ""
	}
	left = st.Cut(left, total/2)
	right = st.Cut(right, total-Columns(left)-len(gap))
	if room := total - Columns(left) - Columns(right) - 2*len(gap); room >= 8 && middle != "" {
		left += gap + st.Cut(middle, room)
	}
	return left + gap + st.Paint(tone, right) + took
}

// changes lists what was translated, before and after, without the details.
func (st Style) changes(j *trace.Journey) string {
	var all []string
	become := func(before, after string) {
		all = append(all, st.Paint(Before, before)+" "+st.symbols().becomes+" "+st.Paint(After, after))
	}
	for i := range j.Translations {
		t := &j.Translations[i]
		if sourceChanged(t) {
			become(changedSource(t))
		}
		if destinationChanged(t) {
			become(changedDestination(t))
		}
	}
	return strings.Join(all, ", ")
}
