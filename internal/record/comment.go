package record

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"natlens/capture/packet"
	"natlens/trace"
)

// comments says next to a packet what its bytes don't: which journey it is part
// of, what happens next, and how it ends. Names and rules come from outside:
// what moves a cursor does not stand in a comment.
func comments(j *trace.Journey, hop int, id uint64) []string {
	s := fmt.Sprintf("journey %d, hop %d of %d", id, hop+1, len(j.Hops))
	var rules []string
	for i := range j.Translations {
		t := &j.Translations[i]
		switch {
		case t.Between[0] == hop:
			s += "; next: " + change(t, "becomes")
		case t.Between[0] < 0 && t.Between[1] == hop:
			s += "; before: " + change(t, "became")
		default:
			continue
		}
		if t.Rule != nil {
			rules = append(rules, "rule: "+clean(t.Rule.Text))
		}
	}
	if j.Verdict.Hop == hop || j.Verdict.Hop < 0 && hop == len(j.Hops)-1 {
		s += "; " + ending(j)
	}
	return append([]string{clean(s)}, rules...)
}

// change says what a translation does.
func change(t *trace.Translation, verb string) string {
	var parts []string
	if before, after := end(t.Before, false), end(t.After, false); before != after {
		parts = append(parts, fmt.Sprintf("source %s %s %s", before, verb, after))
	}
	if before, after := end(t.Before, true), end(t.After, true); before != after {
		parts = append(parts, fmt.Sprintf("destination %s %s %s", before, verb, after))
	}
	how := strings.ToUpper(t.Kind)
	if t.Undo {
		how = "undoes " + how
	}
	if t.ConntrackID != 0 {
		how += ", conntrack " + strconv.FormatUint(uint64(t.ConntrackID), 10)
	} else {
		how += ", " + string(t.Evidence)
	}
	return strings.Join(parts, ", ") + " (" + how + ")"
}

// end writes one end of a tuple.
func end(t packet.Tuple, destination bool) string {
	address, port := t.Source(), t.SourcePort
	if destination {
		address, port = t.Destination(), t.DestinationPort
	}
	switch {
	case t.HasPorts():
		return netip.AddrPortFrom(address, port).String()
	case !destination && port != 0:
		return fmt.Sprintf("%v id %d", address, port)
	}
	return address.String()
}

// ending says what became of the packet after the hop where that was decided.
func ending(j *trace.Journey) string {
	s := string(j.Verdict.Result)
	switch {
	case j.Verdict.Result == trace.Delivered && j.To.Name != "":
		s += " to " + j.To.Name
	case j.Verdict.Result == trace.Left && j.Verdict.Hop >= 0:
		s += " by " + j.Hops[j.Verdict.Hop].Interface
	case j.Verdict.By != "":
		s += " by " + j.Verdict.By
	}
	if j.Verdict.Leak {
		s += ", with a container's own address"
	}
	if j.Verdict.Reason != "" {
		s += ": " + j.Verdict.Reason
	}
	return s
}

// clean replaces what a terminal would obey.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
