package text

import "strings"

// table lays cells out in columns. A table that is too wide gets narrower
// columns, widest first; one that leaves room gets its extra columns.
type table struct {
	columns []column
	rows    []row
}

// column is one column of a table.
type column struct {
	head string
	// least is the width below which the column is not shrunk; 0: never shrunk.
	least int
	// extra columns are shown only on lines wider than DefaultWidth, and only
	// where those with a smaller number fit too; 0: always shown.
	extra int
	// shorten cuts a cell's text to n columns; nil: cut at the end.
	shorten func(s string, n int) string
	right   bool // numbers
}

// row is one line of a table, a cell for each column. A row without cells is a
// heading over the lines that follow.
type row struct {
	cells   []cell
	heading string
}

// cell is escaped text and its tone.
type cell struct {
	text string
	tone Tone
}

// absent is the cell that says "there is none".
var absent = cell{"-", Dim}

// known returns a cell with s in a tone, or absent.
func known(s string, tone Tone) cell {
	if s == "" {
		return absent
	}
	return cell{s, tone}
}

const columnGap = 2

// table lays the table out in the Style's width.
func (st Style) table(t table) string {
	widths, total := t.fit(st.Columns())
	var b strings.Builder
	head := make([]cell, len(t.columns))
	for i, c := range t.columns {
		head[i] = cell{c.head, Strong}
	}
	t.line(&b, st, widths, head)
	for _, r := range t.rows {
		if r.cells == nil {
			b.WriteString(st.Cut(r.heading, total) + "\n")
			continue
		}
		t.line(&b, st, widths, r.cells)
	}
	return b.String()
}

// fit returns the width of each column, -1 for one that is left out, and how
// wide a line may be.
func (t *table) fit(total int) ([]int, int) {
	natural := make([]int, len(t.columns))
	for i, c := range t.columns {
		natural[i] = Columns(c.head)
		for _, r := range t.rows {
			if r.cells != nil {
				natural[i] = max(natural[i], Columns(r.cells[i].text))
			}
		}
	}
	widths := make([]int, len(t.columns))
	used := -columnGap
	most := 0
	for i, c := range t.columns {
		widths[i] = natural[i]
		if c.extra > 0 {
			widths[i] = -1
			most = max(most, c.extra)
			continue
		}
		used += natural[i] + columnGap
	}
	for n := 1; n <= most && total > DefaultWidth; n++ {
		for i, c := range t.columns {
			if c.extra != n {
				continue
			}
			if used += natural[i] + columnGap; used > total {
				return widths, total
			}
			widths[i] = natural[i]
		}
	}
	for ; used > total; used-- {
		widest := -1
		for i, c := range t.columns {
			if c.extra == 0 && c.least > 0 && widths[i] > c.least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break // line cuts the rest off
		}
		widths[widest]--
	}
	return widths, total
}

// cutMiddle shortens a name where it tells least: names that a project or a
// registry begins alike differ at their ends.
func (st Style) cutMiddle(s string, n int) string {
	runes, mark := []rune(s), st.symbols().ellipsis
	keep := n - Columns(mark)
	if Columns(s) != len(runes) || len(runes) <= n || keep < 2 {
		return s // line cuts it at its end
	}
	tail := (keep + 1) / 2
	return string(runes[:keep-tail]) + mark + string(runes[len(runes)-tail:])
}

func (t *table) line(b *strings.Builder, st Style, widths []int, cells []cell) {
	var line strings.Builder
	for i, c := range cells {
		w := widths[i]
		if w < 0 {
			continue
		}
		s := c.text
		if Columns(s) > w {
			if short := t.columns[i].shorten; short != nil {
				s = short(s, w)
			}
			s = st.Cut(s, w)
		}
		if line.Len() > 0 {
			line.WriteString(strings.Repeat(" ", columnGap))
		}
		pad := strings.Repeat(" ", max(0, w-Columns(s)))
		if t.columns[i].right {
			line.WriteString(pad + st.Paint(c.tone, s))
		} else {
			line.WriteString(st.Paint(c.tone, s) + pad)
		}
	}
	b.WriteString(st.Cut(strings.TrimRight(line.String(), " "), st.Columns()) + "\n")
}
