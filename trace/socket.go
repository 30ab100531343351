package trace

import (
	"net/netip"
	"slices"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// SocketQuery asks which of some processes holds the socket of a connection to or
// by a docker-proxy, or which of some containers on the host's own network. It is
// asked when the connection's first packet is judged, and can be answered as long as
// the connection lives, by Correlator.AddSocket.
type SocketQuery struct {
	Namespace  netns.ID
	Connection netinfo.Connection
	Processes  []int
	Containers []string // their ids; then there are no Processes
}

// Socket is the answer to a SocketQuery.
type Socket struct {
	Namespace  netns.ID
	Connection netinfo.Connection
	PID        int    // 0: none of them holds it
	Container  string // whose process that is, where containers were asked for
	// Hosted: containers were asked for, not processes. Both can be asked for
	// one connection.
	Hosted bool
}

// nobody is the holder of a socket that none of the processes has.
const nobody = -1

// AddSocket says who holds a socket that was asked for. One that nobody asked for
// is passed over.
func (c *Correlator) AddSocket(s Socket) {
	if !s.Connection.Local.IsValid() || !s.Connection.Remote.IsValid() || s.Connection.Local.Addr().Is4() != s.Connection.Remote.Addr().Is4() {
		return
	}
	if s.Hosted {
		c.answerHosted(s)
		return
	}
	t := tupleOf(s.Connection) // as the socket sees itself; what a client opens is seen from the other end
	conn := c.proxies.conns[connKey{s.Namespace, t}]
	if conn == nil {
		conn = c.proxies.conns[connKey{s.Namespace, t.Inverse()}]
	}
	if conn == nil {
		return
	}
	conn.holder = s.PID
	if s.PID == 0 {
		conn.holder = nobody
	}
}

func tupleOf(c netinfo.Connection) packet.Tuple {
	return packet.NewTuple(proxyProtocols[c.Protocol], c.Local.Addr(), c.Remote.Addr(), c.Local.Port(), c.Remote.Port())
}

// query is what to ask about a connection; ok is false when no process can hold
// it any more.
func (x *proxies) query(c *proxyConn) (q SocketQuery, ok bool) {
	q = SocketQuery{Namespace: c.pool.namespace, Connection: c.socket()}
	for _, p := range x.known {
		if p.pool == c.pool && p.gone == 0 && (c.inner || p == c.proxy) {
			q.Processes = append(q.Processes, p.PID)
		}
	}
	slices.Sort(q.Processes)
	return q, len(q.Processes) > 0
}

// socket is the proxy's end of a connection.
func (c *proxyConn) socket() netinfo.Connection {
	s := netinfo.Connection{
		Protocol: "tcp",
		Local:    netip.AddrPortFrom(c.tuple.Source(), c.tuple.SourcePort),
		Remote:   netip.AddrPortFrom(c.tuple.Destination(), c.tuple.DestinationPort),
	}
	if c.tuple.Protocol == packet.UDP {
		s.Protocol = "udp"
	}
	if !c.inner {
		s.Local, s.Remote = s.Remote, s.Local
	}
	return s
}

// heldTogether reports whether one docker-proxy was seen to hold both sockets.
func heldTogether(a, b *proxyConn) bool { return a.holder > 0 && a.holder == b.holder }
