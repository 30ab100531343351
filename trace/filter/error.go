package filter

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// SyntaxError says where an expression is wrong and what would be right.
type SyntaxError struct {
	Expr           string
	Offset, Length int // bytes of Expr; Length is 0 when something is missing at Offset
	Message        string
}

// Error returns the message in one line.
func (e *SyntaxError) Error() string { return "filter: " + e.Message }

// Picture returns two lines: the expression, and a mark under the place.
// Control characters show as spaces.
func (e *SyntaxError) Picture() string {
	shown := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, e.Expr)
	before := utf8.RuneCountInString(e.Expr[:e.Offset])
	marks := max(1, utf8.RuneCountInString(e.Expr[e.Offset:e.Offset+e.Length]))
	return shown + "\n" + strings.Repeat(" ", before) + strings.Repeat("^", marks)
}
