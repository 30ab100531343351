package text

import (
	"strings"
	"testing"
)

func TestWatching(t *testing.T) {
	st := Style{}
	for _, c := range []struct {
		names []string
		links int
		left  []string
		want  string
	}{
		{[]string{"host", "back", "database"}, 9, nil, "watching host, back, database: 9 links, 0 left out. Ctrl-C ends.\n"},
		{[]string{"host"}, 1, []string{"back: operation not permitted"}, "watching host: 1 link, 1 left out. Ctrl-C ends.\nleft out: back: operation not permitted\n"},
		{[]string{"a", "b", "c", "d", "e", "f", "g"}, 7, nil, "watching a, b, c, d, e, f, g: 7 links, 0 left out. Ctrl-C ends.\n"},
		{[]string{"a", "b", "c", "d", "e", "f", "g", "h\x1b"}, 8, nil, "watching a, b, c, d, e, f, 2 more: 8 links, 0 left out. Ctrl-C ends.\n"},
	} {
		if got := st.Watching(c.names, c.links, c.left); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	long := st.Watching([]string{strings.Repeat("x", 60), strings.Repeat("y", 60)}, 3, []string{strings.Repeat("word ", 40)})
	for line := range strings.Lines(long) {
		if Columns(strings.TrimSuffix(line, "\n")) > DefaultWidth {
			t.Errorf("too wide: %q", line)
		}
	}
}
