package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"natlens/internal/lab"
	"natlens/netinfo/netns"
)

// stages are the hosts on which the load plays: as Docker sets up a host, without
// docker-proxy, and with bridges that connection tracking does not see. On the first,
// which has most cases, of each packet as much is captured as when nothing is written
// (capture.DefaultSnaplen); on the second all, as is by default what is.
var stages = []stage{
	{suffix: "", filtered: "1", snaplen: []string{"-s", "128"}, rounds: (*cast).roundsByDefault},
	{suffix: "/direct", args: []string{"--userland-proxy=false"}, filtered: "1", rounds: (*cast).roundsWithoutProxy},
	{suffix: "/unfiltered", args: []string{"--userland-proxy=false"}, filtered: "0", snaplen: []string{"-s", "256"}, rounds: (*cast).roundsUnfiltered},
}

func to(ip netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(ip, port) }

// roundsByDefault are cases by the names that the table has. Each plays one
// round of its case.
func (c *cast) roundsByDefault() map[string]func(name string) {
	back, database, host, outside := c.spaces["back"], c.spaces["database"], c.e.Host(), c.e.Internet()
	return map[string]func(string){
		"ping": func(name string) {
			c.everyone(func(in *netns.Handle, who string) { c.echo(name, in, c.ip[who], internet, 20, 24, 70) })
			c.echo(name, back, c.ip["back"], hostAddress, 5, 24, 50)
		},
		"fragments": c.fragments,
		"fragments6": func(name string) {
			c.everyone(func(in *netns.Handle, who string) {
				c.echo(name, in, c.ip6[who], world6, 4, 2000, 900)
				c.ask(name, in, to(world6, 5000), 4, 3000, 900)
			})
			c.echo(name, back, c.ip6["back"], c.ip6["database"], 4, 2000, 900)
		},
		"udp": func(name string) {
			c.everyone(func(in *netns.Handle, _ string) { c.ask(name, in, to(internet, 5000), 20, 20, 40) })
		},
		"tcp": func(name string) {
			c.everyone(func(in *netns.Handle, _ string) { c.talk(name, in, 0, to(internet, 8000), 8) })
		},
		"nat66": func(name string) {
			c.everyone(func(in *netns.Handle, who string) {
				if who != "routed" {
					c.through6(name, in, c.ip6[who])
				}
			})
		},
		"routed": func(name string) {
			c.through6(name, c.spaces["routed"], c.ip6["routed"])
			c.echo(name, outside, netip.MustParseAddr("192.0.2.1"), c.ip["routed"], 5, 24, 50)
			c.echo(name, outside, world6, c.ip6["routed"], 5, 24, 50)
			c.ask(name, outside, to(c.ip["routed"], 5000), 5, 20, 30)
			c.talk(name, outside, 0, to(c.ip6["routed"], 8000), 3)
		},
		"published": c.published,
		"published6": func(name string) {
			c.ask(name, outside, to(host6, 5000), 10, 20, 30)
			for range 2 {
				c.talk(name, outside, 0, to(host6, 8000), 4)
				c.talk(name, outside, 0, to(host6, 8001), 4)
			}
		},
		"between": c.between,
		"bulk": func(name string) {
			c.send(name, back, to(c.ip["database"], 8002), 400_000)
			c.send(name, outside, to(hostAddress, 8002), 400_000)
			c.send(name, back, to(c.ip6["database"], 8002), 400_000)
		},
		"split": func(name string) { // at the uplink
			c.everyone(func(in *netns.Handle, _ string) { c.send(name, in, to(internet, 8010), 150_000) })
			c.send(name, back, to(world6, 8010), 150_000)
		},
		"resent": func(name string) {
			c.everyone(func(in *netns.Handle, _ string) { c.talk(name, in, 0, to(internet, portLossy), 12) })
		},
		"identical": c.identical,
		"alike":     func(name string) { c.repeat(name, back, to(internet, portAlike)) },
		"lost":      func(name string) { c.repeat(name, back, to(internet, portLost)) },
		"errors": func(name string) {
			c.everyone(func(in *netns.Handle, _ string) {
				c.refused(name, in, to(internet, 9), 0)
				c.refused(name, in, to(internet, 5000), 1) // a router's: time exceeded
				c.refused(name, in, to(world6, 9), 0)
				c.refused(name, in, to(world6, 5000), 1)
				c.tooLong(name, in)
			})
			c.refused(name, back, to(c.ip["database"], 9), 0)
			c.refused(name, host, to(c.ip["front"], 9), 0)
		},
		"random": func(name string) {
			c.everyone(func(in *netns.Handle, who string) {
				if who != "routed" {
					c.ask(name, in, to(internet, portRandom), 5, 20, 30)
				}
			})
		},
		"redirect": func(name string) {
			c.talk(name, back, 0, to(internet, portRedirected), 4)
			c.talk(name, database, 0, to(internet, portRedirected), 4)
		},
		"output": func(name string) {
			c.ask(name, host, to(elsewhere, 5000), 5, 20, 30)
			c.talk(name, host, 0, to(hostAddress, 8000), 4)
			c.ask(name, host, to(internet, 5000), 5, 20, 30) // as it is
		},
		"proxied": func(name string) {
			c.belongs(name, 6, to(c.ip["back"], portProxied))
			c.belongs(name, 6, to(c.ip6["back"], portProxied))
			c.talk(name, host, 0, to(localhost, portProxied), 3)
			c.talk(name, host, 0, to(netip.IPv6Loopback(), portProxied), 3)
			c.talk(name, database, 0, to(hostAddress, portProxied), 3)
			c.talk(name, back, 0, to(hostAddress, portProxied), 3) // its own
		},
		"flooded": func(name string) {
			c.shout(name, back)
			c.ask(name, back, to(c.ip["sink"], 5000), 5, 20, 30)
			c.echo(name, database, c.ip["database"], c.ip["sink"], 5, 24, 50)
		},
		"isolated": func(name string) {
			c.say(name, back, to(c.ip["front"], 5000), 5)
			c.say(name, c.spaces["front"], to(c.ip["database"], 5000), 5)
			c.say(name, back, to(c.ip6["front"], 5000), 5)
		},
		"input": func(name string) {
			c.say(name, outside, to(hostAddress, portInput), 5)
			c.say(name, back, to(hostAddress, portInput), 5)
			c.say(name, outside, to(host6, portInput), 5)
		},
		"leak":     c.leak,
		"older":    c.goOn,
		"trains":   c.trains,
		"extended": c.extended,
		"shuffled": c.shuffled,
	}
}

