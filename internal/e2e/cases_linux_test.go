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

// rounds are the cases of the load, by the names that the table has. Each plays
// one round of its case.
func (c *cast) rounds() map[string]func(name string) {
	to := func(ip netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(ip, port) }
	return map[string]func(string){
		"ping": func(name string) {
			c.everyone(func(in *netns.Handle, ip netip.Addr) { c.echo(name, in, ip, internet, 20, 24, 70) })
			c.echo(name, c.spaces["back"], c.ip["back"], hostAddress, 5, 24, 50)
		},
		"fragments": func(name string) {
			c.everyone(func(in *netns.Handle, ip netip.Addr) {
				c.echo(name, in, ip, internet, 6, 2000, 900)
				c.ask(name, in, to(internet, 5000), 5, 3000, 900)
			})
			c.echo(name, c.spaces["back"], c.ip["back"], c.ip["database"], 4, 2000, 900)
			c.ask(name, c.e.Internet(), to(hostAddress, 5000), 4, 3000, 900)
		},
		"udp": func(name string) {
			c.everyone(func(in *netns.Handle, _ netip.Addr) { c.ask(name, in, to(internet, 5000), 30, 20, 40) })
		},
		"tcp": func(name string) {
			c.everyone(func(in *netns.Handle, _ netip.Addr) { c.talk(name, in, 0, to(internet, 8000), 8) })
		},
		"published": func(name string) {
			c.ask(name, c.e.Internet(), to(hostAddress, 5000), 20, 20, 30)
			for range 3 {
				c.talk(name, c.e.Internet(), 0, to(hostAddress, 8000), 4)
				c.talk(name, c.e.Internet(), 0, to(hostAddress, 8001), 4)
			}
		},
		"between": func(name string) {
			back, database, host := c.spaces["back"], c.spaces["database"], c.e.Host()
			c.echo(name, back, c.ip["back"], c.ip["database"], 20, 24, 50)
			c.ask(name, database, to(c.ip["back"], 5000), 15, 20, 30)
			c.talk(name, back, 0, to(c.ip["database"], 8000), 5)
			c.ask(name, host, to(c.ip["back"], 5000), 15, 20, 30)
			c.talk(name, host, 0, to(c.ip["front"], 8000), 5)
		},
		"bulk": func(name string) {
			c.send(name, c.spaces["back"], to(c.ip["database"], 8002), 400_000)
			c.send(name, c.e.Internet(), to(hostAddress, 8002), 400_000)
		},
		"split": func(name string) { // at the uplink
			c.everyone(func(in *netns.Handle, _ netip.Addr) { c.send(name, in, to(internet, 8010), 200_000) })
		},
		"resent": func(name string) {
			c.everyone(func(in *netns.Handle, _ netip.Addr) { c.talk(name, in, 0, to(internet, 8003), 12) })
		},
		"identical": c.identical,
		"errors": func(name string) {
			c.everyone(func(in *netns.Handle, _ netip.Addr) {
				c.refused(name, in, to(internet, 9), 0)
				c.refused(name, in, to(internet, 5000), 1) // a router's: time exceeded
			})
			c.refused(name, c.spaces["back"], to(c.ip["database"], 9), 0)
			c.refused(name, c.e.Host(), to(c.ip["front"], 9), 0)
		},
	}
}

// everyone lets all containers do the same at once.
func (c *cast) everyone(do func(in *netns.Handle, ip netip.Addr)) {
	var group sync.WaitGroup
	for _, name := range containers {
		group.Go(func() { do(c.spaces[name], c.ip[name]) })
	}
	group.Wait()
}

// echo pings with a first size that grows.
func (c *cast) echo(name string, in *netns.Handle, from, to netip.Addr, n, size, more int) {
	id := uint16(c.echoID.Add(1))
	c.belongs(name, 1, netip.AddrPortFrom(from, id))
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
	conn, err := lab.DialTCP(context.Background(), in, local, to)
	c.must(err)
	if err != nil {
		return nil
	}
	c.belongs(name, 6, conn.LocalAddr().(*net.TCPAddr).AddrPort())
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

// swallow takes connections and reads what they bring.
func (l *load) swallow(in *netns.Handle, port uint16) {
	l.t.Helper()
	ln, err := lab.ListenTCP(in, netip.AddrPortFrom(netip.IPv4Unspecified(), port))
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
		c.everyone(func(in *netns.Handle, ip netip.Addr) {
			c.belongs(name, 1, netip.AddrPortFrom(ip, id))
			_, err := lab.Ping(context.Background(), in, internet, lab.Echo{ID: id, Seq: seq, Payload: same})
			c.must(err)
		})
	}
	port := 10000 + uint16(c.echoID.Add(1)%20000) // below those that the kernel gives out
	c.everyone(func(in *netns.Handle, _ netip.Addr) {
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
			raw, err := u.SyscallConn()
			c.must(err)
			c.must(raw.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TTL, ttl)
			}))
			c.must(err)
			// Such an error is told only to sockets that ask for it.
			_, err = u.Write(c.words(60))
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
	c.everyone(func(in *netns.Handle, _ netip.Addr) {
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
