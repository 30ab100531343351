package text

import (
	"net/netip"
	"strconv"

	"natlens/capture/packet"
	"natlens/trace"
)

// endpoint names one end of a journey: a name where there is one and names are
// wanted, else the address; with the port where there is one.
func (st Style) endpoint(e trace.Endpoint) string { return st.endpointCut(e, st.Cut) }

// endpointCut is endpoint with cut in place of Cut for names that are too long.
func (st Style) endpointCut(e trace.Endpoint, cut func(string, int) string) string {
	if e.Name != "" && (st.Names || !e.IP.IsValid()) {
		name := e.Name
		switch {
		case e.Host != "" && e.Name == hostName:
			name = e.Host
		case e.Host != "":
			name = e.Host + "/" + e.Name
		}
		name = cut(st.Escape(name), maxName)
		if e.Port != 0 {
			name += ":" + strconv.Itoa(int(e.Port))
		}
		return name
	}
	if !e.IP.IsValid() {
		return "?"
	}
	return address(e.IP, e.Port)
}

// address writes an address, with its port unless that is 0. A zone comes from
// outside like any other name, so it is escaped.
func address(a netip.Addr, port uint16) string {
	s := Escape(a.String())
	if !a.IsValid() {
		s = "?"
	}
	if port == 0 {
		return s
	}
	if a.Is6() {
		s = "[" + s + "]"
	}
	return s + ":" + strconv.Itoa(int(port))
}

func sourceOf(t packet.Tuple) string {
	if t.HasPorts() {
		return address(t.Source(), t.SourcePort)
	}
	return address(t.Source(), 0)
}

func destinationOf(t packet.Tuple) string {
	if t.HasPorts() {
		return address(t.Destination(), t.DestinationPort)
	}
	return address(t.Destination(), 0)
}

// between returns "A → B" as one piece or, where that would be too wide for a
// line, as two.
func (st Style) between(gap int, a, b string, aTone, bTone Tone, hang int) []piece {
	arrow := " " + st.symbols().arrow
	left, right := st.Paint(aTone, a)+arrow, st.Paint(bTone, b)
	if hang+Columns(left)+1+Columns(right) <= st.Columns() {
		return []piece{{gap: gap, text: left + " " + right}}
	}
	return []piece{{gap: gap, text: left}, {gap: 1, text: right}}
}

// tones says which of a hop's two addresses a translation changed later, or
// had changed before.
func tones(j *trace.Journey, t packet.Tuple) (source, destination Tone) {
	for i := range j.Translations {
		x := &j.Translations[i]
		if sourceChanged(x) {
			source = pick(source, sourceOf(t), sourceOf(x.Before), sourceOf(x.After))
		}
		if destinationChanged(x) {
			destination = pick(destination, destinationOf(t), destinationOf(x.Before), destinationOf(x.After))
		}
	}
	return source, destination
}

func pick(have Tone, s, before, after string) Tone {
	switch s {
	case before:
		return Before
	case after:
		return After
	}
	return have
}

func sourceChanged(t *trace.Translation) bool {
	return t.Before.Source() != t.After.Source() || t.Before.SourcePort != t.After.SourcePort
}

func destinationChanged(t *trace.Translation) bool {
	return t.Before.Destination() != t.After.Destination() ||
		t.Before.HasPorts() && t.Before.DestinationPort != t.After.DestinationPort
}

// changedSource says what became of the source, as short as can be: the port
// only where it changed, the address only where that did. Where no ports are,
// an ICMP echo's id is not told here.
func changedSource(t *trace.Translation) (before, after string) {
	b, a := t.Before, t.After
	if !b.HasPorts() {
		return sourceOf(b), sourceOf(a)
	}
	return change(b.Source(), a.Source(), b.SourcePort, a.SourcePort)
}

// changedID says what became of an echo's id; both are empty where there is none.
func changedID(t *trace.Translation) (before, after string) {
	if !isICMP(t.Before) {
		return "", ""
	}
	return strconv.Itoa(int(t.Before.SourcePort)), strconv.Itoa(int(t.After.SourcePort))
}

// changedDestination is changedSource for the destination.
func changedDestination(t *trace.Translation) (before, after string) {
	b, a := t.Before, t.After
	if !b.HasPorts() {
		return destinationOf(b), destinationOf(a)
	}
	return change(b.Destination(), a.Destination(), b.DestinationPort, a.DestinationPort)
}

func change(from, to netip.Addr, fromPort, toPort uint16) (before, after string) {
	switch {
	case fromPort == toPort:
		return address(from, 0), address(to, 0)
	case from == to:
		return ":" + strconv.Itoa(int(fromPort)), ":" + strconv.Itoa(int(toPort))
	}
	return address(from, fromPort), address(to, toPort)
}
