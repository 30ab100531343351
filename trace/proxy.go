package trace

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// docker-proxy is a process between two connections: the client's ends at its
// socket, and it makes one of its own to the container. Nothing in the packets
// of one names the other. What ties them is order (it dials when it has
// accepted) and content (it passes on what it reads); so both kinds of
// connection are followed from their first packet, and paired only where
// nothing else can be the partner.

const (
	// dialPatience is how long after a client's handshake the proxy may take
	// to begin its own connection.
	dialPatience = 1e9
	// stampSlack is by how much the stamps of two packets can be in the wrong
	// order.
	stampSlack = 200e3
	// keepEnded and keepIdle are how long a connection is remembered after
	// its end, or after its last packet.
	keepEnded, keepIdle = 5e9, 600e9
	// reopened is the silence after which a datagram begins anew: the proxy
	// has closed its socket for that client (moby, UDPConnTrackTimeout).
	reopened = 90e9
	// settledBy is by when the journeys of what passed were built.
	settledBy = 200e6
	// maxProxied bounds the connections that are followed, and maxUnpaired
	// those of one backend that are compared with each other.
	maxProxied, maxUnpaired = 4096, 64
	// maxPrefix is how many bytes from a stream's beginning are compared.
	maxPrefix = 64
)

// proxies are the docker-proxies of the host and what goes through them.
type proxies struct {
	known map[netinfo.Proxy]*proxy
	pools map[backend]*pool
	ports [1 << 16 / 64]uint64 // those a proxy listens at or dials
	conns map[connKey]*proxyConn
	// answers has the datagrams of clients by what answers to them look like, from
	// whatever address: see askedKey.
	answers map[connKey]*proxyConn
	ask     func(SocketQuery) // nil: nobody can answer
}

type connKey struct {
	namespace netns.ID
	tuple     packet.Tuple
}

type proxy struct {
	netinfo.Proxy
	pool *pool
	gone int64 // when it was first missing; 0 while it is there
}

// backend is where several proxies can connect to: one listens on IPv4, another
// on IPv6, and a port can be published twice.
type backend struct {
	namespace netns.ID
	protocol  packet.Protocol
	to        netip.AddrPort
}

// pool is what is to be paired: all connections to the proxies of a backend, and
// all that they may have made.
type pool struct {
	namespace netns.ID
	unpaired  []*proxyConn // in the order in which they began
	// paired are the newest that have a partner. Unless sockets prove it, either
	// may be another one's, so they prove nothing for others by having gone.
	paired []*proxyConn
	// blind: some that began before that time are not followed, so that what
	// fits only one need not be its partner.
	blind int64
}

// proxyConn is a connection (for UDP, the datagrams between two sockets) of a
// client to a proxy, or, inner, one that the proxy may have made.
type proxyConn struct {
	pool  *pool
	proxy *proxy // nil when inner: any of the pool's
	inner bool
	tuple packet.Tuple // of its first packet, in the proxy's namespace
	began int64
	// ready is when the other side can have begun: the handshake's last
	// packet, or the first datagram; 0 before.
	ready    int64
	answered int64 // when the first data came back; 0 before
	last     int64
	ended    int64 // by RST, or FIN of both; 0 before
	opener   uint64
	half     [2]halfConn // by direction: from the client, to the client
	// holder is the process that was seen to hold the proxy's end of it; nobody
	// when none of the proxies does, 0 before.
	holder int
	mate   *proxyConn
	guess  *proxyConn // see likely
	equal  bool       // bytes of both were compared
	// sockets: of all that the process held, nothing else could be the mate.
	sockets bool
	// unsure is the journey of its first packet, in the life unsureAs, where
	// that was shown before it was known for whom the proxy made it.
	unsure   *entry
	unsureAs uint32
}

// halfConn is one direction.
type halfConn struct {
	start    uint32 // sequence number of the first byte
	started  bool
	finished bool
	prefix   []byte
	whole    bool // nothing is to be added to prefix
	length   uint32
	recent   [16]carried
	next     int
}

