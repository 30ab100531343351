package text

import "strings"

// station is one link in a drawing of a path, with what is written below it.
type station struct {
	space string // the namespace it is in; a border is drawn where that changes
	name  string
	below []string
	// to is a word on the line to the next station: what connects them.
	to    string
	arrow bool // packets leave that way
}

// path draws stations from left to right with their lines below them:
//
//	back            ┊ host
//	eth0 ──── veth ─┊─ vethab12cd0 ─── docker0 ─ NAT ─▶ eth0
//	172.24.0.2      ┊                  172.24.0.1       192.0.2.10
//
// Where the width does not allow that, it draws them from top to bottom.
func (st Style) path(stations []station) []string {
	if len(stations) == 0 {
		return nil
	}
	lines := st.across(stations)
	for _, l := range lines {
		if Columns(l) > st.Columns() {
			return st.down(stations)
		}
	}
	return lines
}

// lineChars are the characters that drawings are made of.
type lineChars struct{ line, border, head, down string }

func (st Style) lineChars() lineChars {
	if st.ASCII {
		return lineChars{line: "-", border: ":", head: ">", down: "v"}
	}
	return lineChars{line: "─", border: "┊", head: "▶", down: "▼"}
}

const drawingIndent = "  "

func (st Style) across(stations []station) []string {
	ch := st.lineChars()
	rows := 0
	for _, s := range stations {
		rows = max(rows, len(s.below))
	}
	spaces, names := drawingIndent, drawingIndent
	below := make([]string, rows)
	for i := range below {
		below[i] = drawingIndent
	}
	// openUntil is the column from which the namespaces' names may go on.
	for i, s := range stations {
		first := i == 0 || stations[i-1].space != s.space
		if first {
			spaces = Pad(spaces, Columns(names)) + st.Paint(Dim, s.space)
		}
		width := Columns(s.name)
		for _, b := range s.below {
			width = max(width, Columns(b))
		}
		names += st.Paint(Name, s.name)
		for r := range below {
			text := ""
			if r < len(s.below) {
				text = s.below[r]
			}
			below[r] += Pad(text, width)
		}
		if i == len(stations)-1 {
			break
		}
		crossing := stations[i+1].space != s.space
		// The namespace's own name must fit in front of its border.
		if crossing {
			width = max(width, Columns(spaces)-Columns(names)+Columns(s.name))
		}
		names += " " + strings.Repeat(ch.line, width-Columns(s.name)+1)
		if s.to != "" {
			names += " " + s.to + " " + ch.line
		}
		switch {
		case crossing:
			at := Columns(names)
			names += ch.border + ch.line + " "
			spaces = Pad(spaces, at) + ch.border + " "
			for r := range below {
				below[r] = Pad(below[r], at) + ch.border
			}
		case s.arrow:
			names += ch.head + " "
		default:
			names += ch.line + " "
		}
		for r := range below {
			below[r] = Pad(below[r], Columns(names))
		}
	}
	lines := append([]string{spaces, names}, below...)
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return lines
}

func (st Style) down(stations []station) []string {
	ch, sym := st.lineChars(), st.symbols()
	var lines []string
	put := func(s string) { lines = append(lines, strings.TrimRight(st.Cut(s, st.Columns()), " ")) }
	for i, s := range stations {
		if i == 0 || stations[i-1].space != s.space {
			put(drawingIndent + st.Paint(Dim, s.space))
		}
		line := drawingIndent + "  " + st.Paint(Name, s.name)
		for _, b := range s.below {
			if b != "" {
				line += "  " + b
			}
		}
		put(line)
		if i < len(stations)-1 {
			mark := sym.bar
			if s.arrow {
				mark = ch.down
			}
			put(drawingIndent + "  " + mark + " " + s.to)
		}
	}
	return lines
}

// branch is a node of a drawn tree.
type branch struct {
	text string // painted and escaped
	sub  []branch
}

// tree draws branches below each other:
//
//	├─ docker0
//	│  └─ veth9f3a1c2
//	└─ br-4c1f22aa90de
func (st Style) tree(indent string, branches []branch) []string {
	fork, last, bar := "├─ ", "└─ ", "│  "
	if st.ASCII {
		fork, last, bar = "|- ", "`- ", "|  "
	}
	var lines []string
	for i, b := range branches {
		mark, below := fork, bar
		if i == len(branches)-1 {
			mark, below = last, "   "
		}
		lines = append(lines, strings.TrimRight(st.Cut(indent+mark+b.text, st.Columns()), " "))
		lines = append(lines, st.tree(indent+below, b.sub)...)
	}
	return lines
}
