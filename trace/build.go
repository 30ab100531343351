package trace

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// build makes the record of an open journey as it stands. early says why it
// could not wait for its end; empty when it could.
func (c *Correlator) build(e *entry, early string) *Journey {
	hops := e.hops()
	c.inOrder(hops)
	first := &hops[0]
	j := &Journey{
		ID: e.id, Time: first.time, Protocol: first.h.Tuple.Protocol,
		Direction: NoDirection, Topology: c.hosts.topology,
		LinkType: e.linkType, Data: slices.Clone(e.data()),
	}
	if e.shownAs != 0 {
		c.lastID++
		j.ID, j.Supersedes = c.lastID, e.shownAs
	}
	from := c.parents(hops)
	j.Hops = make([]Hop, len(hops))
	pieces := partsOf(hops)
	for i := range hops {
		j.Hops[i] = c.hop(hops, i, from[i])
		if pieces != nil {
			j.Hops[i].Part = pieces[i]
		}
	}
	hops = c.reassembled(e, hops)
	main := c.mainFlow(hops)
	if main.flow != nil {
		j.Direction = Original
		if main.reply {
			j.Direction = Reply
		}
	}
	for i := range hops {
		if f := hops[i].flow.flow; f != nil && !f.inferred && !slices.ContainsFunc(j.Flows, func(g netfilter.Flow) bool {
			return g.Namespace == f.Namespace && g.ID == f.ID
		}) {
			j.Flows = append(j.Flows, f.Flow)
		}
	}
	j.Verdict = c.verdict(e, hops, from, early)
	if r := j.Verdict.Rule; r != nil {
		j.Rules = append(j.Rules, *r)
	}
	if why := bridged(j, hops); why != "" {
		j.Notes = append(j.Notes, why)
	}
	if pieces != nil || slices.ContainsFunc(hops, func(s sighting) bool { return s.others > 0 }) {
		if why := pieced(j); why != "" {
			j.Notes = append(j.Notes, why)
		}
	}
	if why := halfway(j, hops); why != "" {
		j.Notes = append(j.Notes, why)
	}
	if why := c.stray(&hops[len(hops)-1]); why != "" {
		j.Notes = append(j.Notes, why)
	}
	if f := c.floodOf(hops); f != nil && f.accepted && len(f.ignored) > 0 {
		j.Notes = append(j.Notes, f.note())
	}
	if why := renumbering(hops); why != "" {
		j.Notes = append(j.Notes, why)
	}
	if why := c.copies(e, hops, from); why != "" {
		j.Notes = append(j.Notes, why)
	}
	if fix := c.leak(&j.Verdict, hops); fix != "" {
		j.Notes = append(j.Notes, fix)
	}
	if why := c.misplacedOf(hops); why != "" && why != j.Verdict.Reason {
		j.Notes = append(j.Notes, why)
	}
	c.translate(j, hops, from)
	c.joinWalks(j, e, hops)
	if why := c.silenced(&j.Verdict, e, hops); why != "" {
		j.Notes = append(j.Notes, why)
	}
	c.endpoints(j, hops)
	c.relate(j, e, main, first)
	c.proxied(j, e)
	c.nameHosted(j, e, hops)
	c.resolved(j, e, hops, main)
	if name := c.unwatchedEnd(j, hops); name != "" {
		j.Notes = append(j.Notes, "container side not watched yet: "+name)
	}
	if e.inferred || main.flow != nil && main.flow.inferred && len(j.Translations) > 0 {
		why := "no conntrack entry known"
		if slices.ContainsFunc(hops, func(s sighting) bool { return s.h.Layers.Has(packet.Truncated) }) {
			why = "too little captured to find its conntrack entry (-s takes more)"
		}
		j.Notes = append(j.Notes, why+": hops joined because nothing else fits")
	}
	if d := e.has().doubt; d != nil {
		j.Verdict.Evidence = Ambiguous
		j.Notes = append(j.Notes, d.says(e.id))
	}
	if c.foreign && slices.ContainsFunc(j.Hops, func(h Hop) bool { return h.Type == capture.UnknownType }) {
		j.Notes = append(j.Notes, "the file does not tell which way packets went")
	}
	if len(hops) == 1 && (j.Verdict.Result == Vanished || j.Verdict.Result == Unfinished) {
		c.counters.Unpaired++
	}
	return j
}

