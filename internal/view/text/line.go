package text

import (
	"strings"

	"natlens/trace"
)

// line is one journey on one line: the parts of it, set side by side.
type line struct {
	Style
	left     string // its time and number
	from, to string // not painted; empty where they are not shown
	more     string // what was translated, and what it is
	verdict  string
	tone     Tone
	took     string
	// again: another journey's card says who talks with whom, but not the reason.
	again bool
}

// lineOf is j's line behind left.
func (st Style) lineOf(left string, j *trace.Journey) line {
	l := line{Style: st, left: left, more: st.changes(j)}
	l.from, l.to = st.endpointCut(j.From, st.squeeze), st.endpointCut(j.To, st.squeeze)
	l.verdict, l.tone = st.verdict(j)
	return l
}

const (
	// plainEnds is how wide the ends of most packets are at most: two addresses of
	// IPv4 with ports.
	plainEnds = len("255.255.255.255:65535 > 255.255.255.255:65535")
	// leastVerdict is what tells at least how it ended: "unfinished…".
	leastVerdict = 12
	// leastAgain has room for a reason that is not on the other journey's card.
	leastAgain = 40
	// leastEnds and leastMore are where a part says nothing any more.
	leastEnds = 16
	leastMore = 6
)

// String sets the parts side by side. Where they don't fit, the time it took goes
// first, then more is cut, then the verdict, whose end is a reason; who talks with
// whom stays. Only long names, and addresses of IPv6, are shortened for the
// verdict's sake.
func (l *line) String() string {
	total, gap := l.Columns(), "   "
	middle := strings.Trim(l.ends()+"  "+l.more, " ")
	full := Columns(l.left) + Columns(middle) + Columns(l.verdict)
	if full+2*len(gap)+2+Columns(l.took) > total {
		gap = "  "
	}
	took := ""
	if l.took != "" && full+2*len(gap)+2+Columns(l.took) <= total {
		took = "  " + l.took
	}
	left := l.Cut(l.left, total/2)
	room := total - Columns(left) - 2*len(gap)
	verdict := l.verdictIn(room)
	if middle = l.middleIn(room - verdict); middle == "" {
		verdict = room + len(gap)
	} else {
		left += gap + middle
	}
	return left + gap + l.Paint(l.tone, l.Cut(l.verdict, verdict)) + took
}

// verdictIn returns how many of so many columns the verdict has, beside the middle.
func (l *line) verdictIn(room int) int {
	needed, ends := Columns(l.verdict), Columns(l.ends())
	least := leastVerdict
	switch {
	case l.again:
		least = leastAgain
	case ends > plainEnds:
		least = l.Columns() / 4
	}
	return min(needed, max(room-ends, least))
}

// middleIn is ends and more in so many columns; empty where that is too few.
func (l *line) middleIn(room int) string {
	ends := l.ends()
	rest := room
	switch used := Columns(ends); {
	case used > room && room < leastEnds:
		return ""
	case used > room:
		return l.shortEnds(room)
	case used > 0:
		rest -= used + 2
	}
	if Columns(l.more) > rest && rest < leastMore {
		return ends
	}
	return strings.Trim(ends+"  "+l.Cut(l.more, rest), " ")
}

// ends says who talks with whom.
func (l *line) ends() string {
	if l.from == "" {
		return ""
	}
	return l.from + l.arrow() + l.to
}

func (l *line) arrow() string { return " " + l.symbols().arrow + " " }

// shortEnds is ends in n columns, where they have more: of two long names each has
// half.
func (l *line) shortEnds(n int) string {
	n -= Columns(l.arrow())
	from := max(n/2, n-Columns(l.to))
	to := max(n-n/2, n-Columns(l.from))
	return l.squeeze(l.from, from) + l.arrow() + l.squeeze(l.to, to)
}

// squeeze shortens s to at most n columns by what is in the middle: names, and
// addresses of one network, differ at their ends, where ports stand, too.
func (st Style) squeeze(s string, n int) string {
	if Columns(s) <= n {
		return s
	}
	room := n - Columns(st.symbols().ellipsis)
	if room < 2 {
		return st.Cut(s, n)
	}
	tail := suffix(s, room/2)
	return st.Cut(s[:len(s)-len(tail)], n-Columns(tail)) + tail
}

// suffix returns the longest end of s that takes at most n columns.
func suffix(s string, n int) string {
	for i := range s {
		if Columns(s[i:]) <= n {
			return s[i:]
		}
	}
	return ""
}