func (c *cast) roundsWithoutProxy() map[string]func(name string) {
	back, database, host := c.spaces["back"], c.spaces["database"], c.e.Host()
	return map[string]func(string){
		"hairpin": func(name string) {
			for _, in := range []*netns.Handle{database, back} {
				c.talk(name, in, 0, to(hostAddress, 8000), 5)
				c.ask(name, in, to(hostAddress, 5000), 5, 20, 30)
				c.ask(name, in, to(hostAddress, 5000), 3, 3000, 900) // in fragments
			}
			c.talk(name, c.spaces["front"], 0, to(hostAddress, 8001), 5) // its own
		},
		"hairpin6": func(name string) {
			for _, in := range []*netns.Handle{database, back} {
				c.talk(name, in, 0, to(host6, 8000), 5)
				c.ask(name, in, to(host6, 5000), 5, 20, 30)
				c.ask(name, in, to(host6, 5000), 3, 3000, 900)
			}
		},
		"unnumbered": func(name string) {
			c.unnumbered(name, back, "back", to(hostAddress, 5000), 5)
			c.unnumbered(name, database, "database", to(hostAddress, 5000), 5)
		},
		"localhost": func(name string) {
			c.talk(name, host, 0, to(localhost, 8000), 5)
			c.ask(name, host, to(localhost, 5000), 5, 20, 30)
		},
		"output": func(name string) {
			c.talk(name, host, 0, to(hostAddress, 8000), 5)
			c.ask(name, host, to(hostAddress, 5000), 5, 20, 30)
			c.talk(name, host, 0, to(host6, 8000), 5)
		},
		"published": c.published,
		"between":   c.between,
		"fragments": c.fragments,
	}
}

func (c *cast) roundsUnfiltered() map[string]func(name string) {
	return map[string]func(string){
		"hairpin":   func(name string) { c.unreached(name, c.spaces["database"], to(hostAddress, 8000)) },
		"published": c.published,
		"between":   c.between,
		"fragments": c.fragments,
		"udp": func(name string) {
			c.everyone(func(in *netns.Handle, _ string) { c.ask(name, in, to(internet, 5000), 20, 20, 40) })
		},
	}
}

func (c *cast) fragments(name string) {
	c.everyone(func(in *netns.Handle, who string) {
		c.echo(name, in, c.ip[who], internet, 4, 2000, 900)
		c.ask(name, in, to(internet, 5000), 4, 3000, 900)
	})
	c.echo(name, c.spaces["back"], c.ip["back"], c.ip["database"], 4, 2000, 900)
	c.ask(name, c.e.Internet(), to(hostAddress, 5000), 4, 3000, 900)
}

func (c *cast) published(name string) {
	outside := c.e.Internet()
	c.ask(name, outside, to(hostAddress, 5000), 20, 20, 30)
	for range 3 {
		c.talk(name, outside, 0, to(hostAddress, 8000), 4)
		c.talk(name, outside, 0, to(hostAddress, 8001), 4)
	}
}

