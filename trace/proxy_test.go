package trace

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

var (
	loOut = at{hostNS, lo, capture.Outgoing}
	loIn  = at{hostNS, lo, capture.Host}

	localhost = netip.MustParseAddr("127.0.0.1")
	published = netip.AddrPortFrom(localhost, 8080)
	backend80 = netip.AddrPortFrom(backIP, 80)
)

// newProxyStage is a stage with a docker-proxy for port 8080 of each family,
// which leads to port 80 of "back".
func newProxyStage(t *testing.T, protocol string) *stage {
	s := newStage(t)
	w := world()
	for i, listen := range []string{"0.0.0.0:8080", "[::]:8080"} {
		w.Proxies = append(w.Proxies, netinfo.Proxy{PID: 100 + i, Namespace: hostNS, Protocol: protocol,
			Listen: netip.MustParseAddrPort(listen), Backend: backend80})
	}
	s.c.SetTopology(w)
	return s
}

// conn is a connection of a proxy test: from a client to the proxy over lo, or
// from the host to the container.
type conn struct {
	s    *stage
	a, b netip.AddrPort
	seq  [2]uint32 // next, of each end
	id   uint16
}

func (s *stage) client(port uint16) *conn {
	return &conn{s: s, a: netip.AddrPortFrom(localhost, port), b: published, seq: [2]uint32{uint32(port) * 1000, uint32(port) * 5000}, id: port}
}

func (s *stage) dialled(port uint16) *conn {
	c := s.client(port)
	c.a, c.b = netip.AddrPortFrom(gatewayIP, port), backend80
	return c
}

// send shows a segment at every point it passes; from is the end that sends it.
func (c *conn) send(from int, flags string, payload string) {
	c.s.t.Helper()
	source, destination := c.a, c.b
	if from == 1 {
		source, destination = c.b, c.a
	}
	c.id++
	tcp := &layers.TCP{SrcPort: layers.TCPPort(source.Port()), DstPort: layers.TCPPort(destination.Port()), Window: 1000,
		Seq: c.seq[from], SYN: strings.Contains(flags, "S"), ACK: strings.Contains(flags, "A"),
		FIN: strings.Contains(flags, "F"), RST: strings.Contains(flags, "R")}
	if tcp.ACK {
		tcp.Ack = c.seq[1-from]
	}
	c.seq[from] += uint32(len(payload))
	if tcp.SYN || tcp.FIN {
		c.seq[from]++
	}
	f := frame(c.s.t, source.Addr(), destination.Addr(), c.id, 64, tcp, gopacket.Payload(payload))
	c.show(from, f)
}

func (c *conn) show(from int, f []byte) {
	points := []at{loOut, loIn}
	if c.b == backend80 {
		points = []at{bridgeOut, vethOut, backIn}
		if from == 1 {
			points = []at{backOut, vethIn, bridgeIn}
		}
	}
	for _, p := range points {
		c.s.see(p, f)
	}
}

// handshake opens the connection, which conntrack knows.
func (c *conn) handshake() {
	c.track(packet.TCP)
	c.send(0, "S", "")
	c.send(1, "SA", "")
	c.send(0, "A", "")
}

func (c *conn) track(p packet.Protocol) {
	t := packet.NewTuple(p, c.a.Addr(), c.b.Addr(), c.a.Port(), c.b.Port())
	c.s.flow(netfilter.New, netfilter.Flow{ID: uint32(c.a.Port()), Original: t, Reply: t.Inverse()})
}

// told is every journey that names another as passed on by the proxy:
// "tcp 172.17.0.1:5 > 172.17.0.2:80 for tcp 127.0.0.1:4 > 127.0.0.1:8080 SYN".
func (s *stage) told() []string {
	byID := map[uint64]*Journey{}
	for _, j := range s.journeys {
		byID[j.ID] = j
	}
	var all []string
	for _, j := range s.journeys {
		for _, r := range j.Related {
			if r.Why != "proxied_as" {
				continue
			}
			o := byID[r.ID]
			if o == nil {
				s.t.Fatalf("#%d is related to #%d, which is not told of", j.ID, r.ID)
			}
			all = append(all, fmt.Sprintf("%d > %d for %d > %d: %d B of %d B", j.From.Port, j.To.Port, o.From.Port, o.To.Port,
				j.Hops[0].Headers.PayloadLength, o.Hops[0].Headers.PayloadLength))
		}
	}
	return all
}

