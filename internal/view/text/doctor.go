package text

import (
	"strings"

	"natlens/internal/doctor"
)

// Doctor shows what a host permits, a paragraph for each check.
func (st Style) Doctor(r doctor.Report) string {
	const statusWidth, gap = 7, 2
	name := 0
	for _, c := range r {
		name = max(name, Columns(c.Name))
	}
	hang := 2 + statusWidth + gap + name + gap
	if hang > st.Columns()/2 {
		hang = 2 + statusWidth + gap
	}
	var b strings.Builder
	group := ""
	for _, c := range r {
		if c.Group != group {
			group = c.Group
			b.WriteString(st.Paint(Strong, c.Group) + "\n")
		}
		head := "  " + st.Paint(statusTone(c.Status), Pad(string(c.Status), statusWidth)) + "  " + Pad(c.Name, name)
		words := st.Escape(c.Found)
		if c.Means != "" {
			words += "; " + st.Escape(c.Means)
		}
		lines := Wrap(words, st.Columns()-hang)
		if hang < 2+statusWidth+gap+name {
			b.WriteString(strings.TrimRight(head, " ") + "\n")
		} else {
			b.WriteString(strings.TrimRight(head+"  "+lines[0], " ") + "\n")
			lines = lines[1:]
		}
		for _, l := range lines {
			b.WriteString(strings.Repeat(" ", hang) + l + "\n")
		}
	}
	return b.String()
}

func statusTone(s doctor.Status) Tone {
	switch s {
	case doctor.OK:
		return Good
	case doctor.Missing:
		return Bad
	}
	return Before
}
