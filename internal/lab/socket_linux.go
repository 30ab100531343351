package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"natlens/netinfo/netns"
)

// exchangeTimeout bounds every exchange in a lab, where nothing is far away, but where a
// segment may be lost twice, and the machine be busy.
const exchangeTimeout = 10 * time.Second

// family names a protocol for the family of an address: "0.0.0.0" alone would
// mean both.
func family(protocol string, a netip.AddrPort) string {
	if a.Addr().Is4() {
		return protocol + "4"
	}
	return protocol + "6"
}

// ListenTCP opens a listener inside a namespace. Port 0 picks a free one.
func ListenTCP(in *netns.Handle, at netip.AddrPort) (*net.TCPListener, error) {
	var l *net.TCPListener
	err := in.Do(func() (err error) {
		l, err = net.ListenTCP(family("tcp", at), net.TCPAddrFromAddrPort(at))
		return err
	})
	return l, err
}

// ListenUDP opens a datagram socket inside a namespace.
func ListenUDP(in *netns.Handle, at netip.AddrPort) (*net.UDPConn, error) {
	var c *net.UDPConn
	err := in.Do(func() (err error) {
		c, err = net.ListenUDP(family("udp", at), net.UDPAddrFromAddrPort(at))
		return err
	})
	return c, err
}

// DialTCP connects from inside a namespace. The zero from means any address
// and port.
func DialTCP(ctx context.Context, in *netns.Handle, from, to netip.AddrPort) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	var c *net.TCPConn
	// Given addresses, not names, net makes the socket on the calling thread.
	err := in.Do(func() (err error) {
		c, err = new(net.Dialer).DialTCP(ctx, family("tcp", to), from, to)
		return err
	})
	return c, err
}

// DialUDP opens a datagram socket inside a namespace that talks to one
// address. The zero from means any address and port.
func DialUDP(in *netns.Handle, from, to netip.AddrPort) (*net.UDPConn, error) {
	var c *net.UDPConn
	err := in.Do(func() (err error) {
		c, err = new(net.Dialer).DialUDP(context.Background(), family("udp", to), from, to)
		return err
	})
	return c, err
}

// Exchange sends one datagram and returns the next that comes back, until ctx
// is done, but at most ten seconds later.
func Exchange(ctx context.Context, c net.Conn, payload []byte) ([]byte, error) {
	release, err := bound(ctx, c, exchangeTimeout)
	if err != nil {
		return nil, err
	}
	defer release()
	if _, err := c.Write(payload); err != nil {
		return nil, err
	}
	buf := make([]byte, 1<<16)
	n, err := c.Read(buf)
	if err != nil {
		return nil, cause(ctx, err)
	}
	return buf[:n], nil
}

// Get fetches a page from inside a namespace, over a connection of its own,
// and returns what the server said.
func Get(ctx context.Context, from *netns.Handle, server netip.AddrPort) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	// The transport's own goroutine could still dial when the namespace is closed.
	conn, err := DialTCP(ctx, from, netip.AddrPort{}, server)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+server.String()+"/", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("read page of %v: %w", server, err)
	}
	return string(body), nil
}

// bound makes reads and writes of c end with ctx, and after atMost. release takes that
// back.
func bound(ctx context.Context, c interface{ SetDeadline(time.Time) error }, atMost time.Duration) (release func(), err error) {
	if err := c.SetDeadline(time.Now().Add(atMost)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			c.SetDeadline(time.Time{})
		}
	}, nil
}

// cause prefers the reason why ctx ended to the time-out it made of a read.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
