package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers what comes over a pipe: the names it knows, NXDOMAIN for
// others.
type nameServer struct {
	t     *testing.T
	knows map[string]netip.Addr
	asked []string
}

func (s *nameServer) dial(context.Context, netip.AddrPort) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		buf := make([]byte, 512)
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(buf[:n]); err != nil {
			s.t.Error(err)
			return
		}
		q := m.Questions[0]
		s.asked = append(s.asked, q.Name.String()+" "+strings.TrimPrefix(q.Type.String(), "Type"))
		stray := m
		stray.Header.ID++
		stray.Header.Response = true
		m.Header.Response, m.Header.RCode = true, dnsmessage.RCodeNameError
		if a, ok := s.knows[q.Name.String()]; ok {
			m.Header.RCode = dnsmessage.RCodeSuccess
			h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET}
			if a.Is4() && q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{
					{Header: h, Body: &dnsmessage.CNAMEResource{CNAME: q.Name}},
					{Header: h, Body: &dnsmessage.AResource{A: a.As4()}},
				}
			} else if a.Is6() && q.Type == dnsmessage.TypeAAAA {
				m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}}}
			}
		}
		for _, answer := range []dnsmessage.Message{stray, m} { // the first answers another question
			b, err := answer.Pack()
			if err != nil {
				s.t.Error(err)
				return
			}
			if _, err := server.Write(b); err != nil {
				return
			}
		}
	}()
	return client, nil
}

func TestResolver(t *testing.T) {
	four, six := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::7")
	s := &nameServer{t: t, knows: map[string]netip.Addr{
		"server.example.": four, "six.example.": six, "short.lab.example.": four,
	}}
	r := &resolver{
		hosts:   readHosts(strings.NewReader("192.0.2.9 Known known.example # a comment\nnonsense\n")),
		servers: []netip.Addr{netip.MustParseAddr("127.0.0.11")}, search: []string{"lab.example"}, dial: s.dial,
	}
	for _, c := range []struct {
		name, want, how string
		asked           []string
	}{
		{"known", "192.0.2.9", "its hosts file", nil},
		{"server.example", "198.51.100.7", "the server 127.0.0.11", []string{"server.example. A"}},
		{"six.example", "2001:db8::7", "the server 127.0.0.11", []string{"six.example. A", "six.example. AAAA"}},
		{"short", "198.51.100.7", "the server 127.0.0.11", []string{"short.lab.example. A"}},
	} {
		s.asked = nil
		a, how, err := r.lookUp(t.Context(), c.name)
		if err != nil || a.String() != c.want || how != c.how || !slices.Equal(s.asked, c.asked) {
			t.Errorf("%s: %v by %q (%v), asked %q; want %s by %q, asked %q", c.name, a, how, err, s.asked, c.want, c.how, c.asked)
		}
	}
	var unknown *NotResolved
	if _, _, err := r.lookUp(t.Context(), "nobody.example"); !errors.As(err, &unknown) || !strings.Contains(unknown.Reason, "NXDOMAIN") {
		t.Errorf("an unknown name: %v", err)
	}
	if _, _, err := (&resolver{}).lookUp(t.Context(), "nobody.example"); !errors.As(err, &unknown) || !strings.Contains(unknown.Reason, "names no server") {
		t.Errorf("without a server: %v", err)
	}
}

func TestReadResolvConf(t *testing.T) {
	servers, search := readResolvConf(strings.NewReader("# made by hand\nsearch a.example b.example\nnameserver 127.0.0.11\nnameserver 2001:db8::1\nnameserver x\noptions ndots:0\n"))
	if len(servers) != 2 || servers[0].String() != "127.0.0.11" || servers[1].String() != "2001:db8::1" || !slices.Equal(search, []string{"a.example", "b.example"}) {
		t.Errorf("servers %v, search %v", servers, search)
	}
}

func FuzzAddressIn(f *testing.F) {
	name := dnsmessage.MustNewName("server.example.")
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, Response: true},
		Answers: []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}, Body: &dnsmessage.AResource{A: [4]byte{1, 2, 3, 4}}}}}
	b, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, m []byte) {
		if a, ours, err := addressIn(m, 7); a.IsValid() && (!ours || err != nil) {
			t.Errorf("%v from a message that is not an answer (%v, %v)", a, ours, err)
		}
	})
}
