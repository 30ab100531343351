package netfilter

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// socket is a non-blocking nfnetlink socket. It stays in the namespace it was
// opened in, and keeps that namespace alive. The owner closes it.
type socket struct {
	fd       int
	sequence uint32
}

// openSocket opens a socket inside ns and joins the multicast groups whose bits
// are set (group n is bit n-1). A receive buffer of 0 leaves the system's
// default. It needs CAP_NET_ADMIN in the user namespace that owns ns.
func openSocket(ns *netns.Handle, groups uint32, receiveBuffer int) (*socket, error) {
	s := &socket{fd: -1}
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
		if err != nil {
			return fmt.Errorf("open socket: %w", err)
		}
		s.fd = fd
		return nil
	})
	if err != nil {
		return nil, err
	}
	if receiveBuffer > 0 {
		// FORCE may pass net.core.rmem_max; it is refused in a user
		// namespace, where the other one is capped there instead.
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); err != nil {
				return nil, errors.Join(fmt.Errorf("set receive buffer: %w", err), s.close())
			}
		}
	}
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, errors.Join(fmt.Errorf("join groups: %w", err), s.close())
	}
	return s, nil
}

func (s *socket) close() error { return unix.Close(s.fd) }

// request sends one request to the kernel, which answers within the call: what
// the answer holds at first can be received when request returns.
func (s *socket) request(subsystem, sub uint8, flags uint16, family uint8, attrs []byte) error {
	s.sequence++
	b := appendRequest(nil, subsystem, sub, flags, s.sequence, family, attrs)
	return unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// dropped returns how many messages the kernel has thrown away because the
// receive buffer was full, since the socket was opened (sock_diag(7),
// SK_MEMINFO_DROPS). It wraps.
func (s *socket) dropped() uint32 {
	const dropsIndex = 8
	var info [dropsIndex + 1]uint32
	length := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 || length < uint32(unsafe.Sizeof(info)) {
		return 0
	}
	return info[dropsIndex]
}

// receiver holds the buffers that many sockets are read into, one after the
// other, several datagrams a system call (recvmmsg(2)). It belongs to one
// goroutine.
type receiver struct {
	memory    []byte
	size      int // of each datagram's buffer
	datagrams []datagram
	vectors   []unix.Iovec
	senders   []unix.RawSockaddrNetlink
}

// datagram is struct mmsghdr.
type datagram struct {
	header unix.Msghdr
	length uint32
}

func newReceiver(count, size int) *receiver {
	r := &receiver{
		memory: make([]byte, count*size), size: size,
		datagrams: make([]datagram, count),
		vectors:   make([]unix.Iovec, count),
		senders:   make([]unix.RawSockaddrNetlink, count),
	}
	for i := range r.datagrams {
		r.vectors[i].Base = &r.memory[i*size]
		r.vectors[i].SetLen(size)
		h := &r.datagrams[i].header
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.senders[i]))
	}
	return r
}

// receive reads what waits in s, without blocking, and returns the number of
// datagrams; EAGAIN when there is none, ENOBUFS once after the kernel had to
// drop some. The datagrams hold until the next call.
func (r *receiver) receive(s *socket) (int, error) {
	for i := range r.datagrams {
		r.datagrams[i].header.Namelen = uint32(unsafe.Sizeof(r.senders[i]))
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&r.datagrams[0])),
			uintptr(len(r.datagrams)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}

// datagram returns the i-th datagram that receive read. It reports false when
// it does not come from the kernel (a process with CAP_NET_ADMIN may write to
// the groups, too) or did not fit.
func (r *receiver) datagram(i int) ([]byte, bool) {
	d := &r.datagrams[i]
	if r.senders[i].Pid != 0 || d.header.Flags&unix.MSG_TRUNC != 0 {
		return nil, false
	}
	return r.memory[i*r.size:][:d.length], true
}
