package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// resolver looks names up as the programs of one namespace do: in its hosts file
// (hosts(5)), then at its servers (resolv.conf(5)). It asks over UDP only, one
// question at a time.
type resolver struct {
	hosts   map[string][]netip.Addr
	servers []netip.Addr
	search  []string
	// dial opens a socket inside the namespace.
	dial func(ctx context.Context, server netip.AddrPort) (net.Conn, error)
	// sent are the questions that were, in order.
	sent []Query
}

// Query is a question that was sent to a name server.
type Query struct {
	Server netip.Addr
	Name   string // in full, with the dot at its end
	Type   string // "A" or "AAAA"
}

// dnsPatience is how long one server may take. People wait 5 s for it; a probe
// says earlier that nothing came.
const dnsPatience = 2 * time.Second

// NotResolved is a name without an address, and who said so.
type NotResolved struct {
	Name   string
	Reason string
}

func (e *NotResolved) Error() string { return e.Name + " does not resolve: " + e.Reason }

// readHosts reads a hosts file.
func readHosts(r io.Reader) map[string][]netip.Addr {
	hosts := map[string][]netip.Addr{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) < 2 {
			continue
		}
		a, err := netip.ParseAddr(words[0])
		if err != nil {
			continue
		}
		for _, name := range words[1:] {
			name = strings.ToLower(name)
			hosts[name] = append(hosts[name], a)
		}
	}
	return hosts
}

// readResolvConf reads the servers and the search list of a resolv.conf.
func readResolvConf(r io.Reader) (servers []netip.Addr, search []string) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(words[1]); err == nil {
				servers = append(servers, a)
			}
		case "search", "domain":
			search = words[1:] // the last one counts
		}
	}
	return servers, search
}

// lookUp returns the name's first address, IPv4 before IPv6, and who gave it. The
// error is a *NotResolved when nobody knows the name.
func (r *resolver) lookUp(ctx context.Context, name string) (netip.Addr, string, error) {
	if found := r.hosts[strings.ToLower(name)]; len(found) > 0 {
		return found[0], "its hosts file", nil
	}
	if len(r.servers) == 0 {
		return netip.Addr{}, "", &NotResolved{name, "its resolv.conf names no server"}
	}
	var reason string
	for _, full := range r.candidates(name) {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
			a, server, why := r.ask(ctx, full, kind)
			switch {
			case a.IsValid():
				return a, "the server " + server.String(), nil
			case ctx.Err() != nil:
				return netip.Addr{}, "", ctx.Err()
			case !server.IsValid():
				// Who does not answer one question won't answer the next.
				return netip.Addr{}, "", &NotResolved{name, why}
			}
			reason = why // the last: of the name itself
		}
	}
	return netip.Addr{}, "", &NotResolved{name, reason}
}

// candidates are the full names to ask for: one without a dot is tried within the
// search list first (ndots, resolv.conf(5)).
func (r *resolver) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var names []string
	if !strings.Contains(name, ".") {
		for _, domain := range r.search {
			names = append(names, name+"."+strings.Trim(domain, ".")+".")
		}
	}
	return append(names, name+".")
}

// ask asks the servers in their order for one type; the first that answers at
// all decides, and is returned. why says what was wrong.
func (r *resolver) ask(ctx context.Context, name string, kind dnsmessage.Type) (found, by netip.Addr, why string) {
	for _, server := range r.servers {
		a, err := r.exchange(ctx, server, name, kind)
		var word rcode
		switch {
		case err == nil && a.IsValid():
			return a, server, ""
		case err == nil:
			return a, server, fmt.Sprintf("%v knows no address for it", server)
		case errors.As(err, &word):
			return a, server, fmt.Sprintf("%v says %v", server, word)
		}
		why = fmt.Sprintf("no answer from %v: %v", server, err)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			why = fmt.Sprintf("no answer from %v in %v s", server, dnsPatience.Seconds())
		}
	}
	return netip.Addr{}, netip.Addr{}, why
}

// rcode is a server's refusal to answer (RFC 1035, section 4.1.1).
type rcode dnsmessage.RCode

func (c rcode) Error() string {
	switch dnsmessage.RCode(c) {
	case dnsmessage.RCodeNameError:
		return "that there is no such name (NXDOMAIN)"
	case dnsmessage.RCodeServerFailure:
		return "that it could not find out (SERVFAIL)"
	case dnsmessage.RCodeRefused:
		return "that it will not tell (REFUSED)"
	}
	return strings.TrimPrefix(dnsmessage.RCode(c).String(), "RCode")
}

func (r *resolver) exchange(ctx context.Context, server netip.Addr, name string, kind dnsmessage.Type) (netip.Addr, error) {
	query, id, err := question(name, kind)
	if err != nil {
		return netip.Addr{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, dnsPatience)
	defer cancel()
	conn, err := r.dial(ctx, netip.AddrPortFrom(server, 53))
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(query); err != nil {
		return netip.Addr{}, err
	}
	r.sent = append(r.sent, Query{server, name, strings.TrimPrefix(kind.String(), "Type")})
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return netip.Addr{}, err
		}
		if a, ours, err := addressIn(buf[:n], id); ours {
			return a, err
		}
	}
}

func question(name string, kind dnsmessage.Type) ([]byte, uint16, error) {
	full, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, 0, err
	}
	id := uint16(rand.Uint32())
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: full, Type: kind, Class: dnsmessage.ClassINET}},
	}
	b, err := m.Pack()
	return b, id, err
}

// addressIn returns the first address of an answer; ours is false for a message
// that answers another question, or none.
func addressIn(m []byte, id uint16) (a netip.Addr, ours bool, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(m)
	if ours = err == nil && h.ID == id && h.Response; !ours {
		return a, false, err
	}
	if h.RCode != dnsmessage.RCodeSuccess {
		return a, true, rcode(h.RCode)
	}
	if err := p.SkipAllQuestions(); err != nil {
		return a, true, err
	}
	for {
		r, err := p.Answer()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return a, true, nil
		}
		if err != nil {
			return a, true, err
		}
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			return netip.AddrFrom4(body.A), true, nil
		case *dnsmessage.AAAAResource:
			return netip.AddrFrom16(body.AAAA), true, nil
		}
	}
}
