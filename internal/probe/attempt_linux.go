package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// attempt is one packet that was sent, and the socket that waits for its answer.
type attempt struct {
	kind    packet.Protocol // TCP, UDP, ICMP or ICMPv6
	tuple   packet.Tuple
	sent    time.Time
	seq     uint16
	payload []byte
	socket  *os.File
	// done: the kernel answered within the call that sent, with atOnce.
	done   bool
	atOnce error
	// objected is the ICMP error that ended the waiting; nil when none did.
	objected *Objection
	// gaveUp: the socket was closed so that the kernel does not repeat a SYN.
	gaveUp bool
}

// synAlone is how long a SYN may stay unanswered: after a second the kernel would send it
// again (RFC 6298, section 2.1). Closing the socket before says nothing to anybody. A busy
// machine may wake who waits half a second late.
const synAlone = 400 * time.Millisecond

// plan is what to send: one packet, from inside a namespace.
type plan struct {
	in       *netns.Handle
	link     string // to send by; empty leaves that to the routes
	protocol packet.Protocol
	to       netip.AddrPort
	id, seq  uint16 // of an echo request
	payload  []byte // of an echo request or a datagram
}

// send sends one packet. The error is the kernel's refusal to send: no route
// (ENETUNREACH, EHOSTUNREACH), a rule (EPERM). For TCP the packet is the first of
// a handshake.
func send(p plan) (_ *attempt, err error) {
	a := &attempt{kind: p.protocol, seq: p.seq, payload: p.payload}
	var fd int
	if err := p.in.Do(func() error {
		var err error
		fd, err = socketFor(p)
		return err
	}); err != nil {
		return nil, err
	}
	// From here on the descriptor is the file's.
	a.socket = os.NewFile(uintptr(fd), "probe")
	defer func() {
		if err != nil {
			err = errors.Join(err, a.socket.Close())
		}
	}()
	if p.link != "" {
		if err := unix.BindToDevice(fd, p.link); err != nil {
			return nil, fmt.Errorf("bind to %s: %w", p.link, err)
		}
	}
	if err := tellErrors(fd, p); err != nil {
		return nil, fmt.Errorf("ask for errors: %w", err)
	}
	if p.protocol != packet.TCP {
		if err := unix.Connect(fd, sockaddr(p.to)); err != nil {
			return nil, err
		}
		if a.tuple, err = tupleOf(fd, p); err != nil {
			return nil, err
		}
		a.sent = time.Now()
		_, err := unix.Write(fd, a.message(p))
		return a, err
	}
	return a, a.connect(fd, p)
}

// connect begins a handshake. The port is bound first, to the address that the
// routes choose: where the answer comes at once, as from this host itself, a
// socket that was refused no longer knows what it had sent.
func (a *attempt) connect(fd int, p plan) error {
	if err := abortOnClose(fd); err != nil {
		return err
	}
	source, err := sourceFor(p)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(source, 0))); err != nil {
		return fmt.Errorf("bind to %v: %w", source, err)
	}
	if a.tuple, err = tupleOf(fd, p); err != nil {
		return err
	}
	a.sent = time.Now()
	if err := unix.Connect(fd, sockaddr(p.to)); !errors.Is(err, unix.EINPROGRESS) {
		a.atOnce = err
		a.done = true
	}
	return nil
}

// sourceFor returns the address that packets to there get: a datagram socket's
// connect looks the route up and sends nothing.
func sourceFor(p plan) (netip.Addr, error) {
	p.protocol = packet.UDP
	var fd int
	if err := p.in.Do(func() (err error) {
		fd, err = socketFor(p)
		return err
	}); err != nil {
		return netip.Addr{}, err
	}
	defer func() { _ = unix.Close(fd) }() // nothing was sent or is to be lost
	if p.link != "" {
		if err := unix.BindToDevice(fd, p.link); err != nil {
			return netip.Addr{}, fmt.Errorf("bind to %s: %w", p.link, err)
		}
	}
	if err := unix.Connect(fd, sockaddr(p.to)); err != nil {
		return netip.Addr{}, err
	}
	t, err := tupleOf(fd, p)
	return t.Source(), err
}

