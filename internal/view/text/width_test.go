package text

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestColumns(t *testing.T) {
	st := Style{Color: true}
	for _, c := range []struct {
		s    string
		want int
	}{
		{"", 0}, {"abc", 3}, {"→ µs", 4}, {"数据", 4}, {"e\u0301", 1}, {"ｗ", 2}, {"🐳", 2},
		{st.Paint(Before, "abc"), 3}, {"a" + st.Paint(Bad, "数") + "b", 4},
	} {
		if got := Columns(c.s); got != c.want {
			t.Errorf("Columns(%q) = %d, want %d", c.s, got, c.want)
		}
	}
}

func TestCut(t *testing.T) {
	red := Style{Color: true}.Paint(Bad, "abcdef")
	for _, c := range []struct {
		st   Style
		s    string
		n    int
		want string
	}{
		{Style{}, "abcdef", 6, "abcdef"},
		{Style{}, "abcdef", 5, "abcd…"},
		{Style{ASCII: true}, "abcdef", 5, "ab..."},
		{Style{}, "数据库", 5, "数据…"},
		{Style{}, "数据库", 4, "数…"},
		{Style{}, red, 3, "\x1b[1;31mab…\x1b[0m"},
		{Style{ASCII: true}, "abcdef", 2, ".."},
		{Style{}, "abc", 0, ""},
		{Style{}, "abc", -1, ""},
	} {
		got := c.st.Cut(c.s, c.n)
		if got != c.want || Columns(got) > max(c.n, 0) {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.s, c.n, got, c.want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		s    string
		n    int
		want []string
	}{
		{"", 10, nil},
		{"one two three", 7, []string{"one two", "three"}},
		{"abcdefghij kl", 4, []string{"abcd", "efgh", "ij", "kl"}},
		{"数据库", 4, []string{"数据", "库"}},
		{"  a   b ", 10, []string{"a b"}},
		{"\u0301", 5, []string{"\u0301"}},
	} {
		if d := cmp.Diff(c.want, Wrap(c.s, c.n)); d != "" {
			t.Errorf("Wrap(%q, %d) (-want +got):\n%s", c.s, c.n, d)
		}
	}
}

func TestLay(t *testing.T) {
	st := Style{Width: 40}
	got := st.lay("head", 4, []piece{
		{gap: 2, text: "fits on the line"},
		{gap: 2, text: "left out since too long for it", optional: true},
		{gap: 4, text: "needs a line of its own"},
		{gap: 2, text: "[conntrack 3047873481]", short: "[ct 30]"},
		{gap: 2, text: strings.Repeat("word ", 12), words: true},
		{gap: 2, text: strings.Repeat("x", 60)},
		{gap: 2, text: ""},
	})
	want := []string{
		"head  fits on the line",
		"    needs a line of its own  [ct 30]",
		"    word word word word word word word",
		"    word word word word word",
		"    " + strings.Repeat("x", 35) + "…",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("lay (-want +got):\n%s", d)
	}
}

// Blanks at the end of what is painted are inside its colours, where none can be cut off.
func TestLayBlanksAtTheEnd(t *testing.T) {
	st := Style{Width: 40, Color: true}
	for _, line := range st.lay("", 4, []piece{{text: strings.Repeat("x", 39) + "  ", tone: Dim}, {text: strings.Repeat("y", 36) + " ", tone: Dim}}) {
		if n := Columns(line); n > 40 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}
