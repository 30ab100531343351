package text

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"natlens/trace"
)

const (
	// floodBurst is how many journeys may come at once, and floodRate how many a
	// second, before nobody can read them any more.
	floodBurst, floodRate = 120, 60
	// floodFlows is how many flows a report names; floodKnown bounds the memory.
	floodFlows, floodKnown = 6, 4096
	floodReport            = time.Second
)

// Flood prints journeys as a Printer does while a person can follow, and
// otherwise once a second how many packets each flow had, with whole journeys
// as samples. It says when it begins and ends. It is not safe for concurrent
// use.
type Flood struct {
	printer *Printer
	room    float64   // journeys that may still be printed
	filled  time.Time // when room was last reckoned
	on      bool
	since   time.Time // of the report under way
	flows   map[path]*torrent
	rest    int // journeys of flows beyond floodKnown
	sampled map[path]bool
}

// torrent is what a flow, in one direction and by one path, had since the last
// report.
type torrent struct {
	count  int
	newest *trace.Journey
}

// NewFlood returns a Flood that prints through p.
func NewFlood(p *Printer) *Flood {
	return &Flood{printer: p, room: floodBurst, flows: map[path]*torrent{}, sampled: map[path]bool{}}
}

// Journey returns what is to be printed for j at this moment; it may be empty.
func (f *Flood) Journey(j *trace.Journey, now time.Time) string {
	if !f.filled.IsZero() {
		f.room = min(floodBurst, f.room+floodRate*now.Sub(f.filled).Seconds())
	}
	f.filled = now
	f.room--
	switch {
	case !f.on && f.room >= 0:
		return f.printer.Journey(j)
	case !f.on:
		f.on, f.since = true, now
		f.count(j)
		return f.printer.style.note("too many to read: flows and samples from here; -q shows every packet")
	}
	out := f.Tick(now)
	if f.on {
		f.count(j)
		return out
	}
	return out + f.printer.Journey(j)
}

// Tick returns the report that is due, if any. It is to be called about once a
// second, too, so that a flood's end is noticed.
func (f *Flood) Tick(now time.Time) string {
	if !f.on || now.Sub(f.since) < floodReport {
		return ""
	}
	out, total := f.report(now.Sub(f.since))
	f.since = now
	if total < floodRate {
		f.on, f.room, f.filled = false, floodBurst, now
		clear(f.sampled)
		out += f.printer.style.note("every packet from here")
	}
	return out
}

func (f *Flood) count(j *trace.Journey) {
	key := pathOf(j)
	t := f.flows[key]
	if t == nil {
		if len(f.flows) >= floodKnown {
			f.rest++
			return
		}
		t = &torrent{}
		f.flows[key] = t
	}
	t.count++
	t.newest = j
}

// report says what came since the last one, and forgets it.
func (f *Flood) report(took time.Duration) (out string, total int) {
	type row struct {
		key path
		*torrent
	}
	rows := make([]row, 0, len(f.flows))
	total = f.rest
	for key, t := range f.flows {
		rows = append(rows, row{key, t})
		total += t.count
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.newest.ID, b.newest.ID))
	})
	if total == 0 {
		return "", 0
	}
	st := f.printer.style
	var b strings.Builder
	if !f.sampled[rows[0].key] {
		if len(f.sampled) > floodKnown {
			clear(f.sampled)
		}
		f.sampled[rows[0].key] = true
		b.WriteString(st.Card(f.printer.detail, rows[0].newest))
	}
	fmt.Fprintf(&b, "%s in %s, by flow and direction:\n", counted(uint64(total), "packet"), took.Round(100*time.Millisecond))
	for i, r := range rows {
		if i == floodFlows {
			left := f.rest
			for _, r := range rows[i:] {
				left += r.count
			}
			fmt.Fprintf(&b, "%7d  in %d more\n", left, len(rows)-i)
			break
		}
		l := st.lineOf(fmt.Sprintf("%7d", r.count), r.newest)
		b.WriteString(l.String() + "\n")
	}
	clear(f.flows)
	f.rest = 0
	return b.String(), total
}

// note is a line of natlens's own among the journeys.
func (st Style) note(s string) string {
	return st.Paint(Dim, st.Cut("-- "+s, st.Columns())) + "\n"
}
