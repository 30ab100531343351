package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/net/dns/dnsmessage"

	"natlens/netinfo/netns"
)

// resolverAddress is where containers of a custom network ask for names, port 53
// of their own loopback.
var resolverAddress = netip.MustParseAddr("127.0.0.11")

// resolve does in a container what an engine does there on custom networks: a
// resolver stands at some port of 127.0.0.11, inside the container's namespace, and
// rules of that namespace send there what is for port 53. This one knows the
// network's containers, asks nobody else, and speaks UDP alone.
//
//	chain OUTPUT: ip daddr 127.0.0.11 counter jump DOCKER_OUTPUT
//	chain POSTROUTING: ip daddr 127.0.0.11 counter jump DOCKER_POSTROUTING
//	chain DOCKER_OUTPUT: ip daddr 127.0.0.11 udp dport 53 counter dnat to 127.0.0.11:PORT
//	chain DOCKER_POSTROUTING: ip saddr 127.0.0.11 udp sport PORT counter snat to :53
func (c *Container) resolve(known *names) error {
	s, err := serveNames(c.node.ns, netip.AddrPortFrom(resolverAddress, 0), known)
	if err != nil {
		return err
	}
	c.node.onClose(s.Close)
	r, err := c.node.newRules("nat")
	if err != nil {
		return err
	}
	output, postrouting := r.chain("DOCKER_OUTPUT"), r.chain("DOCKER_POSTROUTING")
	self := netip.PrefixFrom(resolverAddress, 32)
	to := destination(expr.CmpOpEq, self)
	r.add(r.nat("OUTPUT", nftables.ChainHookOutput, nftables.ChainPriorityNATDest), to, counter, verdict(expr.VerdictJump, output.Name))
	r.add(r.nat("POSTROUTING", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource), to, counter, verdict(expr.VerdictJump, postrouting.Name))
	r.add(output, to, udpTo(53), counter, dnat(resolverAddress, s.Addr().Port()))
	r.add(postrouting, source(self), udpFrom(s.Addr().Port()), counter, portOf(53))
	return r.flush("the resolver of " + c.Name)
}

// serveNames answers questions for addresses inside a namespace.
func serveNames(in *netns.Handle, at netip.AddrPort, known *names) (*Server, error) {
	c, err := ListenUDP(in, at)
	if err != nil {
		return nil, fmt.Errorf("serve names: %w", err)
	}
	s := &Server{addr: c.LocalAddr().(*net.UDPAddr).AddrPort(), close: c.Close, done: make(chan error, 1)}
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					err = nil
				}
				s.done <- err
				return
			}
			if answer, ok := answerName(buf[:n], known); ok {
				_, _ = c.WriteToUDPAddrPort(answer, from) // lost, as any datagram may be
			}
		}
	}()
	return s, nil
}

// answerName answers one question of DNS (RFC 1035), or reports that it is none.
func answerName(question []byte, known *names) ([]byte, bool) {
	var p dnsmessage.Parser
	h, err := p.Start(question)
	if err != nil || h.Response {
		return nil, false
	}
	q, err := p.Question()
	if err != nil {
		return nil, false
	}
	a, ok := known.find(strings.ToLower(strings.TrimSuffix(q.Name.String(), ".")))
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: h.ID, Response: true, RecursionDesired: h.RecursionDesired, RecursionAvailable: true},
		Questions: []dnsmessage.Question{q},
	}
	switch {
	case !ok:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA && q.Class == dnsmessage.ClassINET:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 600},
			Body:   &dnsmessage.AResource{A: a.As4()},
		}}
	}
	packed, err := m.Pack()
	return packed, err == nil
}

// errNoName is that a network has no container of that name.
var errNoName = errors.New("no such name")

// Resolve asks from inside a container of a custom network for the address that
// belongs to a name.
func Resolve(ctx context.Context, from *netns.Handle, name string) (netip.Addr, error) {
	a, err := resolve(ctx, from, name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("resolve %s: %w", name, err)
	}
	return a, nil
}

func resolve(ctx context.Context, from *netns.Handle, name string) (netip.Addr, error) {
	asked, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return netip.Addr{}, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 0x4e4c, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: asked, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	question, err := m.Pack()
	if err != nil {
		return netip.Addr{}, err
	}
	c, err := DialUDP(from, netip.AddrPort{}, netip.AddrPortFrom(resolverAddress, 53))
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	answer, err := Exchange(ctx, c, question)
	if err != nil {
		return netip.Addr{}, err
	}
	if err := m.Unpack(answer); err != nil {
		return netip.Addr{}, err
	}
	for _, r := range m.Answers {
		if a, ok := r.Body.(*dnsmessage.AResource); ok {
			return netip.AddrFrom4(a.A), nil
		}
	}
	return netip.Addr{}, errNoName
}
