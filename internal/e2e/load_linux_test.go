package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
	"natlens/netinfo/netns"
)

var (
	hostAddress = netip.MustParseAddr("192.0.2.10")
	internet    = netip.MustParseAddr("198.51.100.7")
)

// load is traffic on the engine.
type load struct {
	t *testing.T
	e *engine.Engine
	sync.Mutex
	n     int
	cases map[party][]owned
}

// party is one end of a conversation: an address with a port, or with an echo's
// id.
type party struct {
	protocol int
	address  string
	number   int
}

// belongs says to which case the traffic of a party belongs from now on: the kernel
// gives a port to another socket in time.
func (l *load) belongs(name string, protocol int, at netip.AddrPort) {
	l.belongsSince(time.Now(), name, protocol, at)
}

// belongsSince says since when: a port is known only when it has been used.
func (l *load) belongsSince(since time.Time, name string, protocol int, at netip.AddrPort) {
	l.Lock()
	defer l.Unlock()
	if l.cases == nil {
		l.cases = map[party][]owned{}
	}
	who := party{protocol, at.Addr().String(), int(at.Port())}
	l.cases[who] = append(l.cases[who], owned{since, name})
}

// owned is since when a party is of a case.
type owned struct {
	since time.Time
	name  string
}

// words makes a payload that no other packet has.
func (l *load) words(size int) []byte {
	n := l.next()
	w := fmt.Appendf(nil, "natlens %08d ", n)
	for len(w) < size {
		w = append(w, byte('a'+(n+len(w))%26))
	}
	return w
}

// next is a number that no other words have.
func (l *load) next() int {
	l.Lock()
	defer l.Unlock()
	l.n++
	return l.n
}

func (l *load) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Error(err)
	}
}

// answerUDP answers datagrams with other words than they brought.
func (l *load) answerUDP(in *netns.Handle, at netip.AddrPort) {
	l.t.Helper()
	c, err := lab.ListenUDP(in, at)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if _, err := c.WriteToUDPAddrPort(append([]byte("re: "), b[:n]...), from); err != nil {
				return
			}
		}
	}()
}

// hearUDP takes datagrams and says nothing.
func (l *load) hearUDP(in *netns.Handle, at netip.AddrPort) {
	l.t.Helper()
	c, err := lab.ListenUDP(in, at)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			if _, _, err := c.ReadFromUDPAddrPort(b); err != nil {
				return
			}
		}
	}()
}

// answerTCP answers as answerUDP does, on connections to all addresses of IPv4.
func (l *load) answerTCP(in *netns.Handle, port uint16) {
	l.t.Helper()
	l.answerAt(in, netip.AddrPortFrom(netip.IPv4Unspecified(), port))
}

func (l *load) answerAt(in *netns.Handle, at netip.AddrPort) {
	l.t.Helper()
	ln, err := lab.ListenTCP(in, at)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 2048)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					if _, err := c.Write(append([]byte("re: "), b[:n]...)); err != nil {
						return
					}
				}
			}()
		}
	}()
}

func (l *load) pings(from *netns.Handle, to netip.Addr, id uint16, n int) {
	for i := range n {
		_, err := lab.Ping(context.Background(), from, to, lab.Echo{ID: id, Seq: uint16(i + 1), Payload: l.words(24 + i*50)})
		l.must(err)
	}
}

// connect opens a connection, exchanges words and closes it. sourcePort 0 is any.
func (l *load) connect(from *netns.Handle, sourcePort uint16, to netip.AddrPort, n int) {
	if c := l.converse(from, sourcePort, to, n); c != nil {
		l.must(c.Close())
	}
}

// converse is connect without the end. It returns nil where that has failed.
func (l *load) converse(from *netns.Handle, sourcePort uint16, to netip.AddrPort, n int) *net.TCPConn {
	var local netip.AddrPort
	if sourcePort != 0 {
		local = netip.AddrPortFrom(netip.IPv4Unspecified(), sourcePort)
	}
	c, err := lab.DialTCP(context.Background(), from, local, to)
	l.must(err)
	if err != nil {
		return nil
	}
	for i := range n {
		_, err := lab.Exchange(context.Background(), c, l.words(20+i*10))
		l.must(err)
	}
	return c
}
