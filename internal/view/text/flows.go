package text

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"natlens/capture/packet"
	"natlens/internal/flows"
	"natlens/netinfo/netfilter"
)

// Flow shows a flow as it is at a time: who talks to whom, both tuples as
// connection tracking has them, what is translated, and by which rule. It ends with
// a line break.
func (st Style) Flow(e *flows.Entry, now int64) string {
	c := card{Style: st, j: e.Journey}
	c.flow("", e, flowAge(e, now))
	c.tuples(e)
	for i := range e.Journey.Translations {
		c.translation(&e.Journey.Translations[i], "")
	}
	c.proxy(e)
	return strings.Join(c.lines, "\n") + "\n"
}

// FlowChange shows a change of a flow with its time of day: a new one in full, any
// other in a line.
func (st Style) FlowChange(ch *flows.Change) string {
	word := map[netfilter.EventKind]string{
		netfilter.Known: "known", netfilter.New: "new", netfilter.Update: "changed", netfilter.Destroy: "ended",
	}[ch.Kind]
	c := card{Style: st, j: ch.Entry.Journey}
	age := flowAge(ch.Entry, ch.Time)
	if lived, _ := ch.Entry.Age(ch.Time); ch.Entry.Ended == 0 && lived < time.Second {
		age = "" // the line of its beginning stands above, or is this one
	}
	c.flow(st.Clock(ch.Time)+" "+Pad(word, len("changed"))+" ", ch.Entry, age)
	if ch.Kind == netfilter.New || ch.Kind == netfilter.Known {
		c.tuples(ch.Entry)
		for i := range ch.Entry.Journey.Translations {
			c.translation(&ch.Entry.Journey.Translations[i], "")
		}
		c.proxy(ch.Entry)
	}
	return strings.Join(c.lines, "\n") + "\n"
}

// flow is the line that names a flow.
func (c *card) flow(prefix string, e *flows.Entry, age string) {
	j := e.Journey
	pieces := c.between(1, c.endpoint(j.From), c.endpoint(j.To), Name, Name, hang)
	if e.Namespace != j.Topology.Self {
		pieces = append(pieces, piece{gap: 2, text: "inside " + c.name(j.Topology.NamespaceName(e.Namespace), maxName)})
	}
	pieces = append(pieces, piece{gap: 3, text: c.Escape(flowState(e))}, piece{gap: 2, text: age})
	c.add(c.lay(prefix+Pad(protocolName(j.Protocol), len("icmp6")), hang, pieces))
}

// protocolName is the name that /etc/protocols has for what goes through NAT, or beside
// it; the number of others.
func protocolName(p packet.Protocol) string {
	switch p {
	case packet.IGMP:
		return "igmp"
	case 4:
		return "ipencap"
	case 33:
		return "dccp"
	case 41:
		return "ipv6"
	case 47:
		return "gre"
	case 50:
		return "esp"
	case 51:
		return "ah"
	case 89:
		return "ospf"
	case 103:
		return "pim"
	case 112:
		return "vrrp"
	case 136:
		return "udplite"
	}
	return p.String()
}

// flowState says in the kernel's words how far a flow is.
func flowState(e *flows.Entry) string {
	switch {
	case e.TCPState != "":
		return e.TCPState
	case e.Status&netfilter.Assured != 0:
		return "assured"
	case e.Status&netfilter.SeenReply != 0:
		return "answered"
	}
	return "unanswered"
}

// flowAge says for how long it lives, or did.
func flowAge(e *flows.Entry, now int64) string {
	age, exact := e.Age(now)
	words := "for "
	switch {
	case e.Ended != 0:
		words = "lived "
	case !exact && age < time.Second:
		return "" // it was seen just now
	}
	if !exact {
		words += "at least "
	}
	if age < time.Second {
		return words + "less than 1s"
	}
	return words + age.Round(time.Second).String()
}

// tuples shows both directions as they come in.
func (c *card) tuples(e *flows.Entry) {
	width := 0
	line := func(t packet.Tuple) string {
		return sourceOf(t) + " " + c.symbols().arrow + " " + destinationOf(t)
	}
	for _, t := range []packet.Tuple{e.Original, e.Reply} {
		width = max(width, Columns(line(t)))
	}
	for i, t := range []packet.Tuple{e.Original, e.Reply} {
		pieces := c.between(1, sourceOf(t), destinationOf(t), Before, Before, hopHang)
		if i == 1 {
			pieces = c.between(1, sourceOf(t), destinationOf(t), After, After, hopHang)
		}
		if len(pieces) == 1 {
			pieces[0].text = Pad(pieces[0].text, width)
		}
		if isICMP(t) {
			pieces = append(pieces, piece{gap: 2, text: "id " + strconv.Itoa(int(t.SourcePort))})
		}
		if zones := e.Zones(); zones != (netfilter.Zones{}) {
			pieces = append(pieces, piece{gap: 2, text: "zone " + strconv.Itoa(int(zones[i]))})
		}
		if e.Packets != [2]uint64{} {
			pieces = append(pieces, piece{gap: 2, text: counted(e.Packets[i], "packet") + ", " + bytesOf(e.Bytes[i])})
		}
		c.add(c.lay("  "+[]string{"original", "reply   "}[i], hopHang, pieces))
	}
}

// bytesOf writes a number of bytes with three digits or so.
func bytesOf(n uint64) string {
	f, unit := float64(n), 0
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	for f >= 1000 {
		f, unit = f/1000, unit+1
	}
	if unit == 0 {
		return strconv.FormatUint(n, 10) + " B"
	}
	return threeDigits(f) + " " + units[unit]
}

// proxy names the docker-proxy at one of the ends.
func (c *card) proxy(e *flows.Entry) {
	p := e.Proxy
	if p == nil {
		return
	}
	other := c.Escape(p.Other.String())
	if p.Name != "" && c.Names {
		other = c.name(p.Name, maxName) + " (" + other + ")"
	}
	words := fmt.Sprintf("docker-proxy, process %d, took it: a connection of its own leads to %s", p.PID, other)
	if p.Dials {
		words = fmt.Sprintf("docker-proxy, process %d, which listens at %s, makes such connections; so would a program of this host", p.PID, c.Escape(p.Other.String()))
	}
	c.add(c.lay("  ", 4, []piece{{text: words, words: true, tone: Dim}}))
}
