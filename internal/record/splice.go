package record

import (
	"slices"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/trace"
)

// splice makes one journey of what two hosts saw of a packet: it left the first by
// exit and came to the second by entry. Where its addresses are not the same there,
// somebody between translated them, which is inferred. Both are used up.
func splice(a, b *trace.Journey, exit, entry *gate, hosts *netinfo.Topology) *trace.Journey {
	j := *a
	shift := len(a.Hops)
	for i, at := range entry.hops {
		b.Hops[at].From = exit.hops[i] - shift // shifted with the others below
	}
	for i := range b.Hops {
		if h := &b.Hops[i]; h.From >= 0 || slices.Contains(entry.hops, i) {
			h.From += shift
		}
	}
	for i := range b.Translations {
		for k, at := range b.Translations[i].Between {
			if at >= 0 {
				b.Translations[i].Between[k] = at + shift
			}
		}
	}
	remeet(b, func(m *trace.Met) {
		for k, at := range m.Between {
			if at >= 0 {
				m.Between[k] = at + shift
			}
		}
	})
	j.Hops = append(slices.Clip(a.Hops), b.Hops...)
	before, after := exit.tuple(a), entry.tuple(b)
	j.Translations = slices.Clip(a.Translations)
	if before != after {
		j.Translations = append(j.Translations, between(before, after, [2]int{exit.hops[0], shift + entry.hops[0]}, a.Direction == trace.Reply))
	}
	j.Translations = append(j.Translations, b.Translations...)
	j.Rules = append(slices.Clip(a.Rules), b.Rules...)
	j.Flows = append(slices.Clip(a.Flows), b.Flows...)
	if j.Verdict = b.Verdict; j.Verdict.Hop >= 0 {
		j.Verdict.Hop += shift
	}
	j.Verdict.Leak = a.Verdict.Leak || b.Verdict.Leak
	if j.From.Name == "" && b.From.IP == a.From.IP {
		j.From = b.From
	}
	if b.To.Name != "" || b.To.IP != a.To.IP {
		j.To = b.To
	}
	if j.Direction == trace.NoDirection {
		j.Direction = b.Direction
	}
	j.Notes = slices.Clip(a.Notes)
	for _, n := range b.Notes {
		if !slices.Contains(j.Notes, n) {
			j.Notes = append(j.Notes, n)
		}
	}
	j.Topology = hosts
	return &j
}

// between is what somebody between two hosts did to a packet.
func between(before, after packet.Tuple, hops [2]int, reply bool) trace.Translation {
	source := before.Source() != after.Source() || before.SourcePort != after.SourcePort
	t := trace.Translation{
		Kind: trace.DNAT, Between: hops, Undo: reply, Before: before, After: after, Evidence: trace.ByInference,
	}
	if source != reply {
		t.Kind = trace.SNAT
	}
	return t
}

// oneSide reports whether b can be a with one side translated.
func oneSide(a, b packet.Tuple) bool {
	return a.Protocol == b.Protocol && a.Is4() == b.Is4() &&
		(a.Source() == b.Source()) != (a.Destination() == b.Destination())
}
