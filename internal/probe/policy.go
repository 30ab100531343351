package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"natlens/internal/explain"
)

// Rule is a line of a policy: a question and the answer that is right.
type Rule struct {
	Request Request
	Want    Result
	Line    int // of the file, from 1
}

// Holds reports whether the answer is right; of a probe that was only foretold, whether it
// is expected for sure.
func (r Rule) Holds(o *Outcome) bool { return o.Failed == nil && Answered(o) == r.Want }

// Answered is what became of the probe or, where nothing was sent, what is expected for
// sure; empty where that is not known.
func Answered(o *Outcome) Result {
	if o.Result == "" && o.Expected != nil && o.Expected.Unsure == "" {
		return o.Expected.Result
	}
	return o.Result
}

// NotHere reports whether a probe could not be made because its ends are not here, or are
// something else than what a probe is sent from and to.
func NotHere(err error) bool {
	var unknown *explain.UnknownTarget
	var from *NotASource
	var to *NotATarget
	return errors.As(err, &unknown) || errors.As(err, &from) || errors.As(err, &to)
}

// ReadPolicy reads a policy: lines such as "back -> database:5432 reached" or
// "ubuntu -> back:53/udp dropped". Empty lines, and what follows a #, count for
// nothing. The error names the first line that makes no sense.
func ReadPolicy(r io.Reader) ([]Rule, error) {
	var rules []Rule
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		if len(words) != 4 || words[1] != "->" {
			return nil, fmt.Errorf("line %d: %q is not FROM -> TO[:PORT] RESULT", n, strings.TrimSpace(text))
		}
		request, err := Parse(words[0], words[2], false)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		want, ok := resultOf(words[3])
		if !ok {
			return nil, fmt.Errorf("line %d: the result is one of %s, not %q", n, resultWords(), words[3])
		}
		rules = append(rules, Rule{Request: request, Want: want, Line: n})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", len(rules)+1, err)
	}
	if len(rules) == 0 {
		return nil, fmt.Errorf("no line asks for anything; write FROM -> TO[:PORT] RESULT")
	}
	return rules, nil
}