// unwatchedEnd names the container whose own side of its link had no ring when the
// packet was there, at the beginning of the journey or at its end; else empty.
func (c *Correlator) unwatchedEnd(j *Journey, hops []sighting) string {
	ends := []*sighting{&hops[0]}
	if hops[0].point.Direction != capture.In {
		ends = ends[:0]
	}
	if at := j.Verdict.Hop; at >= 0 && j.Verdict.Result == Left {
		ends = append(ends, &hops[at])
	}
	for _, s := range ends {
		if far := c.hosts.farSide(s.link); far != nil && len(far.containers) > 0 && !far.watched(s.time) {
			return far.name
		}
	}
	return ""
}

// inOrder sorts hops into the order in which the packet passed them. They are
// few and all but sorted, and too large to be moved about without need.
func (c *Correlator) inOrder(hops []sighting) {
	for i := 1; i < len(hops); i++ {
		for k := i; k > 0 && hops[k].time < hops[k-1].time; k-- {
			hops[k], hops[k-1] = hops[k-1], hops[k]
		}
	}
	// Stamps of one buffer are equal: there the topology tells the order.
	for pass, swapped := 0, true; swapped && pass < len(hops); pass++ {
		swapped = false
		for i := 1; i < len(hops); i++ {
			a, b := &hops[i-1], &hops[i]
			if a.time == b.time && c.follows(a, b) == fitNone && c.follows(b, a) > fitNone {
				*a, *b = *b, *a
				swapped = true
			}
		}
	}
}

// parents finds for each hop the one it came from: the best fit, and of equal
// fits the latest. The result is valid until the next call.
func (c *Correlator) parents(hops []sighting) []int {
	from := append(c.from[:0], -1)
	for i := 1; i < len(hops); i++ {
		best, parent := fitNone, i-1
		if hops[i].extent.kind == extentFragment {
			parent = -1 // the datagram begins with several
		}
		for k := i - 1; k >= 0; k-- {
			if f := c.follows(&hops[k], &hops[i]); f > best {
				best, parent = f, k
			}
			// Only one with the same stamp can fit better than that.
			if best >= fitDirect && (k == 0 || hops[k-1].time < hops[i].time) {
				break
			}
		}
		from = append(from, parent)
	}
	c.from = from
	return from
}

func (c *Correlator) hop(hops []sighting, i, from int) Hop {
	s := &hops[i]
	h := Hop{
		Time: s.time, Point: s.point, Interface: s.linkName(), Namespace: s.space.name,
		Type: s.typ, Headers: *s.h, Containers: s.space.containers, From: from,
		SameStamp: from >= 0 && hops[from].time == s.time, MergedWith: int(s.others),
	}
	if far := c.hosts.farSide(s.link); far != nil {
		h.PeerContainers = far.containers
	}
	if s.kept != nil {
		h.Packet = s.kept.packet
	}
	if s.shift != nil {
		s.shift.redo(&h.Headers)
	}
	return h
}

// mainFlow is the flow that says whether the packet asks or answers: that of
// natlens's own namespace, else the first.
func (c *Correlator) mainFlow(hops []sighting) (main flowRef) {
	for i := range hops {
		r := hops[i].flow
		if r.flow != nil && (main.flow == nil || hops[i].space.self) {
			main = r
			if hops[i].space.self {
				break
			}
		}
	}
	return main
}