// proxyKinds counts the translations by a proxy, by evidence.
func (s *stage) proxyKinds() map[Evidence]int {
	n := map[Evidence]int{}
	for _, j := range s.journeys {
		for _, t := range j.Translations {
			if t.Kind == Proxy {
				n[t.Evidence]++
			}
		}
	}
	return n
}

func (s *stage) notes() string {
	var all []string
	for _, j := range s.journeys {
		all = append(all, j.Notes...)
	}
	return strings.Join(all, "\n")
}

func (s *stage) same(got, want []string) {
	s.t.Helper()
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		s.t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestProxyConnectionIsStitchedToItsClient(t *testing.T) {
	s := newProxyStage(t, "tcp")
	client, inner := s.client(4000), s.dialled(5000)
	client.handshake()
	inner.handshake()
	client.send(0, "A", "GET / HTTP/1.1\r\n\r\n")
	inner.send(0, "A", "GET / HTTP/1.1\r\n\r\n")
	// The answer is cut otherwise on the way back.
	inner.send(1, "A", "HTTP/1.1 200 OK\r\n")
	inner.send(1, "A", "\r\n{}")
	client.send(1, "A", "HTTP/1.1 200 OK\r\n\r\n{}")
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.same(s.told(), []string{
		"5000 > 80 for 4000 > 8080: 0 B of 0 B",
		"5000 > 80 for 4000 > 8080: 18 B of 18 B",
		"8080 > 4000 for 80 > 5000: 21 B of 17 B",
		"8080 > 4000 for 80 > 5000: 21 B of 4 B",
	})
	if n := s.proxyKinds(); len(n) != 1 || n[ByInference] != 3 {
		t.Errorf("evidence of the proxy's work: %v", n)
	}
	for _, want := range []string{"why 172.17.0.1 and not 127.0.0.1: docker-proxy", "docker-proxy listens at 0.0.0.0:8080"} {
		if !strings.Contains(s.notes(), want) {
			t.Errorf("notes %q lack %q", s.notes(), want)
		}
	}
}

// Of a proxy that is gone and the one that listens in its place, a new connection is to
// the one that is there, or else to the one that was there last.
func TestProxyThatReplacesAnother(t *testing.T) {
	listens := func(pid int, backend netip.AddrPort) netinfo.Proxy {
		return netinfo.Proxy{PID: pid, Namespace: hostNS, Protocol: "tcp", Listen: netip.MustParseAddrPort("0.0.0.0:8080"), Backend: backend}
	}
	first, second := listens(200, backend80), listens(100, netip.AddrPortFrom(backIP, 81))
	for name, last := range map[string][]netinfo.Proxy{"it is there": {second}, "it has gone, too": nil} {
		for range 40 { // that Go finds the right one first in a map is no wonder
			s := newStage(t)
			for i, proxies := range [][]netinfo.Proxy{{first}, {second}, last} {
				w := world()
				w.Time = time.Unix(1000, int64(i)*1e6)
				w.Proxies = proxies
				s.c.SetTopology(w)
			}
			s.client(4000).handshake()
			s.pass(50 * time.Millisecond)
			c := s.c.proxies.conns[connKey{hostNS, packet.NewTuple(packet.TCP, localhost, localhost, 4000, 8080)}]
			if c == nil {
				t.Fatalf("%s: the connection is not followed", name)
			}
			if c.proxy.Proxy != second {
				t.Fatalf("%s: the connection is to %+v", name, c.proxy.Proxy)
			}
		}
	}
}

// A container on the host's own network has each socket of the host asked for a
// second time. That none of its processes holds one says nothing of docker-proxy,
// and what docker-proxy sends and gets is nobody else's.
func TestProxyBesideHostNetwork(t *testing.T) {
	s, w := newStage(t), world()
	w.Proxies = []netinfo.Proxy{{PID: 100, Namespace: hostNS, Protocol: "tcp",
		Listen: netip.MustParseAddrPort("0.0.0.0:8080"), Backend: backend80}}
	agent := &netinfo.Container{Namespace: hostNS, Proof: "cgroup of pid 7"}
	agent.ID, agent.Name, agent.Mode = strings.Repeat("a", 64), "agent", "host"
	w.Namespaces[0].Containers = []*netinfo.Container{agent}
	w.Containers = append(w.Containers, agent)
	var asked []SocketQuery
	s.c.sink.Socket = func(q SocketQuery) { asked = append(asked, q) }
	s.c.proxies.ask = s.c.sink.Socket
	s.c.SetTopology(w.Seal())
	client, inner := s.client(4000), s.dialled(5000)
	client.handshake()
	inner.handshake()
	hosted := 0
	for range 5 {
		s.pass(15 * time.Millisecond)
		for _, q := range asked {
			if len(q.Containers) > 0 {
				hosted++
				s.c.AddSocket(Socket{Namespace: q.Namespace, Connection: q.Connection, Hosted: true})
			}
		}
		asked = nil
	}
	if hosted == 0 {
		t.Fatal("no socket was asked for among the container's")
	}
	s.same(s.told(), []string{"5000 > 80 for 4000 > 8080: 0 B of 0 B"})
	for _, j := range s.journeys {
		for _, note := range j.Notes {
			if proxys := j.To.Port == 8080 && strings.HasPrefix(note, "got by") || j.From.Port == 5000 && j.Supersedes != 0 && strings.HasPrefix(note, "sent by"); proxys {
				t.Errorf("#%d %d > %d, which is docker-proxy's: %q", j.ID, j.From.Port, j.To.Port, note)
			}
		}
	}
}

// A container asks the host's address. docker-proxy answers by that of the bridge, which
// belongs to no flow that asked.
func TestProxyAnswersByAnotherAddress(t *testing.T) {
	s := newProxyStage(t, "udp")
	client, gateway := netip.AddrPortFrom(baseIP, 4000), netip.AddrPortFrom(gatewayIP, 8080)
	show := func(from, to netip.AddrPort, payload string, points ...at) {
		for _, where := range points {
			s.see(where, udp(t, from, to, 0, payload))
		}
	}
	track := func(id uint32, from, to netip.AddrPort) {
		t := packet.NewTuple(packet.UDP, from.Addr(), to.Addr(), from.Port(), to.Port())
		s.flow(netfilter.New, netfilter.Flow{ID: id, Original: t, Reply: t.Inverse()})
	}
	asked, dials := netip.AddrPortFrom(hostIP, 8080), netip.AddrPortFrom(gatewayIP, 5000)
	track(1, client, asked)
	show(client, asked, "question", baseOut, baseVIn, bridgeIn)
	track(2, dials, backend80)
	show(dials, backend80, "question", bridgeOut, vethOut, backIn)
	show(backend80, dials, "the answer", backOut, vethIn, bridgeIn)
	track(3, gateway, client)
	show(gateway, client, "the answer", bridgeOut, baseVOut, baseIn)
	track(4, netip.AddrPortFrom(gatewayIP, 8081), client) // another program's
	show(netip.AddrPortFrom(gatewayIP, 8081), client, "else", bridgeOut, baseVOut, baseIn)
	s.pass(100 * time.Millisecond)
	s.pass(100 * time.Millisecond)
	s.same(s.told(), []string{"5000 > 80 for 4000 > 8080: 8 B of 8 B", "8080 > 4000 for 80 > 5000: 10 B of 10 B"})
	for _, j := range s.journeys {
		says := strings.Contains(strings.Join(j.Notes, " "), "answers #1, which asked 192.0.2.10, and comes from 172.17.0.1")
		if says != (j.From.Port == 8080) {
			t.Errorf("#%d from port %d: %q", j.ID, j.From.Port, j.Notes)
		}
		if says && (len(j.Translations) != 1 || j.Translations[0].After != j.Hops[0].Headers.Tuple) {
			t.Errorf("#%d: %+v", j.ID, j.Translations)
		}
	}
}

func TestProxyWithoutDataIsInferred(t *testing.T) {
	s := newProxyStage(t, "tcp")
	s.client(4000).handshake()
	s.dialled(5000).handshake()
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.same(s.told(), []string{"5000 > 80 for 4000 > 8080: 0 B of 0 B"})
	if n := s.proxyKinds(); n[ByInference] != 1 {
		t.Errorf("evidence of the proxy's work: %v", n)
	}
}

// Two clients at once who ask the same: only order tells whose connection is whose,
// and that is no proof.
func TestProxySaysWhenSeveralClientsFit(t *testing.T) {
	s := newProxyStage(t, "tcp")
	a, b, x, y := s.client(4000), s.client(4001), s.dialled(5000), s.dialled(5001)
	for _, c := range []*conn{a, b, y, x} {
		c.handshake()
	}
	for _, c := range []*conn{a, b, y, x} {
		c.send(0, "A", "GET / HTTP/1.1\r\n\r\n")
	}
	for _, c := range []*conn{y, x, a, b} {
		c.send(1, "A", "HTTP/1.1 200 OK\r\n\r\n{}")
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.same(s.told(), []string{
		"5001 > 80 for 4001 > 8080: 0 B of 0 B",
		"5000 > 80 for 4000 > 8080: 0 B of 0 B",
		"5001 > 80 for 4001 > 8080: 18 B of 18 B",
		"5000 > 80 for 4000 > 8080: 18 B of 18 B",
		"8080 > 4000 for 80 > 5000: 21 B of 21 B",
		"8080 > 4001 for 80 > 5001: 21 B of 21 B",
	})
	if n := s.proxyKinds(); len(n) != 1 || n[ByInference] != 6 {
		t.Errorf("evidence of the proxy's work: %v", n)
	}
	if want := "inferred by order alone: 1 other client fits as well"; strings.Count(s.notes(), want) != 6 {
		t.Errorf("notes %q, want %q six times", s.notes(), want)
	}
}

// Where another program of the host may have made one of the connections, order
// says nothing.
func TestProxyNeverGuessesAmongOtherPrograms(t *testing.T) {
	s := newProxyStage(t, "tcp")
	for _, c := range []*conn{s.client(4000), s.client(4001), s.dialled(5000), s.dialled(5001), s.dialled(5002)} {
		c.handshake()
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.same(s.told(), nil)
	if want := "for any of 2 clients, or another program"; strings.Count(s.notes(), want) != 3 {
		t.Errorf("notes %q, want %q three times", s.notes(), want)
	}
}

// Two clients at once, and the proxy dials for the second one first.
func TestProxyTellsClientsByWhatTheySay(t *testing.T) {
	s := newProxyStage(t, "tcp")
	a, b, x, y := s.client(4000), s.client(4001), s.dialled(5000), s.dialled(5001)
	for _, c := range []*conn{a, b, y, x} {
		c.handshake()
	}
	a.send(0, "A", "GET /a")
	b.send(0, "A", "GET /b")
	y.send(0, "A", "GET /b")
	x.send(0, "A", "GET /a")
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.same(s.told(), []string{
		"5001 > 80 for 4001 > 8080: 0 B of 0 B",
		"5000 > 80 for 4000 > 8080: 0 B of 0 B",
		"5001 > 80 for 4001 > 8080: 6 B of 6 B",
		"5000 > 80 for 4000 > 8080: 6 B of 6 B",
	})
}

// What was shown before the clients said anything is shown again when they have.
func TestProxyTellsClientsLater(t *testing.T) {
	s := newProxyStage(t, "tcp")
	a, b, x, y := s.client(4000), s.client(4001), s.dialled(5000), s.dialled(5001)
	for _, c := range []*conn{a, b, y, x} {
		c.handshake()
	}
	for range 5 { // a first packet waits for who holds its socket
		s.pass(20 * time.Millisecond)
	}
	if n := strings.Count(s.notes(), "1 other client fits as well"); n != 2 {
		t.Fatalf("%d connections are inferred by order, want 2: %q", n, s.notes())
	}
	shown := map[uint64]*Journey{}
	for _, j := range s.journeys {
		shown[j.ID] = j
	}
	s.journeys = nil
	for _, c := range []struct {
		*conn
		words string
	}{{a, "GET /a"}, {b, "GET /b"}, {y, "GET /b"}, {x, "GET /a"}} {
		c.send(0, "A", c.words)
	}
	for range 4 {
		s.pass(20 * time.Millisecond)
	}
	for opens, client := range map[uint16]uint16{5000: 4000, 5001: 4001} {
		found := 0
		for _, j := range s.journeys {
			if j.Supersedes == 0 || j.From.Port != opens {
				continue
			}
			found++
			if len(j.Related) != 1 || j.Related[0].Why != "proxied_as" || shown[j.Related[0].ID].From.Port != client || strings.Contains(strings.Join(j.Notes, " "), "fits as well") {
				t.Errorf("the connection of port %d is related to %v: %q", opens, j.Related, j.Notes)
			}
		}
		if found != 1 {
			t.Errorf("%d amended records of the connection of port %d, want 1", found, opens)
		}
	}
}

// A program of the host that asks the container itself is no proxy.
func TestProxyIsNotTheHostsOwnConnection(t *testing.T) {
	s := newProxyStage(t, "tcp")
	client, own, inner := s.client(4000), s.dialled(5000), s.dialled(5001)
	client.handshake()
	own.handshake()
	inner.handshake()
	own.send(0, "A", "GET /other")
	client.send(0, "A", "GET /mine")
	inner.send(0, "A", "GET /mine")
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.same(s.told(), []string{
		"5001 > 80 for 4000 > 8080: 0 B of 0 B",
		"5001 > 80 for 4000 > 8080: 9 B of 9 B",
	})
	s.journeys = nil
	// Nor is one before any client came.
	s.dialled(5002).handshake()
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.same(s.told(), nil)
}

// What they carry proves a pair that order had suggested to be none.
func TestProxyPairIsTakenBack(t *testing.T) {
	s := newProxyStage(t, "tcp")
	client, own := s.client(4000), s.dialled(5000)
	client.handshake()
	own.handshake()
	s.pass(50 * time.Millisecond)
	s.journeys = nil
	client.send(0, "A", "GET /mine")
	own.send(0, "A", "GET /other")
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.same(s.told(), nil)
}

func TestProxyDoesNotTakeWhatIsTranslated(t *testing.T) {
	s := newProxyStage(t, "tcp")
	outside := netip.AddrPortFrom(internetIP, 4000)
	before := packet.NewTuple(packet.TCP, internetIP, hostIP, 4000, 8080)
	after := packet.NewTuple(packet.TCP, internetIP, backIP, 4000, 80)
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: before, Reply: after.Inverse()})
	syn := &layers.TCP{SrcPort: 4000, DstPort: 8080, Seq: 1, SYN: true}
	s.see(uplinkIn, frame(t, outside.Addr(), hostIP, 1, 64, syn))
	if len(s.c.proxies.conns) != 0 {
		t.Fatal("followed before anything was processed")
	}
	s.pass(50 * time.Millisecond)
	if len(s.c.proxies.conns) != 0 {
		t.Error("a connection that NAT sends to the container is taken for the proxy's")
	}
}

func TestProxyOfDatagrams(t *testing.T) {
	s := newProxyStage(t, "udp")
	client, inner := s.client(4000), s.dialled(5000)
	client.track(packet.UDP)
	inner.track(packet.UDP)
	n := uint16(0)
	say := func(c *conn, from int, payload string) {
		source, destination := c.a, c.b
		if from == 1 {
			source, destination = c.b, c.a
		}
		n++
		c.show(from, udp(t, source, destination, n, payload))
	}
	say(client, 0, "one")
	say(client, 0, "three")
	say(client, 0, "three")
	say(inner, 0, "one")
	say(inner, 0, "three")
	say(inner, 0, "three")
	say(inner, 1, "answer")
	say(client, 1, "answer")
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.same(s.told(), []string{
		"5000 > 80 for 4000 > 8080: 3 B of 3 B",
		"5000 > 80 for 4000 > 8080: 5 B of 5 B",
		"5000 > 80 for 4000 > 8080: 5 B of 5 B",
		"8080 > 4000 for 80 > 5000: 6 B of 6 B",
	})
	peers := map[uint64]bool{}
	for _, j := range s.journeys {
		for _, r := range j.Related {
			if r.Why == "proxied_as" && peers[r.ID] {
				t.Errorf("#%d was passed on twice", r.ID)
			}
			peers[r.ID] = peers[r.ID] || r.Why == "proxied_as"
		}
	}
}

// Whatever passes through proxies is forgotten.
func TestProxyMemoryIsBounded(t *testing.T) {
	s := newProxyStage(t, "tcp")
	for round := range 3 {
		for port := range uint16(2000) {
			c := s.client(1000 + port + uint16(round)*2000)
			c.handshake()
			c.send(0, "R", "")
		}
		s.pass(50 * time.Millisecond)
	}
	if n := len(s.c.proxies.conns); n > maxProxied {
		t.Errorf("%d connections are followed", n)
	}
	for range 8 {
		s.pass(2 * time.Second)
	}
	if n := len(s.c.proxies.conns); n != 0 {
		t.Errorf("%d connections are still followed", n)
	}
	for _, p := range s.c.proxies.pools {
		if len(p.unpaired) != 0 {
			t.Errorf("%d connections are still to be paired", len(p.unpaired))
		}
	}
}

// A datagram in pieces is known by the first of them: its length is that of the whole.
func TestProxyOfDatagramsInPieces(t *testing.T) {
	words := numbered(5000)
	for _, c := range []struct {
		name       string
		inner      string // what was passed on
		mtu        int    // of loopback
		want       []string
		translated int
	}{
		{"cut alike", words, 1480, []string{"5000 > 80 for 4000 > 8080", "8080 > 4000 for 80 > 5000"}, 2},
		{"whole on loopback", words, 65000, []string{"5000 > 80 for 4000 > 8080", "8080 > 4000 for 80 > 5000"}, 2},
		{"another length", words[:4990], 1480, nil, 0},
		{"other words", "x" + words[1:], 1480, nil, 0},
	} {
		s := newProxyStage(t, "udp")
		client, inner := s.client(4000), s.dialled(5000)
		client.track(packet.UDP)
		inner.track(packet.UDP)
		n := uint16(0)
		say := func(c *conn, from int, payload string, size int) {
			source, destination := c.a, c.b
			if from == 1 {
				source, destination = c.b, c.a
			}
			n++
			for _, f := range cut(udp(t, source, destination, n, payload), size) {
				c.show(from, f)
			}
		}
		say(client, 0, words, c.mtu)
		say(inner, 0, c.inner, 1480)
		say(inner, 1, strings.ToUpper(words)+"!", 1480)
		say(client, 1, strings.ToUpper(words)+"!", c.mtu)
		s.pass(50 * time.Millisecond)
		s.pass(4 * time.Second)
		told := s.told()
		for i := range told {
			told[i], _, _ = strings.Cut(told[i], ":")
		}
		if fmt.Sprint(told) != fmt.Sprint(c.want) || s.proxyKinds()[ByInference] != c.translated {
			t.Errorf("%s: %q, want %q; %v", c.name, told, c.want, s.proxyKinds())
		}
		if why := strings.Contains(s.notes(), "why 172.17.0.1 and not 127.0.0.1: docker-proxy"); why != (c.want != nil) {
			t.Errorf("%s: notes %q", c.name, s.notes())
		}
	}
}