// carried is the data of one packet.
type carried struct {
	journey    uint64
	time       int64
	begin, end uint32 // from the stream's start; for a datagram, its length
	bytes      []byte // the captured ones, at most maxPrefix
	taken      bool   // a datagram that is known to have been passed on
}

// proxied is what an entry's packet is within a connection.
type proxied struct {
	conn  *proxyConn
	reply bool
	opens bool
	data  carried
	// peers are the journeys of the packets that it passes on; nil before
	// they were looked for.
	peers []uint64
	mate  *proxyConn // whose they are
}

// proxyProtocols are those whose content is compared. SCTP is parsed to its
// ports only.
var proxyProtocols = map[string]packet.Protocol{"tcp": packet.TCP, "udp": packet.UDP}

func newProxies() proxies {
	return proxies{known: map[netinfo.Proxy]*proxy{}, pools: map[backend]*pool{}, conns: map[connKey]*proxyConn{}, answers: map[connKey]*proxyConn{}}
}

// set takes in the proxies of a new topology.
func (x *proxies) set(t *netinfo.Topology) {
	now := t.Time.UnixNano()
	current := map[netinfo.Proxy]bool{}
	for _, p := range t.Proxies {
		protocol, follows := proxyProtocols[p.Protocol]
		if !follows {
			continue
		}
		current[p] = true
		if k := x.known[p]; k != nil {
			k.gone = 0
			continue
		}
		to := backend{p.Namespace, protocol, p.Backend}
		if x.pools[to] == nil {
			x.pools[to] = &pool{namespace: p.Namespace}
		}
		x.known[p] = &proxy{Proxy: p, pool: x.pools[to]}
	}
	clear(x.ports[:])
	for key, p := range x.known {
		if !current[key] && p.gone == 0 {
			p.gone = now
		}
		// Packets are judged later than they pass.
		if p.gone != 0 && p.gone < now-keepDead {
			delete(x.known, key)
			continue
		}
		for _, port := range []uint16{p.Listen.Port(), p.Backend.Port()} {
			x.ports[port/64] |= 1 << (port % 64)
		}
	}
}

// concern reports whether the packet can be to or from a proxy.
func (x *proxies) concern(t *packet.Tuple) bool {
	if len(x.known) == 0 || t.Protocol != packet.TCP && t.Protocol != packet.UDP {
		return false
	}
	return (x.ports[t.SourcePort/64]>>(t.SourcePort%64)|x.ports[t.DestinationPort/64]>>(t.DestinationPort%64))&1 != 0
}

// follow takes in a packet, by its first sighting in the proxy's namespace. Of a datagram
// in pieces that is the first, which has its ports, its length and how it begins.
func (x *proxies) follow(e *entry, s *sighting, data []byte) {
	h := s.h
	if e.has().proxied != nil || s.extent.kind == extentFragment && (isLaterPiece(h) || h.Tuple.Protocol != packet.UDP) {
		return
	}
	conn, reply := x.conns[connKey{s.point.Namespace, h.Tuple}], false
	if conn == nil {
		conn, reply = x.conns[connKey{s.point.Namespace, h.Tuple.Inverse()}], true
	}
	if conn == nil {
		conn = x.clientOf(s)
	}
	opens := false
	if !reply || conn == nil {
		begins := h.Tuple.Protocol == packet.UDP && (conn == nil || s.time > conn.last+reopened) ||
			h.TCPFlags&(packet.SYN|packet.ACK) == packet.SYN && (conn == nil || conn.half[0].start != h.TCPSeq+1)
		if begins {
			if conn = x.begin(e, s, conn); conn != nil {
				opens, reply = true, false
			}
		}
	}
	if conn == nil {
		return
	}
	p := &proxied{conn: conn, reply: reply, opens: opens}
	conn.take(p, e, s, data)
	e.also().proxied = p
}

// clientOf returns the connection of a client whom a proxy answers by another address
// than was asked: its socket is bound to all of them, so that the kernel takes the one
// that is nearest to the client (ip(7)). nil when it is not that.
func (x *proxies) clientOf(s *sighting) *proxyConn {
	t := s.h.Tuple
	if t.Protocol != packet.UDP || s.point.Direction != capture.Out || !s.space.has(t.Source()) {
		return nil
	}
	c := x.answers[connKey{s.point.Namespace, askedKey(t)}]
	if c == nil || s.time > c.last+reopened || !c.proxy.Accepts(t.Source(), t.SourcePort) {
		return nil
	}
	return c
}