// endpoints names both ends: before any translation, and after all of them.
func (c *Correlator) endpoints(j *Journey, hops []sighting) {
	first, last := &hops[0], &hops[len(hops)-1]
	if at := j.Verdict.Hop; at >= 0 {
		last = &hops[at]
	}
	source, destination := first.tuple, last.tuple
	for _, t := range j.Translations {
		if t.Between[0] < 0 {
			source = t.Before
			break
		}
	}
	if n := len(j.Translations); n > 0 && j.Translations[n-1].Between[1] < 0 {
		destination = j.Translations[n-1].After
	}
	j.From = endpoint(source.Source(), source.SourcePort, source)
	j.To = endpoint(destination.Destination(), destination.DestinationPort, destination)

	switch far := c.hosts.farSide(first.link); {
	case first.point.Direction == capture.Out && c.sends(first.space, j.From.IP):
		j.From.own(first.space)
	case far != nil && far.has(j.From.IP):
		j.From.own(far)
	default:
		c.name(&j.From, first.point.Namespace, first.time)
	}
	switch far := c.hosts.farSide(last.link); {
	case last.point.Direction == capture.In && last.space.has(j.To.IP):
		j.To.own(last.space)
	case last.point.Direction == capture.Out && far != nil && far.has(j.To.IP):
		j.To.own(far)
	default:
		c.name(&j.To, last.point.Namespace, last.time)
	}
}

// sends reports whether a packet from that address, which the namespace was first seen to
// send, is its own. Else it passed it on: where it came in it was not seen, or so long
// before that it was taken for another's.
func (c *Correlator) sends(s *space, ip netip.Addr) bool {
	if s.own == nil || ip.IsUnspecified() || s.has(ip) {
		return true
	}
	_, owner := c.hosts.topology.OwnerOf(ip, s.id)
	return owner == nil && !s.self
}

func endpoint(ip netip.Addr, port uint16, t packet.Tuple) Endpoint {
	e := Endpoint{IP: ip}
	if t.HasPorts() {
		e.Port = port
	}
	return e
}

func (e *Endpoint) own(s *space) { e.Name, e.Containers = s.name, s.containers }

// relate ties an answer to its question, an error to its cause.
func (c *Correlator) relate(j *Journey, e *entry, main flowRef, first *sighting) {
	if e.has().duplicateOf != 0 {
		j.Related = append(j.Related, Relation{ID: e.has().duplicateOf, Why: "duplicate_of"})
	}
	if e.has().resends != 0 {
		j.Related = append(j.Related, Relation{ID: e.has().resends, Why: "retransmission_of"})
	}
	if e.has().errorAbout != 0 {
		j.Related = append(j.Related, Relation{ID: e.has().errorAbout, Why: "error_about"})
	}
	if main.flow == nil {
		return
	}
	h := first.h
	q := query{journey: j.ID, seq: h.ICMPSeq, flags: h.TCPFlags, ipID: h.IPID}
	q.dns, q.hasDNS = e.dnsID(main.flow)
	switch {
	case main.about:
		if e.has().errorAbout != 0 || !main.reply || h.QuotedID == 0 {
			break
		}
		if id, ok := main.flow.asker(func(q query) bool { return q.ipID == h.QuotedID }); ok {
			j.Related = append(j.Related, Relation{ID: id, Why: "error_about"})
		}
	case j.Supersedes != 0 && !main.reply:
	case !main.reply:
		main.flow.ask(q)
	default:
		if id, ok := main.flow.answer(h, q, j.Supersedes != 0); ok {
			j.Related = append(j.Related, Relation{ID: id, Why: "reply_to"})
		}
	}
}

// dnsID returns the message id (RFC 1035, section 4.1.1) of a packet of a flow
// that asks a name server.
func (e *entry) dnsID(f *trackedFlow) (uint16, bool) {
	h := e.hops()[0].h // e.data() is of it
	if !h.Layers.Has(packet.LayerUDP) || f.Original.DestinationPort != packet.DNSPort || int(h.PayloadOffset) > len(e.data()) {
		return 0, false
	}
	message := h.Payload(e.data())
	if len(message) < 2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(message), true
}
