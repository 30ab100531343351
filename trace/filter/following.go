package filter

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// Following is what may stand next in an expression.
type Following struct {
	Words []string // of the language, sorted
	// Whether a name may stand there, and whose.
	Container, Network, Link bool
}

// After says what may stand behind an expression that is not finished, for who
// helps to type it. The parser itself is asked, so what is said here can be said
// on. An expression that is wrong already is followed by nothing.
func After(expr string) Following {
	expr = strings.TrimSpace(expr)
	var f Following
	tokens := scan(expr)
	last := ""
	if len(tokens) > 1 { // the very last one is the end
		last = tokens[len(tokens)-2].text
	}
	unclosed := 0
	for _, t := range tokens {
		switch t.kind {
		case open:
			unclosed++
		case closing:
			unclosed--
		}
	}
	closers := strings.Repeat(" )", max(0, unclosed))
	name := goesOn(expr, "c0ntainer", closers) // a word of nobody's
	switch what := whats[last]; what {
	case isContainer, isNetwork, isLink:
		f.Container, f.Network, f.Link = what == isContainer && name, what == isNetwork && name, what == isLink && name
		return f // behind them any word is a name
	case isProto:
		return f
	}
	f.Container = name
	for _, w := range vocabulary() {
		// Behind a protocol src is no more than the beginning of "src port".
		if goesOn(expr, w, closers) || directions[w] != 0 && goesOn(expr, w, " port"+closers) {
			f.Words = append(f.Words, w)
		}
	}
	return f
}

// goesOn reports whether the expression can go on with a word: with the rest it is
// whole, or nothing is wrong but what is missing behind the word.
func goesOn(expr, word, rest string) bool {
	if expr != "" {
		expr += " "
	}
	_, err := Parse(expr+word+rest, nil)
	var syntax *SyntaxError
	return err == nil || errors.As(err, &syntax) && syntax.Offset >= len(expr)+len(word)
}

// vocabulary returns the words of the language, sorted.
func vocabulary() []string {
	words := slices.Concat([]string{"and", "or", "not", "arp"}, natKinds, results, slices.Collect(maps.Keys(protocolWords)),
		slices.Collect(maps.Keys(whats)), slices.Collect(maps.Keys(directions)), slices.Collect(maps.Keys(alone)))
	slices.Sort(words)
	return slices.Compact(words)
}
