package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/net/dns/dnsmessage"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// nameServer is a name server outside that knows one name; what it is asked beyond
// that does not exist.
func nameServer(t *testing.T, e *engine.Engine, at, is netip.Addr, name string) {
	t.Helper()
	c, err := lab.ListenUDP(e.Internet(), netip.AddrPortFrom(at, 53))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			var m layers.DNS
			if m.DecodeFromBytes(b[:n], gopacket.NilDecodeFeedback) != nil || len(m.Questions) == 0 {
				continue
			}
			m.QR, m.Additionals, m.ResponseCode = true, nil, layers.DNSResponseCodeNXDomain
			if q := m.Questions[0]; string(q.Name) == name {
				m.ResponseCode = layers.DNSResponseCodeNoErr
				if q.Type == layers.DNSTypeA {
					m.Answers = []layers.DNSResourceRecord{{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60, IP: is.AsSlice()}}
				}
			}
			out := gopacket.NewSerializeBuffer()
			if m.SerializeTo(out, gopacket.SerializeOptions{FixLengths: true}) == nil {
				_, _ = c.WriteToUDPAddrPort(out.Bytes(), from)
			}
		}
	}()
}

// The journeys of a connection by name: the question to the engine's name server,
// which no tap sees going to port 53, the question that this one passes on when it
// does not know the name, both answers, and the connection, which says what its
// address is the address of.
func TestCourseConnectionByName(t *testing.T) {
	e := engine.Shared(t)
	e.Network("--subnet", "172.26.0.0/24", "back_net")
	e.Run("--name", "database", "--network", "back_net", "box")
	e.Run("--name", "back", "--network", "back_net", "--dns", internet.String(), "box")
	nameServer(t, e, internet, internet, "api.example")
	load := &load{t: t, e: e}
	load.answerTCP(e.Namespace("database"), 8000)
	load.answerTCP(e.Internet(), 8001)
	back, database := ipOf(t, e, "back", "back_net"), ipOf(t, e, "database", "back_net")

	w, screen := startWatch(t, e, "--json"), startWatch(t, e)
	for name, port := range map[string]int{"database": 8000, "api.example": 8001} {
		e.Docker("exec", "back", "sh", "-c", fmt.Sprintf("echo hello | nc -w 1 %s %d", name, port))
	}
	load.connect(e.Namespace("back"), 34000, netip.AddrPortFrom(database, 8000), 1)
	load.connect(e.Host(), 34001, netip.AddrPortFrom(database, 8000), 1)
	time.Sleep(300 * time.Millisecond)
	all, _ := w.journeys()
	screen.end()
	t.Log(screen.stdout.String())

	// By whose answer an address is known: only of one that came before, only there.
	named := func(syn *journey, name, is, server string) {
		t.Helper()
		if len(syn.Related) != 1 || syn.Related[0].Why != "resolved_by" {
			t.Fatalf("the connection to %s is related to %+v", name, syn.Related)
		}
		answer := only(t, "answer", with(all, func(j *journey) bool { return j.ID == syn.Related[0].ID }))
		says(t, "answer", answer.Info, "DNS A "+name+" "+is)
		same(t, "answer's end", answer.End(), "delivered at back:lo in")
		says(t, "notes of the connection to "+name, noteOf(syn),
			fmt.Sprintf("%s was resolved to %s by %s (#%d)", name, is, server, answer.ID))
		question := only(t, "question", with(all, func(j *journey) bool { return len(answer.Related) == 1 && j.ID == answer.Related[0].ID }))
		says(t, "question", question.Info, "DNS A? "+name)
		if !question.Hops[0].Time.Before(answer.Hops[0].Time) || !answer.Hops[0].Time.Before(syn.Hops[0].Time) {
			t.Error("question, answer and connection are not in this order")
		}
		// What conntrack says in the container, where no tap sees port 53.
		if len(question.Translations) != 1 || question.Translations[0].Before.Destination != (address{IP: "127.0.0.11", Port: 53}) || question.Translations[0].Evidence != "conntrack" {
			t.Errorf("the question's translations: %+v", question.Translations)
		}
		passedOn := with(all, func(j *journey) bool {
			return len(j.Related) == 1 && j.Related[0].Why == "proxied_as" && j.Related[0].ID == question.ID
		})
		if is == database.String() {
			same(t, "questions passed on", len(passedOn), 0)
			return
		}
		up := only(t, "question passed on", passedOn)
		says(t, "question passed on", up.Info, "DNS A? "+name)
		same(t, "its begin", up.From.Name+" "+up.From.IP, "back "+back.String())
		same(t, "its end", up.End(), "left at host:eth0 out")
		says(t, "its notes", noteOf(up), fmt.Sprintf("the engine's DNS passes the question of #%d on to %v (same id and name)", question.ID, internet))
		only(t, "answer to it", with(all, func(j *journey) bool {
			return len(j.Related) == 1 && j.Related[0].Why == "reply_to" && j.Related[0].ID == up.ID && j.To.Name == "back"
		}))
	}
	syns := with(all, func(j *journey) bool {
		return j.Hops[0].TCP != nil && j.Hops[0].TCP.Flags == "SYN" && j.From.Name == "back" && j.Hops[0].Source.Port != 34000
	})
	same(t, "connections by name", len(syns), 2)
	for _, syn := range syns {
		switch syn.Hops[0].Destination.Port {
		case 8000:
			named(syn, "database", database.String(), "the engine's DNS")
		case 8001:
			named(syn, "api.example", internet.String(), "the engine's DNS")
		}
	}
	// The host asked nobody. A program that knew the address already is told what
	// the name was.
	same(t, "relations of the host's connection", len(only(t, "host", segments(all, 34001, "SYN")).Related), 0)
	says(t, "notes of a later connection", noteOf(only(t, "later connection", segments(all, 34000, "SYN"))), "database was resolved to "+database.String())
	says(t, "screen", screen.stdout.String(), "note: database was resolved to "+database.String()+" by the engine's DNS (#", "(resolved by #", "(asked for #")
}

