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
	tracing := st.Tracing(true, []string{strings.Repeat("sentence ", 40), "of \x1b"})
	if !strings.Contains(tracing, "table inet natlens_trace_… is in each namespace") || !strings.HasSuffix(tracing, "sentence\nof \\x1b\n") {
		t.Errorf("tracing:\n%s", tracing)
	}
	if said := st.Tracing(false, nil); said != "" {
		t.Errorf("nothing is traced: %q", said)
	}
	for line := range strings.Lines(long + tracing) {
		if Columns(strings.TrimSuffix(line, "\n")) > DefaultWidth {
			t.Errorf("too wide: %q", line)
		}
	}
}
