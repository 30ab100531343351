package filter

import "strings"

// kind is what a token is.
type kind uint8

const (
	end kind = iota
	word
	open
	closing
	and
	or
	not
)

type token struct {
	kind   kind
	text   string
	offset int
}

// scan splits an expression into tokens; the last one has kind end. A single &
// or | comes as a word, which no primitive accepts.
func scan(expr string) []token {
	var tokens []token
	for at := 0; at < len(expr); {
		rest := expr[at:]
		size, k := 1, word
		switch {
		case isSpace(rest[0]):
			at++
			continue
		case rest[0] == '(':
			k = open
		case rest[0] == ')':
			k = closing
		case rest[0] == '!':
			k = not
		case strings.HasPrefix(rest, "&&"):
			k, size = and, 2
		case strings.HasPrefix(rest, "||"):
			k, size = or, 2
		case rest[0] == '&', rest[0] == '|':
		default:
			size = strings.IndexAny(rest, " \t\r\n\v\f()!&|")
			if size < 0 {
				size = len(rest)
			}
			switch rest[:size] {
			case "and":
				k = and
			case "or":
				k = or
			case "not":
				k = not
			}
		}
		tokens = append(tokens, token{k, rest[:size], at})
		at += size
	}
	// Where something is missing at the end, it is missing behind the last
	// token rather than behind trailing spaces.
	last := 0
	if n := len(tokens); n > 0 {
		last = tokens[n-1].offset + len(tokens[n-1].text)
	}
	return append(tokens, token{kind: end, offset: last})
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
