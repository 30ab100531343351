package trace

import (
	"strings"
	"testing"
	"time"

	"natlens/netinfo"
)

// asking lets a stage keep the questions about sockets.
func asking(s *stage) *[]SocketQuery {
	questions := &[]SocketQuery{}
	s.c.proxies.ask = func(q SocketQuery) { *questions = append(*questions, q) }
	return questions
}

// held answers that a process holds the proxy's end of a connection.
func (c *conn) held(pid int) {
	k := netinfo.Connection{Protocol: "tcp", Local: c.a, Remote: c.b}
	if c.b == published {
		k.Local, k.Remote = c.b, c.a
	}
	c.s.c.AddSocket(Socket{Namespace: hostNS, Connection: k, PID: pid})
}

func TestProxyPairBySockets(t *testing.T) {
	s := newProxyStage(t, "tcp")
	questions := asking(s)
	client, inner := s.client(4000), s.dialled(5000)
	client.handshake()
	inner.handshake()
	s.pass(15 * time.Millisecond)
	if len(*questions) != 2 {
		t.Fatalf("asked %+v", *questions)
	}
	for i, want := range []string{"tcp 127.0.0.1:8080 > 127.0.0.1:4000", "tcp 172.17.0.1:5000 > 172.17.0.2:80"} {
		q := (*questions)[i]
		// One that the proxy dialled can be of either family's.
		if q.Namespace != hostNS || q.Connection.String() != want || len(q.Processes) != i+1 || q.Processes[0] != 100 {
			t.Errorf("question %d: %+v, want %s", i, q, want)
		}
	}
	client.held(100)
	inner.held(100)
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.same(s.told(), []string{"5000 > 80 for 4000 > 8080: 0 B of 0 B"})
	if n := s.proxyKinds(); len(n) != 1 || n[BySocket] != 1 {
		t.Errorf("evidence %v", n)
	}
	if want := "process 100 holds both sockets"; !strings.Contains(s.notes(), want) {
		t.Errorf("notes %q, want %q", s.notes(), want)
	}
}

// Two that say the same, a while apart: each was alone when it began.
func TestProxyPairsBySocketsOneAfterTheOther(t *testing.T) {
	s := newProxyStage(t, "tcp")
	asking(s)
	for i := range uint16(2) {
		client, inner := s.client(4000+i), s.dialled(5000+i)
		client.handshake()
		inner.handshake()
		s.pass(15 * time.Millisecond)
		client.held(100)
		inner.held(100)
		s.pass(50 * time.Millisecond)
		s.pass(50 * time.Millisecond)
	}
	if n := s.proxyKinds(); len(n) != 1 || n[BySocket] != 2 {
		t.Errorf("evidence %v of %q", n, s.told())
	}
}

// Two at once: sockets do not tell whose is whose. Bytes do, which proves nothing;
// where they are equal, only order is left, and it is said that another fits.
func TestProxySocketsOfTwoAtOnce(t *testing.T) {
	for _, words := range [][2]string{{"GET /a", "GET /b"}, {"GET /a", "GET /a"}} {
		s := newProxyStage(t, "tcp")
		asking(s)
		clients, inner := []*conn{s.client(4000), s.client(4001)}, []*conn{s.dialled(5000), s.dialled(5001)}
		for _, c := range append(clients, inner...) {
			c.handshake()
		}
		for i, w := range words {
			clients[i].send(0, "A", w)
		}
		for i, w := range words {
			inner[i].send(0, "A", w)
		}
		s.pass(15 * time.Millisecond)
		for _, c := range append(clients, inner...) {
			c.held(100)
		}
		s.pass(50 * time.Millisecond)
		s.pass(50 * time.Millisecond)
		n, differ := s.proxyKinds(), words[0] != words[1]
		if len(n) != 1 || n[ByInference] != 4 || strings.Contains(s.notes(), "1 other client fits as well") == differ {
			t.Errorf("%q: evidence %v of %q, notes %q", words, n, s.told(), s.notes())
		}
	}
}

// What another program of the host dialled is not taken for the proxy's, even if
// it came first and said the same.
func TestProxySocketsOfOthers(t *testing.T) {
	s := newProxyStage(t, "tcp")
	asking(s)
	client, own, inner := s.client(4000), s.dialled(5000), s.dialled(5001)
	client.handshake()
	own.handshake()
	inner.handshake()
	s.pass(15 * time.Millisecond)
	client.held(100)
	own.held(0)
	inner.held(100)
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.same(s.told(), []string{"5001 > 80 for 4000 > 8080: 0 B of 0 B"})
	if n := s.proxyKinds(); n[BySocket] != 1 {
		t.Errorf("evidence %v", n)
	}
	// The process of the other family's proxy did not take this client.
	client, inner = s.client(4002), s.dialled(5002)
	client.handshake()
	inner.handshake()
	s.pass(15 * time.Millisecond)
	inner.held(101)
	s.journeys = nil
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.same(s.told(), nil)
	s.c.AddSocket(Socket{}) // of nothing
}