// A program that asks over TCP, as for what no datagram holds, is known by what it was
// told, too.
func TestCourseNameOverTCP(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "asker", "box")
	server, err := lab.ListenTCP(e.Internet(), netip.AddrPortFrom(internet, 53))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			answerOverTCP(c, "long.example", internet)
		}
	}()
	(&load{t: t, e: e}).answerTCP(e.Internet(), 8002)

	w := startWatch(t, e, "--json")
	c, err := lab.DialTCP(t.Context(), e.Namespace("asker"), netip.AddrPort{}, netip.AddrPortFrom(internet, 53))
	if err != nil {
		t.Fatal(err)
	}
	question := packed(t, dnsmessage.Message{Header: dnsmessage.Header{ID: 77}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName("long.example."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}})
	if _, err := c.Write(question); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Fatal(err)
	}
	_ = c.Close() // all was said
	(&load{t: t, e: e}).connect(e.Namespace("asker"), 34002, netip.AddrPortFrom(internet, 8002), 1)
	time.Sleep(300 * time.Millisecond)
	all, _ := w.journeys()
	syn := only(t, "SYN", segments(all, 34002, "SYN"))
	if len(syn.Related) != 1 || syn.Related[0].Why != "resolved_by" {
		t.Fatalf("related to %+v", syn.Related)
	}
	answer := only(t, "answer", with(all, func(j *journey) bool { return j.ID == syn.Related[0].ID }))
	same(t, "answer", answer.Hops[0].TCP != nil && answer.Hops[0].Source == address{IP: internet.String(), Port: 53}, true)
	says(t, "notes", noteOf(syn), fmt.Sprintf("long.example was resolved to %v by the name server %v (#%d)", internet, internet, answer.ID))
}

// packed is a message as it stands on TCP, behind its length (RFC 1035, section 4.2.2).
func packed(t *testing.T, m dnsmessage.Message) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// answerOverTCP answers one question and closes.
func answerOverTCP(c net.Conn, name string, is netip.Addr) {
	defer c.Close()
	b := make([]byte, 512)
	n, err := c.Read(b)
	if err != nil || n < 2 {
		return
	}
	var m dnsmessage.Message
	if m.Unpack(b[2:n]) != nil || len(m.Questions) != 1 || m.Questions[0].Name.String() != name+"." {
		return
	}
	m.Response = true
	m.Answers = []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 60},
		Body:   &dnsmessage.AResource{A: is.As4()},
	}}
	if out, err := m.Pack(); err == nil {
		_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)) // the asker finds out
	}
}