// begin follows a new connection, if it is one to a proxy or may be one by it.
func (x *proxies) begin(e *entry, s *sighting, old *proxyConn) *proxyConn {
	t, here := s.h.Tuple, s.point.Namespace
	c := &proxyConn{tuple: t, began: s.time, opener: e.id}
	to := backend{here, t.Protocol, netip.AddrPortFrom(t.Destination(), t.DestinationPort)}
	if pool := x.pools[to]; pool != nil && s.space.has(t.Source()) {
		c.pool, c.inner = pool, true
	} else if s.space.has(t.Destination()) && !s.translated() {
		if p := x.listener(here, t); p != nil {
			c.pool, c.proxy = p.pool, p
		}
	}
	if c.pool == nil {
		return nil
	}
	if old != nil {
		old.forget()
	}
	if len(x.conns) >= maxProxied {
		c.pool.blind = s.time + dialPatience
		return nil
	}
	if t.Protocol == packet.UDP {
		c.ready = s.time
	}
	x.conns[connKey{here, t}] = c
	if t.Protocol == packet.UDP && !c.inner {
		x.answers[connKey{here, askedKey(t.Inverse())}] = c
	}
	c.pool.add(c)
	if x.ask != nil {
		if q, ok := x.query(c); ok {
			x.ask(q)
		}
	}
	return c
}

// listener returns the proxy that takes a connection with that first packet, or nil. One
// that is gone is remembered for a while, and another may listen in its place by then.
func (x *proxies) listener(here netns.ID, t packet.Tuple) (found *proxy) {
	for _, p := range x.known {
		if p.Namespace == here && proxyProtocols[p.Protocol] == t.Protocol && p.Accepts(t.Destination(), t.DestinationPort) &&
			(found == nil || p.replaces(found)) {
			found = p
		}
	}
	return found
}

// replaces reports whether of two that take the same, p is rather the one that is there
// now, or was there last. Of any two one replaces the other.
func (p *proxy) replaces(o *proxy) bool {
	if here := p.gone == 0; here != (o.gone == 0) {
		return here
	}
	return cmp.Or(cmp.Compare(p.gone, o.gone), cmp.Compare(p.PID, o.PID),
		p.Listen.Compare(o.Listen), p.Backend.Compare(o.Backend)) > 0
}

// add makes room for one more, first by what ended.
func (p *pool) add(c *proxyConn) {
	if len(p.unpaired) >= maxUnpaired {
		p.unpaired = slices.DeleteFunc(p.unpaired, func(u *proxyConn) bool { return u.ended != 0 && u.ended < c.began-settledBy })
	}
	if len(p.unpaired) >= maxUnpaired {
		p.unpaired = slices.Delete(p.unpaired, 0, 1)
		p.blind = c.began + dialPatience
	}
	p.unpaired = append(p.unpaired, c)
}

// translated reports whether NAT sends the packet elsewhere, past the proxy.
func (s *sighting) translated() bool {
	return s.flow.flow != nil && !s.flow.about && s.flow.flow.direction(s.flow.reply).after.Destination() != s.h.Tuple.Destination()
}

// forget lets go of the connection.
func (c *proxyConn) forget() {
	c.pool.unpaired = slices.DeleteFunc(c.pool.unpaired, func(u *proxyConn) bool { return u == c })
	c.pool.paired = slices.DeleteFunc(c.pool.paired, func(u *proxyConn) bool { return u == c })
	if c.mate != nil {
		c.mate.mate = nil
	}
	c.unguess()
}

