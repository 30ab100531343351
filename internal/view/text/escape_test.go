package text

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for _, c := range []struct{ in, want, ascii string }{
		{"back", "back", "back"},
		{"", "", ""},
		{"two words", "two words", "two words"},
		{"\x1b[31mred", `\x1b[31mred`, `\x1b[31mred`},
		{"\u009b31m", `\u009b31m`, `\u009b31m`}, // the C1 control that means ESC [
		{"a\nb\tc\rd\x7f", `a\nb\tc\x0dd\x7f`, `a\nb\tc\x0dd\x7f`},
		{"\u202egnp.exe", `\u202egnp.exe`, `\u202egnp.exe`},
		{"zero\u200bwidth\ufeff", `zero\u200bwidth\ufeff`, `zero\u200bwidth\ufeff`},
		{"no\u00a0break", `no\u00a0break`, `no\u00a0break`},
		{"\u2028", `\u2028`, `\u2028`},
		{"\xff\xfe", `\xff\xfe`, `\xff\xfe`},
		{"cut \xe6\x95", `cut \xe6\x95`, `cut \xe6\x95`},
		{"real \ufffd", "real \ufffd", `real \ufffd`},
		{"tag \U000e0041", `tag \U000e0041`, `tag \U000e0041`},
		{"数据库", "数据库", `\u6570\u636e\u5e93`},
		{`back\slash`, `back\slash`, `back\slash`},
	} {
		if got := Escape(c.in); got != c.want {
			t.Errorf("Escape(%q) = %q, want %q", c.in, got, c.want)
		}
		if got := (Style{ASCII: true}).Escape(c.in); got != c.ascii {
			t.Errorf("Escape(%q) in ASCII = %q, want %q", c.in, got, c.ascii)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"back", "\x1b]0;x\a", "\xff", "\u202e数"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Escape(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !printable(r, false) }) {
			t.Errorf("Escape(%q) = %q", s, got)
		}
		if again := Escape(got); again != got {
			t.Errorf("Escape(%q) = %q: not stable", got, again)
		}
	})
}
