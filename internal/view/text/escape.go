package text

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape makes text from outside harmless to a terminal and to the reader's
// eye: whatever is not printable (control characters, escape sequences, line
// breaks, marks that reverse or hide text, odd spaces) and every byte that is
// not UTF-8 becomes a visible escape as Go writes it: \x1b, \u202e.
func Escape(s string) string { return escape(s, false) }

// Escape is the function Escape; with ASCII set it escapes all else as well.
func (st Style) Escape(s string) string { return escape(s, st.ASCII) }

func escape(s string, ascii bool) string {
	if harmless(s, ascii) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case printable(r, ascii):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += n
	}
	return b.String()
}

// printable uses Unicode's categories: IsPrint knows no control (Cc), no
// format character (Cf: bidirectional overrides, zero-width joiners, tags), no
// line separators, and of all spaces only U+0020.
func printable(r rune, ascii bool) bool {
	if ascii && r >= 0x80 {
		return false
	}
	return unicode.IsPrint(r)
}

func harmless(s string, ascii bool) bool {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return false
			}
		}
		if !printable(r, ascii) {
			return false
		}
	}
	return true
}
