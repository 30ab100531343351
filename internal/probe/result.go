package probe

import "strings"

// Result is what became of a probe.
type Result string

const (
	Reached    Result = "reached"     // the answer came back; a datagram: it arrived
	RefusedBy  Result = "refused"     // it arrived, and nobody listens there
	Dropped    Result = "dropped"     // a rule stopped it, or its answer
	NoWay      Result = "unreachable" // no route, or nobody has the address
	Lost       Result = "lost"        // it went out of sight, or no answer came back
	Unresolved Result = "unresolved"  // the name stands for no address
)

var results = []Result{Reached, RefusedBy, Dropped, NoWay, Lost, Unresolved}

func resultOf(word string) (Result, bool) {
	for _, r := range results {
		if string(r) == word {
			return r, true
		}
	}
	return "", false
}

func resultWords() string {
	words := make([]string, len(results))
	for i, r := range results {
		words[i] = string(r)
	}
	return strings.Join(words, ", ")
}
