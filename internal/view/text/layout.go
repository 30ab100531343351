package text

import "strings"

// piece is a part of a line that is not broken, unless it is words.
type piece struct {
	gap  int    // spaces before it, unless it begins a line
	text string // escaped; painted already unless words
	// short says the same where text does not fit on the line.
	short string
	// words may be broken at their spaces; they are painted in tone after
	// that.
	words bool
	tone  Tone
	// optional pieces are left out where they do not fit on the line, rather
	// than given one of their own.
	optional bool
}

// lay puts pieces behind a prefix and breaks the line where the next piece
// does not fit. Later lines are indented by hang. No line is wider than the
// Style's.
func (st Style) lay(prefix string, hang int, pieces []piece) []string {
	total := st.Columns()
	var lines []string
	line, fresh := st.Cut(prefix, total), strings.TrimSpace(prefix) == ""
	used := Columns(line)
	feed := func() {
		lines = append(lines, strings.TrimRight(line, " "))
		line, used, fresh = strings.Repeat(" ", hang), hang, true
	}
	put := func(gap int, s string) {
		if !fresh {
			line, used = line+strings.Repeat(" ", gap), used+gap
		}
		line, used, fresh = line+s, used+Columns(s), false
	}
	for _, p := range pieces {
		gap := p.gap
		if fresh {
			gap = 0
		}
		// Blanks at its end count where something follows, for which there is room then.
		trimmed := strings.TrimRight(p.text, " ")
		n := Columns(trimmed)
		if used+gap+Columns(p.text) > total {
			p.text = trimmed
		}
		switch {
		case n == 0:
		case used+gap+n <= total:
			put(gap, st.Paint(p.tone, p.text))
		case used+min(gap, 2)+n <= total:
			put(min(gap, 2), st.Paint(p.tone, p.text))
		case p.short != "" && used+min(gap, 2)+Columns(p.short) <= total:
			put(min(gap, 2), st.Paint(p.tone, p.short))
		case p.optional:
		case hang+n <= total:
			feed()
			put(0, st.Paint(p.tone, p.text))
		case p.words:
			for i, l := range st.wrapFrom(p.text, total-used-gap, total-hang) {
				if i > 0 {
					feed()
				}
				put(gap, st.Paint(p.tone, l))
			}
		default:
			if !fresh {
				feed()
			}
			put(0, st.Paint(p.tone, st.Cut(p.text, total-used)))
		}
	}
	return append(lines, strings.TrimRight(line, " "))
}

// wrapFrom is Wrap with a first line of its own width.
func (st Style) wrapFrom(s string, first, rest int) []string {
	words := strings.Fields(s)
	head, used := 0, -1
	for head < len(words) && used+1+Columns(words[head]) <= first {
		used += 1 + Columns(words[head])
		head++
	}
	return append([]string{strings.Join(words[:head], " ")}, Wrap(strings.Join(words[head:], " "), rest)...)
}
