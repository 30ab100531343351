package trace

import (
	"fmt"
	"slices"
	"strings"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// Connection tracking changes the numbers of a connection that a SYN proxy answered, and
// a helper rewrites addresses in what is said, which may become longer or shorter by that.
// Where such a packet goes on, it looks like another. It is paired as it was sent.

// shift is by how much a packet changed on its way.
type shift struct{ sequence, acknowledged, length int32 }

// renumbered is what a packet that was seen behind the change was before.
type renumbered struct {
	fingerprint uint64
	shift       *shift
	at          int64 // when it was last seen
}

const (
	// maxRenumbered is how many packets are known by their looks behind the change.
	maxRenumbered = 1 << 14
	// keepRenumbered is for longer than a packet takes from one point to the next.
	keepRenumbered = 2e9
)

// renumbers reports whether packets of a flow may change so.
func renumbers(f *netfilter.Flow) bool {
	return f.Status&(netfilter.SeqAdjust|netfilter.Helper) != 0
}

// pairAsSent finds the journey of a packet, which fits nothing that is open, by what it
// was before it was changed; false where it was not, or that is not known.
func (c *Correlator) pairAsSent(o *capture.Observation, kept *keptPacket) bool {
	if !o.Headers.Layers.Has(packet.LayerTCP) && !isDatagram(o.Headers.Layers) {
		return false
	}
	r, ok := c.renumbered[o.Fingerprint]
	if !ok {
		if r, ok = c.renumberedFrom(o); !ok {
			return false
		}
		if len(c.renumbered) >= maxRenumbered {
			clear(c.renumbered)
		}
	}
	r.at = o.Time
	c.renumbered[o.Fingerprint] = r
	sent := *o
	sent.Fingerprint = r.fingerprint
	r.shift.undo(&sent.Headers)
	head, _ := c.byPrint.oldest(sent.Fingerprint)
	c.pair(&sent, head, nil, kept, r.shift)
	return true
}

// renumberedFrom finds what a packet that goes out was before: what connection tracking
// tells of its numbers, which it does late where a helper changed them, or one that came
// in and has in common with it what nothing changes. One without data can have been made
// here, by the SYN proxy, and then was nothing before.
func (c *Correlator) renumberedFrom(o *capture.Observation) (r renumbered, ok bool) {
	if o.Type != capture.Outgoing {
		return r, false
	}
	h := &o.Headers
	flow := c.flowOf(o.Namespace, h, o.Time)
	if flow.flow == nil || !renumbers(&flow.flow.Flow) {
		return r, false
	}
	var likely *renumbered
	sent := *h
	for _, was := range flow.flow.Sent(flow.reply, netfilter.Numbers{Sequence: h.TCPSeq, Acknowledged: h.TCPAck}) {
		if sent.TCPSeq = was.Sequence; h.TCPFlags&packet.ACK != 0 {
			sent.TCPAck = was.Acknowledged
		}
		r := renumbered{fingerprint: packet.Fingerprint(&sent, o.Data), shift: shiftOf(&sent, h)}
		if r.fingerprint == o.Fingerprint {
			continue
		}
		if _, e := c.byPrint.oldest(r.fingerprint); e != nil {
			return r, true
		}
		if likely == nil && h.PayloadLength > 0 {
			likely = &r
		}
	}
	if e := c.rewritten(o, flow); e != nil {
		return renumbered{fingerprint: e.fingerprint, shift: shiftOf(e.hops()[0].h, h)}, true
	}
	if likely != nil {
		return *likely, true
	}
	return r, false
}

// rewritten returns the journey of a packet that is of the same direction of a flow, came
// in, and looks the same but for its numbers, its length and what it says. Of several,
// which can be so where they have no identification, it is the oldest, or another.
func (c *Correlator) rewritten(o *capture.Observation, flow flowRef) *entry {
	var found []*entry // newest first
	h := &o.Headers
	const transport = packet.LayerTCP | packet.LayerUDP
	queued := c.settling[statePending-1].all()
	for i := len(queued) - 1; i >= 0 && i >= len(queued)-lookNear; i-- {
		e := c.turn(statePending, queued[i])
		if e == nil || slices.Contains(found, e) || e.layers()&transport != h.Layers&transport {
			continue
		}
		hops := e.hops()
		if was := hops[0].h; was.IPID != h.IPID || was.TCPFlags != h.TCPFlags || was.TCPWindow != h.TCPWindow ||
			was.Length != h.Length && max(was.Length, h.Length) > etherMTU && sameBytes(e.payload(), 0, h.Payload(o.Data)) {
			continue // it was cut, or merged
		}
		if s := &hops[len(hops)-1]; s.point.Namespace == o.Namespace && s.point.Direction == capture.In && s.flow.same(flow) {
			found = append(found, e)
		}
	}
	switch len(found) {
	case 0:
		return nil
	case 1:
	default:
		c.mark(found, "a helper rewrote one of them, and nothing tells which")
	}
	return found[len(found)-1]
}

// shiftOf is what made one packet of the other.
func shiftOf(sent, now *packet.Headers) *shift {
	return &shift{int32(now.TCPSeq - sent.TCPSeq), int32(now.TCPAck - sent.TCPAck), int32(now.Length - sent.Length)}
}

// undo gives headers the numbers with which they were sent.
func (s *shift) undo(h *packet.Headers) { s.change(h, -1) }

// redo gives them those with which they were seen.
func (s *shift) redo(h *packet.Headers) { s.change(h, 1) }

func (s *shift) change(h *packet.Headers, sign int32) {
	h.TCPSeq += uint32(sign * s.sequence)
	h.TCPAck += uint32(sign * s.acknowledged)
	h.Length += uint32(sign * s.length)
	h.PayloadLength += uint32(sign * s.length)
}

// sweepRenumbered forgets packets that have arrived by now.
func (c *Correlator) sweepRenumbered() {
	for print, r := range c.renumbered {
		if r.at < c.now-keepRenumbered {
			delete(c.renumbered, print)
		}
	}
}

// renumbering says how a packet changed on its way; empty where it did not.
func renumbering(hops []sighting) string {
	i := slices.IndexFunc(hops, func(s sighting) bool { return s.shift != nil })
	if i < 0 {
		return ""
	}
	s, host := hops[i].shift, hops[i].space.name
	who := "connection tracking of " + host + " counts on from the number of its SYN proxy: "
	switch f := hops[i].flow.flow; {
	case s.length != 0:
		who = fmt.Sprintf("a helper of %s's connection tracking rewrote it: ", host)
	case *s == (shift{}):
		return fmt.Sprintf("a helper of %s's connection tracking rewrote what it says", host)
	case f == nil || f.Status&netfilter.Helper != 0:
		who = fmt.Sprintf("a helper of %s's connection tracking made what was said before shorter or longer: ", host)
	}
	var what []string
	for _, n := range []struct {
		name string
		by   int32
	}{{"length", s.length}, {"sequence number", s.sequence}, {"acknowledged", s.acknowledged}} {
		if n.by != 0 {
			what = append(what, fmt.Sprintf("%s %+d", n.name, n.by))
		}
	}
	return who + strings.Join(what, ", ")
}
