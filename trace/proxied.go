package trace

import (
	"bytes"
	"fmt"
	"slices"

	"natlens/capture/packet"
)

// maxPeers is how many packets of one connection a packet of the other is said
// to carry the data of.
const maxPeers = 4

// proxied says of a packet between a client, a docker-proxy and a container what
// the other connection has to do with it. The later packet of two names the
// earlier one.
func (c *Correlator) proxied(j *Journey, e *entry) {
	p := e.has().proxied
	if p == nil {
		return
	}
	conn := p.conn
	if p.opens && !conn.inner && j.Verdict.Result == Delivered {
		j.Notes = append(j.Notes, fmt.Sprintf(
			"docker-proxy listens at %v here: it answers by itself, and makes a connection of its own to %v", conn.proxy.Listen, conn.proxy.Backend))
	}
	sent := j.Hops[0].Headers.Tuple
	elsewhere := p.reply && !conn.inner && sent.Source() != conn.tuple.Destination()
	if elsewhere {
		j.Notes = append(j.Notes, fmt.Sprintf("answers #%d, which asked %v, and comes from %v: docker-proxy listens at all addresses, and the kernel took the one that is nearest. "+
			"A program that connected its socket does not get it", conn.opener, conn.tuple.Destination(), sent.Source()))
	}
	mate, rivals := conn.partner()
	others := 0
	if mate == nil {
		if p.opens && conn.inner && rivals > 1 {
			conn.unsure, conn.unsureAs = e, e.generation
		}
		if mate, others = conn.likely(); mate == nil {
			if p.opens && conn.inner && rivals > 1 {
				j.Notes = append(j.Notes, fmt.Sprintf(
					"ambiguous: docker-proxy may have made this connection for any of %d clients, or another program of this host did", rivals))
			}
			return
		}
	} else {
		for _, u := range []*proxyConn{conn, mate} {
			// What it carries has told what its first packet could not.
			if o := u.unsure; o != nil && o != e && o.generation == u.unsureAs && o.state == stateShown {
				c.reopen(o)
			}
			u.unsure = nil
		}
	}
	if p.peers == nil || p.mate != mate {
		p.peers, p.mate = mate.peersOf(p), mate
	}
	for _, id := range p.peers {
		j.Related = append(j.Related, Relation{ID: id, Why: "proxied_as"})
	}
	if len(p.peers) == 0 {
		return
	}
	t := Translation{
		Kind: Proxy, PeerJourney: p.peers[0], Between: [2]int{-1, -1},
		Before: mate.tuple, After: conn.tuple, Evidence: conn.evidence(),
	}
	if p.reply {
		t.Before, t.After = mate.tuple.Inverse(), conn.tuple.Inverse()
	}
	if elsewhere {
		t.After = sent
	}
	t.Namespace = c.hosts.space(conn.pool.namespace).name
	j.Translations = append(j.Translations, t)
	why := conn.why()
	if others > 0 {
		why = fmt.Sprintf("inferred by order alone: %s well", fitting(others))
	}
	switch {
	case p.opens:
		j.Notes = append(j.Notes, fmt.Sprintf(
			"why %v and not %v: docker-proxy, a process on this host, took the client's connection (#%d) and made this one itself; this is no NAT (%s)",
			conn.tuple.Source(), mate.tuple.Source(), p.peers[0], why))
	case others > 0:
		j.Notes = append(j.Notes, fmt.Sprintf("docker-proxy passed this on, probably from #%d (%s)", p.peers[0], why))
	}
}

// dialled reports whether it is the first packet of a connection that a docker-proxy
// may have made.
func (p *proxied) dialled() bool { return p != nil && p.opens && p.conn.inner }

// byProxy reports whether the packet is known to have been sent, or else got, by
// the docker-proxy itself.
func (p *proxied) byProxy(sent bool) bool {
	switch {
	case p == nil:
		return false
	case p.conn.inner:
		return sent != p.reply && p.conn.mate != nil
	}
	return sent == p.reply
}

// fitting says that so many other clients may be meant.
func fitting(others int) string {
	if others == 1 {
		return "1 other client fits as"
	}
	return fmt.Sprintf("%d other clients fit as", others)
}

// peersOf returns the journeys of c's packets whose data p carries on, or, for
// the first packet of a connection, the one that caused it.
func (c *proxyConn) peersOf(p *proxied) (ids []uint64) {
	if p.reply == p.conn.inner {
		return nil // the proxy's other side is yet to come
	}
	if p.opens {
		ids = append(ids, c.opener)
	}
	d, half := &p.data, &c.half[0]
	if p.reply {
		half = &c.half[1]
	}
	if d.journey == 0 {
		return ids
	}
	datagram := c.tuple.Protocol == packet.UDP
	for i := max(0, half.next-len(half.recent)); i < half.next && len(ids) < maxPeers; i++ {
		s := &half.recent[i%len(half.recent)]
		if s.time > d.time+stampSlack || slices.Contains(ids, s.journey) || !s.carries(d, datagram) {
			continue
		}
		if datagram {
			if s.taken || p.opens && i > 0 {
				continue
			}
			// Equal ones are passed on in their order.
			s.taken = true
			if !p.opens {
				ids = append(ids, s.journey)
			}
			break
		}
		ids = append(ids, s.journey)
	}
	return ids
}

// carries reports whether the data of two packets are the same: for datagrams
// all of it, else where they overlap, and as far as it was captured.
func (s *carried) carries(d *carried, datagram bool) bool {
	if datagram {
		n := min(len(s.bytes), len(d.bytes))
		return s.end == d.end && bytes.Equal(s.bytes[:n], d.bytes[:n])
	}
	if !before(s.begin, d.end) || !before(d.begin, s.end) {
		return false
	}
	a, b := s.bytes, d.bytes
	if skip := int32(d.begin - s.begin); skip >= 0 {
		a = a[min(int(skip), len(a)):]
	} else {
		b = b[min(int(-skip), len(b)):]
	}
	n := min(len(a), len(b))
	return bytes.Equal(a[:n], b[:n])
}

// evidence is what the pairing of a connection rests on: that one process held
// both sockets, with no other that could be meant; else it is only what fits.
func (c *proxyConn) evidence() Evidence {
	if c.mate != nil && heldTogether(c, c.mate) && (c.sockets || c.mate.sockets) {
		return BySocket
	}
	return ByInference
}

// why says the same in words.
func (c *proxyConn) why() string {
	switch {
	case c.evidence() == BySocket:
		return fmt.Sprintf("process %d holds both sockets", c.holder)
	case c.equal:
		return "inferred: by order and equal bytes nothing else fits"
	}
	return "inferred: by order nothing else fits"
}
