package trace

import (
	"fmt"
	"net/netip"
	"slices"
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

const backLo = 7

var (
	loopIP    = netip.MustParseAddr("127.0.0.1")
	backLoOut = at{backNS, backLo, capture.Outgoing}
	backLoIn  = at{backNS, backLo, capture.Host}
	embedded  = port(packet.DockerResolver, 53)
)

// resolving is a stage on which back asks for names: itself has the engine's server.
func resolving(t *testing.T) *stage {
	s := newStage(t)
	w := world()
	back := w.Namespaces[1]
	back.Links = append(back.Links, &netinfo.Link{Key: netinfo.LinkKey{Namespace: backNS, Index: backLo}, Name: "lo", Kind: "loopback",
		Role: netinfo.RoleLoopback, Addresses: []netip.Prefix{netip.PrefixFrom(loopIP, 8)}})
	s.c.SetTopology(w.Seal())
	return s
}

// message is one of the domain name system: a question, or its answer with these
// addresses.
func message(t *testing.T, id uint16, name string, ttl uint32, answers ...netip.Addr) string {
	m := &layers.DNS{ID: id, RD: true, QR: answers != nil, Questions: []layers.DNSQuestion{{Name: []byte(name), Type: layers.DNSTypeA, Class: layers.DNSClassIN}}}
	for _, a := range answers {
		m.Answers = append(m.Answers, layers.DNSResourceRecord{Name: []byte(name), Type: layers.DNSTypeA, Class: layers.DNSClassIN, TTL: ttl, IP: a.AsSlice()})
	}
	b := gopacket.NewSerializeBuffer()
	if err := m.SerializeTo(b, gopacket.SerializeOptions{FixLengths: true}); err != nil {
		t.Fatal(err)
	}
	return string(b.Bytes())
}

// asks has back ask the engine's server, which is behind a translated port.
func (s *stage) asks(client uint16, message string) {
	behind := port(packet.DockerResolver, 38123)
	asker := port(loopIP, client)
	s.flow(netfilter.New, netfilter.Flow{ID: uint32(client), Namespace: backNS,
		Original: packet.NewTuple(packet.UDP, loopIP, packet.DockerResolver, client, 53),
		Reply:    packet.NewTuple(packet.UDP, packet.DockerResolver, loopIP, 38123, client)})
	q := udp(s.t, asker, behind, client, message)
	s.see(backLoOut, q)
	s.see(backLoIn, q)
}

func (s *stage) isTold(client uint16, message string) {
	a := udp(s.t, embedded, port(loopIP, client), client+1, message)
	s.see(backLoOut, a)
	s.see(backLoIn, a)
}

// dials has back open a connection to database.
func (s *stage) dials(client uint16, flags uint8) {
	segment := frame(s.t, backIP, baseIP, client, 64, &layers.TCP{SrcPort: layers.TCPPort(client), DstPort: 5432, Seq: uint32(client),
		SYN: flags&packet.SYN != 0, ACK: flags&packet.ACK != 0})
	for _, where := range []at{backOut, vethIn, baseVOut, baseIn} {
		s.see(where, segment)
	}
}

// aboutNames returns the relations and notes that tell of names.
func aboutNames(j *Journey) string {
	var out []string
	for _, r := range j.Related {
		if r.Why == "resolved_by" || r.Why == "proxied_as" {
			out = append(out, fmt.Sprintf("%s %d", r.Why, r.ID))
		}
	}
	return strings.Join(append(out, j.Notes...), "; ")
}

// A connection is told by the name that its program asked for; later packets, and
// connections to addresses that nobody asked for, are not.
func TestConnectionByName(t *testing.T) {
	s := resolving(t)
	s.asks(40000, message(t, 7, "database", 0))
	s.isTold(40000, message(t, 7, "database", 600, baseIP))
	s.dials(50000, packet.SYN)
	s.dials(50000, packet.ACK)
	s.pass(50 * time.Millisecond)
	s.pass(700 * time.Second) // longer than the answer holds
	s.dials(50001, packet.SYN)
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != 5 {
		t.Fatalf("%d journeys", len(s.journeys))
	}
	answer := s.journeys[1].ID
	for i, want := range []string{"", "", fmt.Sprintf("resolved_by %d; database was resolved to 172.17.0.3 by the engine's DNS (#%d)", answer, answer), "", ""} {
		if got := aboutNames(s.journeys[i]); got != want {
			t.Errorf("%s: %q, want %q", path(s.journeys[i]), got, want)
		}
	}
}

// What one namespace was told, another's programs do not know.
func TestNamesAreOfOneNamespace(t *testing.T) {
	s := resolving(t)
	a := udp(t, port(internetIP, 53), port(baseIP, 40000), 1, message(t, 7, "itself", 600, baseIP))
	s.see(uplinkIn, a)
	for _, where := range []at{bridgeOut, baseVOut, baseIn} {
		s.see(where, a)
	}
	s.dials(50000, packet.SYN)
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if got := aboutNames(s.journeys[len(s.journeys)-1]); got != "" {
		t.Errorf("%q", got)
	}
}

// The newest answer counts, and it says who gave it. An answer that did not arrive
// counts for nothing.
func TestTheNewestAnswerCounts(t *testing.T) {
	s := resolving(t)
	s.asks(40000, message(t, 7, "database", 0))
	s.isTold(40000, message(t, 7, "database", 600, baseIP))
	s.pass(time.Second)
	for _, client := range []uint16{40002, 40003} {
		question := packet.NewTuple(packet.UDP, backIP, gatewayIP, client, 53)
		s.flow(netfilter.New, netfilter.Flow{ID: uint32(client), Namespace: backNS, Original: question, Reply: question.Inverse()})
	}
	a := udp(t, port(gatewayIP, 53), port(backIP, 40002), 1, message(t, 8, "db.example", 600, baseIP, internetIP))
	for _, where := range []at{bridgeOut, vethOut, backIn} {
		s.see(where, a)
	}
	lost := udp(t, port(gatewayIP, 53), port(backIP, 40003), 2, message(t, 9, "lost.example", 600, baseIP))
	s.see(bridgeOut, lost)
	s.pass(4 * time.Second)
	s.dials(50000, packet.SYN)
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if got := aboutNames(s.journeys[len(s.journeys)-1]); !strings.Contains(got, "db.example was resolved to 172.17.0.3 by the name server 172.17.0.1 (#") {
		t.Errorf("%q", got)
	}
}

// What the engine's server asks others is the question that it was asked itself;
// another one with other content is not.
func TestQuestionPassedOn(t *testing.T) {
	s := resolving(t)
	s.asks(40000, message(t, 7, "Example.org", 0))
	for id, name := range map[uint16]string{7: "example.org", 8: "example.org", 9: "other.org"} {
		q := udp(t, port(backIP, 41000+id), port(gatewayIP, 53), id, message(t, id, name, 0))
		for _, where := range []at{backOut, vethIn, bridgeIn} {
			s.see(where, q)
		}
	}
	s.pass(5 * time.Second)
	if len(s.journeys) != 4 {
		t.Fatalf("%d journeys", len(s.journeys))
	}
	asked := s.journeys[0].ID
	for _, j := range s.journeys[1:] {
		want := ""
		if j.From.Port == 41007 {
			want = fmt.Sprintf("proxied_as %d; the engine's DNS passes the question of #%d on to 172.17.0.1 (same id and name)", asked, asked)
		}
		if got := aboutNames(j); got != want {
			t.Errorf("from port %d: %q, want %q", j.From.Port, got, want)
		}
	}
}

// Whoever answers without end takes no memory without end.
func TestNamesAreBounded(t *testing.T) {
	s := resolving(t)
	address := netip.MustParseAddr("10.0.0.0")
	for i := range uint16(3 * maxNames) {
		address = address.Next()
		s.asks(1024+2*i, message(t, i, "many", 0))
		s.isTold(1024+2*i, message(t, i, "many", 3600*24, address))
		s.pass(20 * time.Millisecond)
	}
	s.pass(50 * time.Millisecond)
	n := s.c.names[backNS]
	if len(n.told) != maxNames || len(n.order) != maxNames || len(n.asked) > maxQuestions {
		t.Errorf("%d addresses in an order of %d, %d questions", len(n.told), len(n.order), len(n.asked))
	}
	if !slices.ContainsFunc(n.order, func(r *resolution) bool { return r.address == address }) {
		t.Error("the newest is not among them")
	}
	s.pass(2 * time.Hour)
	s.pass(2 * time.Second)
	if len(s.c.names) != 0 {
		t.Errorf("%d namespaces are remembered for nothing", len(s.c.names))
	}
}

// Anybody can send what looks like a name server's answer. Connection tracking tells
// that nobody had asked.
func TestAnswerThatNobodyAskedFor(t *testing.T) {
	s := newStage(t)
	server, client := port(internetIP, 53), port(hostIP, 40000)
	answer := udp(t, server, client, 7, message(t, 9, "bank", 60, backIP))
	s.see(uplinkIn, answer)
	o := packet.NewTuple(packet.UDP, internetIP, hostIP, 53, 40000)
	s.flow(netfilter.New, netfilter.Flow{ID: 3, Original: o, Reply: o.Inverse()})
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	syn := frame(t, hostIP, backIP, 8, 64, &layers.TCP{SrcPort: 40001, DstPort: 80, Seq: 1, SYN: true})
	for _, where := range []at{bridgeOut, vethOut, backIn} {
		s.see(where, syn)
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != 2 || s.journeys[0].Verdict.Result != Delivered {
		t.Fatalf("%d journeys, the first %+v", len(s.journeys), s.journeys[0].Verdict)
	}
	if j := s.journeys[1]; len(j.Related) != 0 || len(j.Notes) != 0 {
		t.Errorf("related to %v, notes %q", j.Related, j.Notes)
	}
}

// A name that was learnt over TCP, where an answer is too long for a datagram, is as
// good; segments without one are not taken for it.
func TestConnectionByNameOverTCP(t *testing.T) {
	for _, framed := range []bool{true, false} {
		s := resolving(t)
		answer := message(t, 7, "database", 600, baseIP)
		if framed {
			answer = string([]byte{byte(len(answer) >> 8), byte(len(answer))}) + answer
		}
		segment := frame(t, internetIP, backIP, 9, 64, &layers.TCP{SrcPort: 53, DstPort: 40000, Seq: 100, Ack: 7, PSH: true, ACK: true}, gopacket.Payload(answer))
		for _, where := range []at{uplinkIn, bridgeOut, vethOut, backIn} {
			s.see(where, segment)
		}
		s.dials(50000, packet.SYN)
		s.pass(50 * time.Millisecond)
		s.pass(50 * time.Millisecond)
		if len(s.journeys) != 2 {
			t.Fatalf("%d journeys", len(s.journeys))
		}
		want := fmt.Sprintf("resolved_by %[1]d; database was resolved to 172.17.0.3 by the name server 198.51.100.7 (#%[1]d)", s.journeys[0].ID)
		if got := aboutNames(s.journeys[1]); framed != (got == want) {
			t.Errorf("framed %v: %q", framed, got)
		}
	}
}
