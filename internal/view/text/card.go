package text

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/trace"
)

// Card shows one journey in full: a header, a line for each hop, the
// translations between them, and what is said about it. It ends with a line
// break; no line is wider than the Style's.
func (st Style) Card(d Detail, j *trace.Journey) string {
	c := card{Style: st, Detail: d, j: j}
	c.header()
	c.measure()
	c.translationsAt(-1)
	for i := range j.Hops {
		if !c.Verbose && laterPiece(&j.Hops[i]) {
			continue
		}
		c.translationsAt(i)
		c.hop(i)
		c.shownLast = i
		c.translationsAfter(i)
	}
	c.rules()
	for _, n := range j.Notes {
		c.add(c.lay("  ", 4, []piece{{text: "note: " + c.Escape(n), words: true, tone: Dim}}))
	}
	return strings.Join(c.lines, "\n") + "\n"
}

type card struct {
	Style
	Detail
	j     *trace.Journey
	lines []string

	shownLast int // the hop of the line before

	// widths of the hops' columns
	namespace, iface, addresses int
}

func (c *card) add(lines []string) { c.lines = append(c.lines, lines...) }

func (c *card) header() {
	j := c.j
	prefix := c.head(c.Detail, j)
	if j.Supersedes != 0 {
		prefix += " amends #" + strconv.FormatUint(j.Supersedes, 10)
	}
	pieces := c.between(1, c.endpoint(j.From), c.endpoint(j.To), Name, Name, hang)
	info := withoutQuotation(c.info(j), j) // the hops have it
	pieces = append(pieces, piece{gap: 2, text: info})
	// One number of bytes is enough: a payload's says more than the packet's.
	if n := length(j); n != 0 && (c.Verbose || !strings.HasSuffix(info, " B")) {
		pieces = append(pieces, piece{gap: 2, text: strconv.FormatUint(uint64(n), 10) + " B"})
	}
	words, tone := c.verdict(j)
	pieces = append(pieces, piece{gap: 4, text: words, words: true, tone: tone})
	for _, r := range j.Related {
		pieces = append(pieces, piece{
			gap: 2, text: "(" + c.Escape(relation(j, r)) + ")",
			optional: r.Why == "reply_to" && !c.Verbose, // the addresses show it, too
		})
	}
	c.add(c.lay(prefix, hang, pieces))
}

// hang is the indentation of a header's later lines.
const hang = 4

// measure finds how wide the columns of the hops are. Where addresses are so
// long that they get lines of their own they are not aligned.
func (c *card) measure() {
	room := c.Columns()/2 - 20
	for i := range c.j.Hops {
		h := &c.j.Hops[i]
		c.namespace = max(c.namespace, min(Columns(c.Escape(spaceOf(h))), max(room, 8)))
		c.iface = max(c.iface, min(Columns(c.Escape(h.Interface)), max(room, 10)))
	}
	limit := c.Columns() - c.namespace - c.iface - 20
	for i := range c.j.Hops {
		t := c.j.Hops[i].Headers.Tuple
		n := Columns(sourceOf(t)) + Columns(c.symbols().arrow) + 2 + Columns(destinationOf(t))
		if n <= limit {
			c.addresses = max(c.addresses, n)
		}
	}
}

func (c *card) hop(i int) {
	h := &c.j.Hops[i]
	prefix := "  " + Pad(c.name(spaceOf(h), c.namespace), c.namespace) +
		" " + Pad(c.name(h.Interface, c.iface), c.iface) + "  " + Pad(way(h.Type, h.Point), 3)
	sourceTone, destinationTone := tones(c.j, h.Headers.Tuple)
	pieces := c.between(2, sourceOf(h.Headers.Tuple), destinationOf(h.Headers.Tuple), sourceTone, destinationTone, hopHang)
	if len(pieces) == 1 {
		pieces[0].text = Pad(pieces[0].text, c.addresses)
	}
	previous := hopAt(c.j, h.From)
	if h.From >= i {
		previous = nil
	}
	pieces = append(pieces, c.since(h, previous)...)
	if h.Headers.IsIP() && (previous == nil || previous.Headers.TTL != h.Headers.TTL) {
		pieces = append(pieces, piece{gap: 2, text: "ttl " + strconv.Itoa(int(h.Headers.TTL))})
	}
	if previous != nil && h.From != i-1 && previous.Point != c.j.Hops[c.shownLast].Point {
		pieces = append(pieces, piece{gap: 2, text: "from " + c.link(previous)})
	}
	if c.unusual(h) {
		pieces = append(pieces, piece{gap: 2, text: h.Type.String()})
	}
	if p := c.part(h, previous); p != "" {
		pieces = append(pieces, piece{gap: 2, text: p})
	}
	if c.MACs && h.Headers.Layers.Has(packet.LayerEthernet) {
		pieces = append(pieces, c.between(2, mac(h.Headers.SourceMAC), mac(h.Headers.DestinationMAC), Dim, Dim, hopHang)...)
	}
	if p := c.peer(h); p != "" {
		pieces = append(pieces, piece{gap: 2, text: "peer of " + p, optional: !c.Verbose})
	}
	c.add(c.lay(prefix, hopHang, pieces))
	c.quotation(h, previous)
}

