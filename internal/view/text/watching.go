package text

import (
	"fmt"
	"strings"
)

// namedSpaces is how many namespaces the opening line names.
const namedSpaces = 6

// Watching is what a watch says first: where it looks, and what it had to leave
// out and why. It ends with a line break.
func (st Style) Watching(names []string, links int, left []string) string {
	var said []string
	for i, n := range names {
		if i == namedSpaces && len(names) > namedSpaces+1 {
			said = append(said, fmt.Sprintf("%d more", len(names)-i))
			break
		}
		said = append(said, st.Escape(n))
	}
	line := fmt.Sprintf("watching %s: %s, %d left out. Ctrl-C ends.", strings.Join(said, ", "), counted(uint64(links), "link"), len(left))
	lines := Wrap(line, st.Columns())
	for _, l := range left {
		for i, w := range Wrap("left out: "+st.Escape(l), st.Columns()-4) {
			if i > 0 {
				w = "    " + w
			}
			lines = append(lines, w)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}
