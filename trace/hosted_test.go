package trace

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"natlens/netinfo"
)

// hosting is a stage with a container on the host's own network, and the questions
// that are asked there.
func hosting(t *testing.T) (*stage, *[]SocketQuery) {
	s, asked := newStage(t), &[]SocketQuery{}
	w := world()
	agent := &netinfo.Container{Namespace: hostNS, Proof: "cgroup of pid 7"}
	agent.ID, agent.Name, agent.Mode = strings.Repeat("a", 64), "agent", "host"
	w.Namespaces[0].Containers = []*netinfo.Container{agent}
	w.Containers = append(w.Containers, agent)
	s.c = New(1024, Sink{
		Journey: func(j *Journey) { s.journeys = append(s.journeys, j) },
		Socket:  func(q SocketQuery) { *asked = append(*asked, q) },
	})
	s.c.SetTopology(w.Seal())
	s.c.Watch(hostNS, 1)
	return s, asked
}

// sends has the host send a segment from a port, and pass some time.
func (s *stage) sends(port uint16, syn bool, d time.Duration) {
	s.see(uplinkOut, frame(s.t, hostIP, internetIP, uint16(len(s.journeys)+1), 64,
		&layers.TCP{SrcPort: layers.TCPPort(port), DstPort: 443, Seq: uint32(s.now), SYN: syn, ACK: !syn}))
	s.pass(d)
	s.pass(d)
}

func whose(j *Journey) string {
	return fmt.Sprintf("%s %v %q", j.From.Name, j.From.Containers, j.Notes)
}

func TestHostNetworkBySocket(t *testing.T) {
	s, asked := hosting(t)
	s.sends(40000, true, 20*time.Millisecond)
	if len(*asked) != 1 || (*asked)[0].Connection.String() != "tcp 192.0.2.10:40000 > 198.51.100.7:443" || len((*asked)[0].Containers) != 1 {
		t.Fatalf("asked %+v", *asked)
	}
	const unproven = `host [] ["sent by the host or a host-network container (agent): no socket of it was found"]`
	if got := whose(s.journeys[0]); got != unproven {
		t.Errorf("before the answer: %s", got)
	}
	q := (*asked)[0]
	s.c.AddSocket(Socket{Namespace: q.Namespace, Connection: q.Connection, PID: 7, Container: q.Containers[0], Hosted: true})
	s.pass(20 * time.Millisecond)
	if j := s.journeys[len(s.journeys)-1]; j.Supersedes != s.journeys[0].ID ||
		whose(j) != `agent [agent] ["sent by agent, which is on the host's own network: process 7 holds the socket"]` {
		t.Errorf("after the answer: amends #%d: %s", j.Supersedes, whose(j))
	}
	s.sends(40000, false, 20*time.Millisecond)
	if got := whose(s.journeys[len(s.journeys)-1]); got != "agent [agent] []" {
		t.Errorf("a later packet: %s", got)
	}
	// The same port again is another connection, of which nothing is known yet.
	s.pass(time.Second)
	s.sends(40000, true, 20*time.Millisecond)
	if got := whose(s.journeys[len(s.journeys)-1]); got != unproven || len(*asked) != 2 {
		t.Errorf("the next connection: %s, %d questions", got, len(*asked))
	}
	// That of a process of the host's own.
	s.c.AddSocket(Socket{Namespace: q.Namespace, Connection: q.Connection, Hosted: true})
	s.pass(20 * time.Millisecond)
	if got := whose(s.journeys[len(s.journeys)-1]); got != "host [] []" {
		t.Errorf("the host's own: %s", got)
	}
}

func TestHostNetworkPing(t *testing.T) {
	s, asked := hosting(t)
	s.see(uplinkOut, ping(t, hostIP, internetIP, 7, 1, false))
	s.pass(20 * time.Millisecond)
	s.pass(20 * time.Millisecond)
	if got := whose(s.journeys[0]); got != `host [] ["sent by the host or a host-network container (agent): a ping's socket can't be found"]` || len(*asked) != 0 {
		t.Errorf("%s, %d questions", got, len(*asked))
	}
}

func TestHostNetworkIsBounded(t *testing.T) {
	s, _ := hosting(t)
	for port := range uint16(2 * maxHosted) {
		s.sends(20000+port, true, time.Millisecond)
	}
	if n, m := len(s.c.hosted.conns), len(s.c.hosted.order); n > maxHosted || m > maxHosted {
		t.Errorf("%d connections are remembered in an order of %d", n, m)
	}
}

// A connection of before the clock was set back is not one of now with the same ends.
func TestHostNetworkWhenTheClockIsSet(t *testing.T) {
	s, asked := hosting(t)
	s.sends(40000, true, 20*time.Millisecond)
	q := (*asked)[0]
	s.c.AddSocket(Socket{Namespace: q.Namespace, Connection: q.Connection, PID: 7, Container: q.Containers[0], Hosted: true})
	s.pass(20 * time.Millisecond)
	s.c.Interrupt("the clock was set back meanwhile")
	s.now -= 500e9
	s.sends(40000, true, 20*time.Millisecond)
	if got := whose(s.journeys[len(s.journeys)-1]); len(*asked) != 2 || strings.HasPrefix(got, "agent") {
		t.Errorf("%s, %d questions", got, len(*asked))
	}
}

// Where none of the containers holds the socket, that is said of the packet of which it
// was left open; others are as they were, and not shown again.
func TestHostNetworkSocketOfTheHost(t *testing.T) {
	s, asked := hosting(t)
	s.sends(40000, true, 20*time.Millisecond)
	s.sends(40000, false, 20*time.Millisecond)
	q := (*asked)[0]
	s.c.AddSocket(Socket{Namespace: q.Namespace, Connection: q.Connection, Hosted: true})
	s.pass(20 * time.Millisecond)
	if len(s.journeys) != 3 || s.journeys[2].Supersedes != s.journeys[0].ID || whose(s.journeys[2]) != "host [] []" {
		t.Errorf("%d journeys, the last %s", len(s.journeys), whose(s.journeys[len(s.journeys)-1]))
	}
}