// way is in or out; a question mark where a file does not tell.
func way(typ capture.PacketType, p capture.Point) string {
	if typ == capture.UnknownType {
		return "?"
	}
	return p.Direction.String()
}

// hopHang is the indentation of a hop's later lines.
const hopHang = 8

func (c *card) since(h, previous *trace.Hop) []piece {
	switch {
	case previous == nil:
		return nil
	case h.SameStamp:
		return []piece{{gap: 2, text: "same stamp"}}
	}
	return []piece{{gap: 2, text: c.signed((h.Time - h.Clock) - (previous.Time - previous.Clock))}}
}

// unusual reports whether the packet type tells something. A bridge's port
// sees every packet as somebody else's; elsewhere a packet to a link's own address
// is the rule.
func (c *card) unusual(h *trace.Hop) bool {
	switch h.Type {
	case capture.Host, capture.Outgoing, capture.UnknownType:
		return false
	case capture.OtherHost:
		l := c.j.Topology.Link(netinfo.LinkKey{Namespace: h.Point.Namespace, Index: h.Point.Ifindex})
		return len(h.PeerContainers) == 0 && l != nil && l.Master == nil
	}
	return true
}

func mac(m [6]byte) string { return net.HardwareAddr(m[:]).String() }

// peer names the other end of this hop's veth, as it is seen from the host: a
// container's own link needs no such hint.
func (c *card) peer(h *trace.Hop) string {
	if h.Namespace != hostName {
		return ""
	}
	l := c.j.Topology.Link(netinfo.LinkKey{Namespace: h.Point.Namespace, Index: h.Point.Ifindex})
	if l != nil && l.Peer != nil && l.Peer.Name != "" && l.Peer.Key.Namespace != h.Point.Namespace {
		if n := c.j.Topology.Namespace(l.Peer.Key.Namespace); n != nil {
			return c.name(n.Name, maxName) + ":" + c.name(l.Peer.Name, maxName)
		}
	}
	if len(h.PeerContainers) > 0 {
		return c.name(strings.Join(h.PeerContainers, "+"), maxName)
	}
	return ""
}

// translationsAt shows what stands right before hop i, translations and rules; i
// is -1 for what stands before every hop because no tap saw either side.
func (c *card) translationsAt(i int) {
	g := gap{c: c, met: func(m *trace.Met) bool {
		before, after := c.around(m.Between)
		return after == i && (i >= 0 || before == -1)
	}}
	for n := range c.j.Translations {
		t := &c.j.Translations[n]
		switch before, after := c.sides(t); {
		case i == -1 && before == -1 && after == -1:
			where := "on no tap"
			if len(c.j.Hops) == 0 {
				where = ""
			}
			g.before(t)
			c.translation(t, where)
		case i >= 0 && after == i && before == -1:
			g.before(t)
			c.translation(t, "before the first tap")
		case i >= 0 && after == i:
			g.before(t)
			c.translation(t, "")
		}
	}
	g.through("")
}

// translationsAfter shows what stands after hop i and that no later tap saw.
func (c *card) translationsAfter(i int) {
	g := gap{c: c, met: func(m *trace.Met) bool {
		before, after := c.around(m.Between)
		return before == i && after == -1
	}}
	for n := range c.j.Translations {
		t := &c.j.Translations[n]
		if before, after := c.sides(t); before == i && after == -1 {
			g.before(t)
			c.translation(t, "after the last tap")
		}
	}
	g.through("")
}

// sides returns the hops around a translation, as they are shown; -1 where there is none.
func (c *card) sides(t *trace.Translation) (before, after int) { return c.around(t.Between) }

func (c *card) around(between [2]int) (before, after int) {
	return c.shownFor(between[0]), c.shownFor(between[1])
}