func (c *cast) between(name string) {
	back, database, host := c.spaces["back"], c.spaces["database"], c.e.Host()
	c.echo(name, back, c.ip["back"], c.ip["database"], 20, 24, 50)
	c.ask(name, database, to(c.ip["back"], 5000), 15, 20, 30)
	c.talk(name, back, 0, to(c.ip["database"], 8000), 5)
	c.talk(name, back, 0, to(c.ip6["database"], 8000), 5)
	c.ask(name, host, to(c.ip["back"], 5000), 15, 20, 30)
	c.talk(name, host, 0, to(c.ip["front"], 8000), 5)
}

// through6 asks the world by IPv6.
func (c *cast) through6(name string, in *netns.Handle, ip6 netip.Addr) {
	c.echo(name, in, ip6, world6, 10, 24, 70)
	c.ask(name, in, to(world6, 5000), 10, 20, 40)
	c.talk(name, in, 0, to(world6, 8000), 4)
}

// say sends datagrams that nobody answers.
func (c *cast) say(name string, in *netns.Handle, to netip.AddrPort, n int) {
	u := c.dial(name, in, netip.AddrPort{}, to)
	if u == nil {
		return
	}
	defer u.Close()
	for i := range n {
		_, err := u.Write(c.words(20 + i*30))
		c.must(err)
	}
}

// repeat sends one datagram over and over. It has no identification: it may not be
// cut, and the socket is connected to nobody.
func (c *cast) repeat(name string, in *netns.Handle, to netip.AddrPort) {
	from := netip.AddrPortFrom(c.ip["back"], c.number())
	u, err := lab.ListenUDP(in, from)
	c.must(err)
	if err != nil {
		return
	}
	defer u.Close()
	c.control(u, syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_DO)
	c.belongs(name, 17, from)
	same := c.words(40)
	for range 10 {
		_, err := u.WriteToUDPAddrPort(same, to)
		c.must(err)
	}
}

// control sets an option of a socket.
func (c *cast) control(s syscall.Conn, level, option, value int) {
	raw, err := s.SyscallConn()
	c.must(err)
	c.must(raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), level, option, value) }))
	c.must(err)
}

// shout sends to all of the container's network.
func (c *cast) shout(name string, in *netns.Handle) {
	u, err := lab.ListenUDP(in, netip.AddrPortFrom(c.ip["back"], c.number()))
	c.must(err)
	if err != nil {
		return
	}
	defer u.Close()
	c.belongs(name, 17, u.LocalAddr().(*net.UDPAddr).AddrPort())
	for i := range 5 {
		_, err := u.WriteToUDPAddrPort(c.words(20+i*30), netip.MustParseAddrPort("172.17.255.255:9999"))
		c.must(err)
	}
}

// tooLong sends what a router further on can't send in one piece, and may not
// cut: it says so (RFC 792).
func (c *cast) tooLong(name string, in *netns.Handle) {
	const pmtudiscProbe = 3 // ip(7): never cut, whatever was heard of the way
	for range 2 {
		u := c.dial(name, in, netip.AddrPort{}, to(tunnel, 9))
		if u == nil {
			return
		}
		c.control(u, syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, pmtudiscProbe)
		_, err := u.Write(c.words(1200))
		c.must(err)
		time.Sleep(2 * time.Millisecond)
		c.must(u.Close())
	}
}

// leak ends a connection whose entry is gone: its RST is INVALID.
func (c *cast) leak(name string) {
	conn := c.open(name, c.spaces["back"], 0, to(internet, 8000))
	if conn == nil {
		return
	}
	_, err := lab.Exchange(context.Background(), conn, c.words(30))
	c.must(err)
	port := conn.LocalAddr().(*net.TCPAddr).AddrPort().Port()
	if out, err := c.e.Command("conntrack", "-D", "-p", "tcp", "--orig-port-src", fmt.Sprint(port)).CombinedOutput(); err != nil {
		c.t.Errorf("conntrack -D: %v: %s", err, out)
	}
	for end := time.Now().Add(20 * time.Second); !c.tracked.Ended("tcp", port); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Errorf("conntrack does not tell that the entry of port %d is gone", port)
			return
		}
	}
	time.Sleep(time.Second) // until natlens has heard of it, too
	c.must(conn.SetLinger(0))
	c.must(conn.Close())
	// The far end never hears of it under a name that it knows; its next words
	// would be answered, so it has none.
}

// goOn exchanges words on connections that began before anybody watched.
func (c *cast) goOn(string) {
	for _, conn := range c.older {
		for range 3 {
			_, err := lab.Exchange(context.Background(), conn, c.words(40))
			c.must(err)
		}
	}
}

// unreached tries a connection whose answer comes from an address that was not
// asked.
func (c *cast) unreached(name string, in *netns.Handle, to netip.AddrPort) {
	port := c.number()
	c.belongs(name, 6, netip.AddrPortFrom(c.ip["database"], port))
	ctx, stop := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer stop()
	if conn, err := lab.DialTCP(ctx, in, netip.AddrPortFrom(netip.IPv4Unspecified(), port), to); err == nil {
		c.t.Errorf("%v was reached", to)
		_ = conn.Close()
	}
}