// abortOnClose makes close end the connection by a reset: the other side's
// program learns at once that nothing follows, and no state stays behind here.
func abortOnClose(fd int) error {
	return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

func socketFor(p plan) (int, error) {
	family := unix.AF_INET
	if p.to.Addr().Is6() {
		family = unix.AF_INET6
	}
	kind, protocol := unix.SOCK_RAW, int(p.protocol)
	switch p.protocol {
	case packet.TCP:
		kind = unix.SOCK_STREAM
	case packet.UDP:
		kind = unix.SOCK_DGRAM
	}
	return unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// tupleOf returns what the packet carries when it leaves the socket.
func tupleOf(fd int, p plan) (packet.Tuple, error) {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return packet.Tuple{}, err
	}
	var source netip.AddrPort
	switch n := name.(type) {
	case *unix.SockaddrInet4:
		source = netip.AddrPortFrom(netip.AddrFrom4(n.Addr), uint16(n.Port))
	case *unix.SockaddrInet6:
		source = netip.AddrPortFrom(netip.AddrFrom16(n.Addr), uint16(n.Port))
	}
	switch p.protocol {
	case packet.ICMP:
		return packet.NewTuple(p.protocol, source.Addr(), p.to.Addr(), p.id, echoRequest<<8), nil
	case packet.ICMPv6:
		return packet.NewTuple(p.protocol, source.Addr(), p.to.Addr(), p.id, echoRequestV6<<8), nil
	}
	return packet.NewTuple(p.protocol, source.Addr(), p.to.Addr(), source.Port(), p.to.Port()), nil
}

// message is what is written to the socket.
func (a *attempt) message(p plan) []byte {
	switch p.protocol {
	case packet.ICMP:
		m := echo(echoRequest, p)
		binary.BigEndian.PutUint16(m[2:], checksum(m))
		return m
	case packet.ICMPv6:
		return echo(echoRequestV6, p) // the kernel sums it (RFC 3542, section 3.1)
	}
	return p.payload
}

func echo(kind byte, p plan) []byte {
	m := make([]byte, 8, 8+len(p.payload))
	m[0] = kind
	binary.BigEndian.PutUint16(m[4:], p.id)
	binary.BigEndian.PutUint16(m[6:], p.seq)
	return append(m, p.payload...)
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// close lets go of the socket; a connection ends with a reset.
func (a *attempt) close() { _ = a.socket.Close() }

// wait waits for the answer until ctx is done. For a SYN it waits no longer than the kernel
// would send one only, and then lets go of the socket: who is to wait on has to see the
// answer elsewhere.
func (a *attempt) wait(ctx context.Context) Answer {
	deadline, limited := ctx.Deadline()
	if alone := a.sent.Add(synAlone); a.kind == packet.TCP && (!limited || deadline.After(alone)) {
		deadline, limited = alone, true
	}
	if limited {
		_ = a.socket.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = a.socket.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var err error
	switch {
	case a.done:
		err = a.atOnce
	case a.kind == packet.TCP:
		err = a.established()
	default:
		err = a.answered()
	}
	answer := answerOf(err, time.Since(a.sent))
	if answer.Objection = a.objected; answer.Objection == nil && answer.Err != nil {
		answer.Objection, _ = a.objection()
	}
	if a.kind == packet.TCP && answer.Result == Silent {
		a.close()
		a.gaveUp = true
	}
	return answer
}

// established returns when the handshake has been done or refused.
func (a *attempt) established() error {
	raw, err := a.socket.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Write(func(fd uintptr) bool {
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = syscall.Errno(code)
		}
		if err != nil {
			result = err
			return true
		}
		// Before the answer there is no peer yet.
		_, err = unix.Getpeername(int(fd))
		return err == nil
	})
	return errors.Join(result, err)
}

// answered returns when the echo came back, or any datagram did.
func (a *attempt) answered() error {
	buf := make([]byte, 60+8+len(a.payload)+1)
	for {
		n, err := a.socket.Read(buf)
		if err != nil {
			var others bool
			if a.objected, others = a.objection(); a.objected == nil && others && !errors.Is(err, os.ErrDeadlineExceeded) {
				continue
			}
			return err
		}
		if a.kind == packet.UDP || a.isReply(buf[:n]) {
			return nil
		}
	}
}

// isReply reports whether a message is the reply to this echo request. A raw
// socket sees every ICMP message from its peer, and IPv4 with its header
// (raw(7)).
func (a *attempt) isReply(m []byte) bool {
	want := byte(echoReplyV6)
	if a.kind == packet.ICMP {
		want = echoReply
		if len(m) < 20 || len(m) < int(m[0]&0x0f)*4 {
			return false
		}
		m = m[int(m[0]&0x0f)*4:]
	}
	return len(m) >= 8 && m[0] == want && binary.BigEndian.Uint16(m[4:]) == a.tuple.SourcePort &&
		binary.BigEndian.Uint16(m[6:]) == a.seq && string(m[8:]) == string(a.payload)
}

// answerOf says what an error of the socket means for the probe.
func answerOf(err error, after time.Duration) Answer {
	answer := Answer{After: after, Err: err}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		answer.Err = errno // without the words of package os about files
	}
	switch {
	case err == nil:
		answer.Result = Replied
	case errors.Is(err, unix.ECONNREFUSED):
		answer.Result = Refused
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, unix.ETIMEDOUT):
		answer.Result = Silent
		answer.Err = nil
	default: // a router's or this host's own word
		answer.Result = Unreachable
	}
	return answer
}

// notSent says what the kernel's refusal to send means: EPERM is what the output
// hook's drop looks like to a sender (net/netfilter/core.c, nf_hook_slow). EACCES
// is the routes' word: one that prohibits, or one to a broadcast address
// (ip_route_output_key, ip(7)).
func notSent(err error) Answer {
	if errors.Is(err, unix.EPERM) {
		return Answer{Result: Forbidden, Err: err}
	}
	return Answer{Result: NotSent, Err: err}
}