func (c *card) translation(t *trace.Translation, where string) {
	if t.Kind == trace.Proxy {
		c.passedOn(t) // of which journey, the header says
		return
	}
	var pieces []piece
	side := func(word, before, after string) {
		if pieces != nil {
			c.add(c.lay("    "+c.symbols().becomes+" ", hopHang, pieces))
		}
		pieces = []piece{
			{text: word + " " + c.Paint(Before, before)},
			{gap: 1, text: "becomes " + c.Paint(After, after)},
		}
	}
	if sourceChanged(t) {
		if before, after := changedSource(t); before != after {
			side("source", before, after)
		}
		if before, after := changedID(t); before != after {
			side("echo id", before, after)
		}
	}
	if destinationChanged(t) {
		before, after := changedDestination(t)
		side("destination", before, after)
	}
	pieces = append(pieces, piece{gap: 2, text: c.Escape(kindWord(t)), tone: Strong})
	pieces = append(pieces, piece{gap: 2, text: c.basis(t, "conntrack"), short: c.basis(t, "ct")})
	if where != "" {
		pieces = append(pieces, piece{gap: 2, text: "(" + where + ")"})
	}
	c.add(c.lay("    "+c.symbols().becomes+" ", hopHang, pieces))
	if t.Rule != nil && (!t.Undo || c.Verbose) {
		c.rule("      ", t.Rule)
	}
}

// passedOn says what a docker-proxy took of which it made this packet: two packets
// of two connections, so that no address has become another one.
func (c *card) passedOn(t *trace.Translation) {
	pieces := append([]piece{{text: c.Paint(Strong, "docker-proxy") + " passes on"}},
		c.between(1, sourceOf(t.Before), destinationOf(t.Before), Before, Before, hopHang)...)
	pieces = append(pieces, piece{gap: 2, text: c.basis(t, "conntrack")})
	c.add(c.lay("    "+c.symbols().becomes+" ", hopHang, pieces))
}

func isICMP(t packet.Tuple) bool {
	return t.Protocol == packet.ICMP || t.Protocol == packet.ICMPv6
}

// basis says what a translation rests on: [conntrack 3047873481]. word is
// "conntrack" or, where that is too long, nft's word for it, "ct".
func (c *card) basis(t *trace.Translation, word string) string {
	var on []string
	if t.ConntrackID != 0 {
		on = append(on, fmt.Sprintf("%s %d", word, t.ConntrackID))
		if zone := c.zone(t.ConntrackID); zone != "" {
			on = append(on, zone)
		}
	}
	if t.Evidence != "" && (t.Evidence != trace.ByConntrack || t.ConntrackID == 0) {
		on = append(on, c.Escape(evidence(t.Evidence)))
	}
	if len(on) == 0 {
		return ""
	}
	return "[" + strings.Join(on, ", ") + "]"
}

// zone says in which zone an entry is that a rule has put there; empty for most.
func (c *card) zone(id uint32) string {
	for i := range c.j.Flows {
		switch f := &c.j.Flows[i]; {
		case f.ID != id || f.Zones() == (netfilter.Zones{}):
		case f.Zone == f.ReplyZone:
			return fmt.Sprintf("zone %d", f.Zone)
		default:
			return fmt.Sprintf("zone %d, reply zone %d", f.Zone, f.ReplyZone)
		}
	}
	return ""
}

// rule shows a rule, where it stands and how that is known: on two lines, cut where it
// must be, or in full when verbose.
func (c *card) rule(prefix string, r *trace.Rule) {
	at, short := c.position(r)
	if c.Verbose {
		short = ""
	}
	text := c.Escape(r.Text)
	if text == "" {
		text = c.Escape(strings.TrimSpace(strings.Join([]string{r.Family, r.Table, r.Chain}, " ")))
	}
	if !c.Verbose {
		text = c.Cut(text, 2*c.Columns()-Columns(prefix)-hopHang-Columns(at)-2-wrapLoss)
	}
	c.add(c.lay(prefix, hopHang, []piece{{text: text, words: true, tone: Dim}, {gap: 2, text: at, short: short}}))
	if r.Marker != nil { // known as the rule itself is
		c.rule(prefix+"mark set by ", &trace.Rule{RuleRef: *r.Marker})
	}
}

// wrapLoss is about what a line loses because words are not broken.
const wrapLoss = 12

// rules shows the rules the packet met that no translation has shown.
func (c *card) rules() {
	for i := range c.j.Rules {
		r := &c.j.Rules[i]
		if r.Met == nil && !c.shown(r.RuleRef) {
			c.rule("  rule ", r)
		}
	}
}

func (c *card) shown(r netfilter.RuleRef) bool {
	for i := range c.j.Translations {
		if t := &c.j.Translations[i]; t.Rule != nil && t.Rule.RuleRef == r {
			return true
		}
	}
	return false
}
