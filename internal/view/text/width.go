package text

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// Columns returns how many columns of a terminal s takes: two for wide East
// Asian characters, none for combining marks and for the colours that
// Style.Paint put in.
func Columns(s string) int {
	n := 0
	for i := 0; i < len(s); {
		if seq := sgrLength(s[i:]); seq > 0 {
			i += seq
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		n += runeColumns(r)
		i += size
	}
	return n
}

// sgrLength returns the length of the colour sequence that s begins with, or 0.
func sgrLength(s string) int {
	if !strings.HasPrefix(s, "\x1b[") {
		return 0
	}
	return strings.IndexByte(s, 'm') + 1
}

func runeColumns(r rune) int {
	if r < 0x80 {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// Pad appends spaces up to n columns.
func Pad(s string, n int) string {
	if missing := n - Columns(s); missing > 0 {
		return s + strings.Repeat(" ", missing)
	}
	return s
}

// Cut shortens s to at most n columns; where something is cut off an ellipsis
// says so. Colours are kept and ended.
func (st Style) Cut(s string, n int) string {
	if Columns(s) <= n {
		return s
	}
	mark := st.symbols().ellipsis
	room := n - Columns(mark)
	if room < 0 {
		return strings.Repeat(".", max(n, 0))
	}
	var b strings.Builder
	painted := false
	for i := 0; i < len(s); {
		if seq := sgrLength(s[i:]); seq > 0 {
			b.WriteString(s[i : i+seq])
			painted = s[i:i+seq] != sgrReset
			i += seq
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if room -= runeColumns(r); room < 0 {
			break
		}
		b.WriteString(s[i : i+size])
		i += size
	}
	b.WriteString(mark)
	if painted {
		b.WriteString(sgrReset)
	}
	return b.String()
}

// Wrap breaks s at its spaces into lines of at most n columns. A word that is
// longer than a line is broken where the line ends. s must not be painted.
func Wrap(s string, n int) []string {
	n = max(n, 2) // a wide character must fit
	var lines []string
	line, used := "", 0
	for _, word := range strings.Fields(s) {
		w := Columns(word)
		if line != "" && used+1+w <= n {
			line, used = line+" "+word, used+1+w
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for w > n {
			head := prefix(word, n)
			lines = append(lines, head)
			word = word[len(head):]
			w = Columns(word)
		}
		line, used = word, w
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// prefix returns the longest beginning of s that takes at most n columns.
func prefix(s string, n int) string {
	for i, r := range s {
		if n -= runeColumns(r); n < 0 {
			return s[:i]
		}
	}
	return s
}