// take reads a packet of the connection.
func (c *proxyConn) take(p *proxied, e *entry, s *sighting, data []byte) {
	h := s.h
	c.last = s.time
	half := &c.half[0]
	if p.reply {
		half = &c.half[1]
	}
	if h.Tuple.Protocol == packet.TCP {
		flags := h.TCPFlags
		switch {
		case flags&packet.SYN != 0:
			half.start, half.started = h.TCPSeq+1, true
		case !p.reply && c.ready == 0 && c.half[1].started && flags&packet.ACK != 0:
			c.ready = s.time
		}
		half.finished = half.finished || flags&packet.FIN != 0
		if flags&packet.RST != 0 || c.half[0].finished && c.half[1].finished {
			c.ended = s.time
		}
	}
	if h.PayloadLength == 0 && h.Tuple.Protocol == packet.TCP {
		return
	}
	if p.reply && c.answered == 0 {
		c.answered = s.time
	}
	captured := h.Payload(data)
	d := carried{journey: e.id, time: s.time, end: h.PayloadLength, bytes: bytes.Clone(captured[:min(len(captured), maxPrefix)])}
	if h.Tuple.Protocol == packet.TCP {
		if !half.started {
			return
		}
		d.begin = h.TCPSeq - half.start
		d.end += d.begin
	} else {
		d.end = h.DatagramLength(data)
	}
	half.add(&d, h.Tuple.Protocol == packet.UDP)
	p.data = d
}

func (x *halfConn) add(d *carried, datagram bool) {
	x.recent[x.next%len(x.recent)] = *d
	x.next++
	if x.whole || d.begin != uint32(len(x.prefix)) {
		return
	}
	x.prefix = append(x.prefix, d.bytes[:min(len(d.bytes), maxPrefix-len(x.prefix))]...)
	// Behind what was not captured nothing can be added.
	x.whole = datagram || len(x.prefix) == maxPrefix || uint32(len(d.bytes)) < d.end-d.begin
	x.length = d.end
}

// follows reports whether the proxy can have made c for the client's connection o
// by their order and by who holds their sockets.
func (c *proxyConn) follows(o *proxyConn) bool {
	switch {
	case o.ready == 0, c.began < o.ready-stampSlack, c.began > o.ready+dialPatience,
		o.ended != 0 && o.ended < c.began, o.answered != 0 && o.answered < c.began,
		c.holder == nobody, o.holder == nobody, c.holder > 0 && c.holder != o.proxy.PID:
		return false
	}
	return true
}

// fits reports whether the proxy can have made c for the client's connection o,
// and whether both were seen to carry the same bytes.
func (c *proxyConn) fits(o *proxyConn) (can, equal bool) {
	if !c.follows(o) {
		return false, false
	}
	for i := range c.half {
		a, b := &c.half[i], &o.half[i]
		n := min(len(a.prefix), len(b.prefix))
		if !bytes.Equal(a.prefix[:n], b.prefix[:n]) {
			return false, false
		}
		equal = equal || n > 0
	}
	if c.tuple.Protocol == packet.UDP {
		same := c.half[0].length == o.half[0].length && c.half[0].whole && o.half[0].whole
		return same, same
	}
	return true, equal
}

// pair ties the connections that nothing else can be the partner of: the
// client's to which one fits, if it fits no other.
func (p *pool) pair() {
	for again := true; again; {
		again = false
		for _, c := range p.unpaired {
			if !c.inner || c.began < p.blind {
				continue
			}
			o, n := c.only()
			if n != 1 {
				continue
			}
			if back, m := o.only(); m != 1 || back != c {
				continue
			}
			c.mate, o.mate = o, c
			c.sockets = c.alone(o)
			p.unpaired = slices.DeleteFunc(p.unpaired, func(u *proxyConn) bool { return u == c || u == o })
			if p.paired = append(p.paired, c, o); len(p.paired) > 2*maxUnpaired {
				p.paired = slices.Delete(p.paired, 0, 2)
			}
			again = true
			break
		}
	}
}

// alone reports whether nothing else that began so far can be the partner of
// either, whatever they carry.
func (c *proxyConn) alone(o *proxyConn) bool {
	rival := func(u *proxyConn) bool {
		return u.evidence() != BySocket && (u != o && !u.inner && c.follows(u) || u != c && u.inner && u.follows(o))
	}
	return !slices.ContainsFunc(c.pool.unpaired, rival) && !slices.ContainsFunc(c.pool.paired, rival)
}

