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
	if p := j.Hops[hop].Part; p != nil && p.Of > 1 {
		s += fmt.Sprintf(", piece %d of %d", p.Index+1, p.Of)
	}
	if n := j.Hops[hop].MergedWith; n > 0 {
		s += fmt.Sprintf(", merged with %d more", n)
	}
	var more []string
	if hop == 0 {
		for _, r := range j.Related {
			s += "; " + relation(r)
		}
		for _, n := range j.Notes[:min(len(j.Notes), maxNotes)] {
			more = append(more, "note: "+brief(clean(n)))
		}
	}
	for i := range j.Translations {
		t := &j.Translations[i]
		switch {
		case t.Kind == trace.Proxy && hop == 0:
			s += fmt.Sprintf("; before, in docker-proxy, of journey %d: ", t.PeerJourney) + change(t, "became")
		case t.Kind == trace.Proxy:
			continue
		case t.Between[0] == hop:
			s += "; next: " + change(t, "becomes")
		case t.Between[0] < 0 && t.Between[1] == hop:
			s += "; before: " + change(t, "became")
		default:
			continue
		}
		if t.Rule != nil {
			more = append(more, "rule: "+clean(t.Rule.Text))
		}
	}
	if j.Verdict.Hop == hop || j.Verdict.Hop < 0 && hop == len(j.Hops)-1 {
		s += "; " + ending(j)
	}
	return append([]string{clean(s)}, more...)
}

const (
	// maxNotes is how many notes of a journey stand beside its first packet, and
	// maxNote how much of each.
	maxNotes, maxNote = 3, 200
)

// brief cuts what is long.
func brief(s string) string {
	if r := []rune(s); len(r) > maxNote {
		return string(r[:maxNote-1]) + "…"
	}
	return s
}

// relation says what an earlier journey has to do with this one.
func relation(r trace.Relation) string {
	words := map[string]string{
		"reply_to": "reply to journey %d", "error_about": "error about journey %d", "retransmission_of": "journey %d again",
		"duplicate_of": "duplicate of journey %d", "proxied_as": "a process made it of journey %d", "resolved_by": "address told by journey %d",
	}[r.Why]
	if words == "" {
		words = r.Why + " journey %d"
	}
	return fmt.Sprintf(words, r.ID)
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
	at := j.Verdict.Hop
	switch {
	case j.Verdict.Result == trace.Delivered && at >= 0 && j.OwnHop(&j.Hops[at]):
		// Rules at INPUT stand behind the tap.
		if s += " to this host"; j.Verdict.Evidence == trace.ByTap {
			s = "reached this host"
		}
	case j.Verdict.Result == trace.Delivered && j.To.Name != "":
		s += " to " + j.To.Name
	case j.Verdict.Result == trace.Left && at >= 0:
		s += " by " + j.Hops[at].Interface
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
