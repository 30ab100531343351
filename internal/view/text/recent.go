package text

import (
	"container/list"
	"hash/fnv"
	"strconv"

	"natlens/trace"
)

// path identifies a flow, a direction and a way through the host. It is a hash
// of 64 bits: if two ways ever shared one, the second would be shown as a line
// instead of a card.
type path uint64

// pathOf hashes all that a card tells and a line does not: who talks to whom,
// where the packet passed, what was translated by which flow and rule, how it
// ended. The verdict's reason is on the line, too, and may count something, so
// that it would make a path of its own for every packet.
func pathOf(j *trace.Journey) path {
	h := fnv.New64a()
	var b []byte
	number := func(n int64) { b = append(strconv.AppendInt(b, n, 36), ' ') }
	word := func(s string) { b = append(strconv.AppendQuote(b, s), ' ') }
	word(j.From.Name)
	word(j.From.IP.String())
	number(int64(j.From.Port))
	word(j.To.Name)
	word(j.To.IP.String())
	number(int64(j.To.Port))
	number(int64(j.Protocol))
	word(string(j.Direction))
	for i := range j.Hops {
		hop := &j.Hops[i]
		if laterPiece(hop) {
			continue // however many there are, they go one way
		}
		number(int64(hop.Point.Namespace))
		number(int64(hop.Point.Ifindex))
		number(int64(hop.Point.Direction))
		if from := hopAt(j, hop.From); from != nil && hop.From < i {
			number(int64(from.Point.Ifindex))
		}
		if hop.Headers.IsEcho() {
			number(int64(hop.Headers.ICMPID)) // each ping is a flow of its own
			number(int64(hop.Headers.ICMPType))
		}
		if quotes(hop) { // an error; which packet it is about is on the line
			number(int64(hop.Headers.ICMPType))
			number(int64(hop.Headers.ICMPCode))
		}
		if hop.MergedWith > 0 {
			word("merged") // with however many
		}
	}
	for i := range j.Translations {
		t := &j.Translations[i]
		word(t.Kind)
		word(t.Before.String())
		word(t.After.String())
		number(int64(t.ConntrackID))
		if t.Rule != nil {
			word(t.Rule.Text)
		}
	}
	for _, n := range j.Notes {
		word(n)
	}
	v := &j.Verdict
	word(string(v.Result))
	number(int64(v.Hop))
	word(string(v.Hook))
	word(v.By)
	if v.Leak {
		word("leak")
	}
	h.Write(b) // never fails: hash.Hash
	return path(h.Sum64())
}

// recent remembers which journey showed each of the paths met last.
type recent struct {
	limit int
	byUse *list.List // of met, latest first
	of    map[path]*list.Element
}

type met struct {
	path  path
	first uint64 // number of the journey whose card was shown
}

func newRecent(limit int) *recent {
	return &recent{limit: limit, byUse: list.New(), of: map[path]*list.Element{}}
}

// meet returns the number of the first journey that took the path: id itself
// when the path is new, or was forgotten.
func (r *recent) meet(p path, id uint64) uint64 {
	if e, ok := r.of[p]; ok {
		r.byUse.MoveToFront(e)
		return e.Value.(met).first
	}
	if r.byUse.Len() == r.limit {
		oldest := r.byUse.Back()
		delete(r.of, oldest.Value.(met).path)
		r.byUse.Remove(oldest)
	}
	r.of[p] = r.byUse.PushFront(met{path: p, first: id})
	return id
}
