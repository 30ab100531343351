package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"natlens/internal/lab"
	"natlens/netinfo/netns"
)

// everyone lets all containers do the same at once.
func (c *cast) everyone(do func(in *netns.Handle, name string)) {
	var group sync.WaitGroup
	for _, name := range containers {
		group.Go(func() { do(c.spaces[name], name) })
	}
	group.Wait()
}

// echo pings with a first size that grows.
func (c *cast) echo(name string, in *netns.Handle, from, to netip.Addr, n, size, more int) {
	id := uint16(c.echoID.Add(1))
	protocol := 1
	if to.Is6() {
		protocol = 58
	}
	c.belongs(name, protocol, netip.AddrPortFrom(from, id))
	for i := range n {
		_, err := lab.Ping(context.Background(), in, to, lab.Echo{ID: id, Seq: uint16(i + 1), Payload: c.words(size + i*more)})
		c.must(err)
	}
}

func (c *cast) dial(name string, in *netns.Handle, from, to netip.AddrPort) *net.UDPConn {
	u, err := lab.DialUDP(in, from, to)
	c.must(err)
	if err != nil {
		return nil
	}
	c.belongs(name, 17, u.LocalAddr().(*net.UDPAddr).AddrPort())
	return u
}

// ask exchanges datagrams.
func (c *cast) ask(name string, in *netns.Handle, to netip.AddrPort, n, size, more int) {
	u := c.dial(name, in, netip.AddrPort{}, to)
	if u == nil {
		return
	}
	defer u.Close()
	for i := range n {
		_, err := lab.Exchange(context.Background(), u, c.words(size+i*more))
		c.must(err)
	}
}

func (c *cast) open(name string, in *netns.Handle, sourcePort uint16, to netip.AddrPort) *net.TCPConn {
	var local netip.AddrPort
	if sourcePort != 0 {
		local = netip.AddrPortFrom(netip.IPv4Unspecified(), sourcePort)
	}
	since := time.Now()
	conn, err := lab.DialTCP(context.Background(), in, local, to)
	c.must(err)
	if err != nil {
		return nil
	}
	c.belongsSince(since, name, 6, conn.LocalAddr().(*net.TCPAddr).AddrPort())
	return conn
}

// talk opens a connection, exchanges words and closes it. sourcePort 0 is any.
func (c *cast) talk(name string, in *netns.Handle, sourcePort uint16, to netip.AddrPort, n int) {
	conn := c.open(name, in, sourcePort, to)
	if conn == nil {
		return
	}
	defer conn.Close()
	for i := range n {
		_, err := lab.Exchange(context.Background(), conn, c.words(20+i*10))
		c.must(err)
	}
}

// send sends much data, and waits until the other side has read it.
func (c *cast) send(name string, in *netns.Handle, to netip.AddrPort, size int) {
	conn := c.open(name, in, 0, to)
	if conn == nil {
		return
	}
	defer conn.Close()
	for sent := 0; sent < size; {
		var b []byte
		for range 40 {
			b = append(b, c.words(1000)...)
		}
		n, err := conn.Write(b)
		if sent += n; err != nil {
			c.must(err)
			return
		}
	}
	c.must(conn.CloseWrite())
	_, err := io.Copy(io.Discard, conn)
	c.must(err)
}

// swallow does what swallowAt does, on all addresses of IPv4.
func (l *load) swallow(in *netns.Handle, port uint16) {
	l.t.Helper()
	l.swallowAt(in, netip.AddrPortFrom(netip.IPv4Unspecified(), port))
}

// swallowAt takes connections and reads what they bring.
func (l *load) swallowAt(in *netns.Handle, at netip.AddrPort) {
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
				_, _ = io.Copy(io.Discard, c)
			}()
		}
	}()
}

// identical sends the same bytes from all containers at once: id, sequence
// number and payload of a ping, ports of a connection, a question to the letter.
func (c *cast) identical(name string) {
	same := c.words(40)
	id := uint16(c.echoID.Add(1))
	for seq := range uint16(20) {
		c.everyone(func(in *netns.Handle, who string) {
			c.belongs(name, 1, netip.AddrPortFrom(c.ip[who], id))
			_, err := lab.Ping(context.Background(), in, internet, lab.Echo{ID: id, Seq: seq, Payload: same})
			c.must(err)
		})
	}
	port := c.number()
	c.everyone(func(in *netns.Handle, _ string) {
		c.talk(name, in, port, netip.AddrPortFrom(internet, 8000), 3)
		u := c.dial(name, in, netip.AddrPortFrom(netip.IPv4Unspecified(), port), netip.AddrPortFrom(internet, 5000))
		if u == nil {
			return
		}
		defer u.Close()
		for range 10 {
			_, err := lab.Exchange(context.Background(), u, []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04back\x00\x00\x01\x00\x01"))
			c.must(err)
		}
	})
}

// refused sends datagrams that bring an error back: nobody listens, or, with a
// ttl, a router gives up.
func (c *cast) refused(name string, in *netns.Handle, to netip.AddrPort, ttl int) {
	for range 3 {
		u := c.dial(name, in, netip.AddrPort{}, to)
		if u == nil {
			return
		}
		if ttl > 0 {
			level, option := syscall.IPPROTO_IP, syscall.IP_TTL
			if to.Addr().Is6() {
				level, option = syscall.IPPROTO_IPV6, syscall.IPV6_UNICAST_HOPS
			}
			c.control(u, level, option, ttl)
			// Such an error is told only to sockets that ask for it.
			_, err := u.Write(c.words(60))
			c.must(err)
		} else if _, err := lab.Exchange(context.Background(), u, c.words(60)); !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, os.ErrDeadlineExceeded) {
			// The kernel rations errors over all namespaces, so one may be missing.
			c.t.Errorf("%v answers %v, want a refusal", to, err)
		}
		time.Sleep(2 * time.Millisecond)
		u.Close()
	}
}

// steady asks by datagrams, from all containers, for so many observations a
// second until ctx is done.
func (c *cast) steady(ctx context.Context, name string, rate int) {
	const sightings, workers = 8, 6 // of an exchange, and for each container
	pause := time.Second * sightings * workers * time.Duration(len(containers)) / time.Duration(rate)
	c.everyone(func(in *netns.Handle, _ string) {
		var group sync.WaitGroup
		for range workers {
			group.Go(func() {
				u := c.dial(name, in, netip.AddrPort{}, netip.AddrPortFrom(internet, 5000))
				if u == nil {
					return
				}
				defer u.Close()
				answer := make([]byte, 2048)
				for next := time.Now(); ctx.Err() == nil; next = next.Add(pause) {
					time.Sleep(time.Until(next))
					_, err := u.Write(c.words(40))
					c.must(err)
					c.must(u.SetReadDeadline(time.Now().Add(3 * time.Second)))
					_, err = u.Read(answer)
					c.must(err)
				}
			})
		}
		group.Wait()
	})
}
