package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"natlens/netinfo/netns"
)

// A Server answers on one socket until it is closed.
type Server struct {
	addr  netip.AddrPort
	close func() error
	done  chan error
}

// Addr is where the server listens.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Close closes the socket, with all connections, and waits for the server to
// end.
func (s *Server) Close() error {
	return errors.Join(s.close(), <-s.done)
}

// ServeHTTP answers every request inside a namespace with one text.
func ServeHTTP(in *netns.Handle, at netip.AddrPort, text string) (*Server, error) {
	l, err := ListenTCP(in, at)
	if err != nil {
		return nil, fmt.Errorf("serve HTTP: %w", err)
	}
	h := &http.Server{
		ReadTimeout: exchangeTimeout, WriteTimeout: exchangeTimeout,
		// A client that hangs up early is its own business.
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }),
	}
	s := &Server{addr: l.Addr().(*net.TCPAddr).AddrPort(), close: h.Close, done: make(chan error, 1)}
	go func() {
		err := h.Serve(l)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		s.done <- err
	}()
	return s, nil
}

// EchoUDP sends every datagram inside a namespace back to where it came from.
func EchoUDP(in *netns.Handle, at netip.AddrPort) (*Server, error) {
	c, err := ListenUDP(in, at)
	if err != nil {
		return nil, fmt.Errorf("echo UDP: %w", err)
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
			// An answer that can't be sent is lost, as any datagram may be.
			_, _ = c.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	return s, nil
}

// ServeHTTP answers every request to a port of the container with one text,
// on all its addresses, until the host is closed.
func (c *Container) ServeHTTP(port uint16, text string) error {
	return c.serveHTTP(netip.AddrPortFrom(netip.IPv4Unspecified(), port), text)
}

func (c *Container) serveHTTP(at netip.AddrPort, text string) error {
	s, err := ServeHTTP(c.node.ns, at, text)
	if err != nil {
		return err
	}
	c.node.onClose(s.Close)
	return nil
}

// ServeHTTP answers every request to a port of the host itself with one text,
// until the host is closed.
func (h *Host) ServeHTTP(port uint16, text string) error {
	s, err := ServeHTTP(h.node.ns, netip.AddrPortFrom(netip.IPv4Unspecified(), port), text)
	if err != nil {
		return err
	}
	h.node.onClose(s.Close)
	return nil
}

// EchoUDP answers every datagram to a port of the container with its own
// payload, on all its addresses, until the host is closed.
func (c *Container) EchoUDP(port uint16) error {
	s, err := EchoUDP(c.node.ns, netip.AddrPortFrom(netip.IPv4Unspecified(), port))
	if err != nil {
		return err
	}
	c.node.onClose(s.Close)
	return nil
}

// answerLines answers every line that a client says to a port of the container with
// one line, until the host is closed.
func (c *Container) answerLines(port uint16, line string) error {
	l, err := ListenTCP(c.node.ns, netip.AddrPortFrom(netip.IPv4Unspecified(), port))
	if err != nil {
		return fmt.Errorf("answer lines: %w", err)
	}
	s := &Server{addr: l.Addr().(*net.TCPAddr).AddrPort(), close: l.Close, done: make(chan error, 1)}
	go func() {
		var clients sync.WaitGroup
		for {
			conn, err := l.Accept()
			if err != nil {
				clients.Wait()
				if errors.Is(err, net.ErrClosed) {
					err = nil
				}
				s.done <- err
				return
			}
			clients.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(exchangeTimeout))
				// A client that hangs up early is its own business.
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					_, _ = io.WriteString(conn, line)
				}
			})
		}
	}()
	c.node.onClose(s.Close)
	return nil
}