// only returns a connection that can be the other one's partner, and how many
// can.
func (c *proxyConn) only() (other *proxyConn, n int) {
	for _, u := range c.pool.unpaired {
		if u.inner == c.inner {
			continue
		}
		inner, outer := c, u
		if !c.inner {
			inner, outer = u, c
		}
		if can, _ := inner.fits(outer); can {
			other = u
			n++
		}
	}
	return other, n
}

// partner returns the connection at the other side of the proxy, or nil, and
// how many can be it.
func (c *proxyConn) partner() (mate *proxyConn, rivals int) {
	if c.mate == nil && c.began >= c.pool.blind {
		c.pool.pair()
	}
	if c.mate == nil {
		_, rivals = c.only()
		return nil, rivals
	}
	inner, outer := c, c.mate
	if !c.inner {
		inner, outer = outer, inner
	}
	can, equal := inner.fits(outer)
	if !can {
		// What they carry has shown that they were never one.
		c.mate, inner.mate, outer.mate = nil, nil, nil
		return nil, 0
	}
	inner.equal, outer.equal = equal, equal
	return c.mate, 1
}

// likely returns the connection that is probably at the other side where several
// can be, and how many clients fit as well as the one that it is of. docker-proxy
// dials as soon as it has accepted, so it is the client that came last before; one
// that came earlier has been dialled for, or waits for a processor. There is none
// where more connections than clients fit, so that some must be those of other
// programs.
func (c *proxyConn) likely() (mate *proxyConn, others int) {
	inner := c
	if !c.inner {
		inner = c.guess
	}
	if inner == nil {
		return nil, 0
	}
	var clients []*proxyConn
	for _, u := range c.pool.unpaired {
		if u.inner {
			continue
		}
		if can, _ := inner.fits(u); can {
			clients = append(clients, u)
		}
	}
	rivals := 0
	for _, u := range c.pool.unpaired {
		if u.inner && slices.ContainsFunc(clients, func(o *proxyConn) bool { can, _ := u.fits(o); return can }) {
			rivals++
		}
	}
	if !slices.Contains(clients, inner.guess) {
		inner.unguess()
	}
	if len(clients) < 2 || rivals > len(clients) {
		return nil, 0
	}
	if inner.guess == nil {
		slices.SortStableFunc(clients, func(a, b *proxyConn) int { return cmp.Compare(b.ready, a.ready) })
		i := slices.IndexFunc(clients, func(o *proxyConn) bool { return o.guess == nil })
		if i < 0 {
			return nil, 0
		}
		inner.guess, clients[i].guess = clients[i], inner
	}
	return c.guess, len(clients) - 1
}

func (c *proxyConn) unguess() {
	if c.guess != nil {
		c.guess.guess, c.guess = nil, nil
	}
}

// sweep forgets connections that ended or have long been silent.
func (x *proxies) sweep(now int64) {
	for key, c := range x.conns {
		if c.ended != 0 && c.ended < now-keepEnded || c.last < now-keepIdle {
			c.forget()
			delete(x.conns, key)
		}
	}
	for key, c := range x.answers {
		if x.conns[connKey{key.namespace, c.tuple}] != c {
			delete(x.answers, key)
		}
	}
	for to, p := range x.pools {
		// What found no partner in time finds none any more.
		p.unpaired = slices.DeleteFunc(p.unpaired, func(c *proxyConn) bool { return c.last < now-2*dialPatience && c.began < now-2*dialPatience })
		if len(p.unpaired) == 0 && !x.used(p) {
			delete(x.pools, to)
		}
	}
}

// forgetTimes lets go of everything, after the clock was set.
func (x *proxies) forgetTimes() {
	clear(x.conns)
	clear(x.answers)
	for _, p := range x.pools {
		p.unpaired, p.paired = nil, nil
	}
}

// used reports whether a proxy that is there needs the pool.
func (x *proxies) used(p *pool) bool {
	for _, k := range x.known {
		if k.pool == p {
			return true
		}
	}
	return false
}
