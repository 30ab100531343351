package probe

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"natlens/capture/packet"
)

// tellErrors makes the socket tell of every ICMP error, and who sent it (ip(7) and
// ipv6(7), IP_RECVERR). Without, datagrams and raw sockets hear of a few only.
func tellErrors(fd int, p plan) error {
	if p.to.Addr().Is6() {
		return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVERR, 1)
	}
	return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_RECVERR, 1)
}

// objection takes what the socket was told out of its queue of errors; nil when there is
// nothing about this probe. others: there was, about other packets. A raw socket hears of
// all that was sent to its peer, also by other sockets.
func (a *attempt) objection() (x *Objection, others bool) {
	raw, err := a.socket.SyscallConn()
	if err != nil {
		return nil, false
	}
	_ = raw.Control(func(fd uintptr) { // closed: then there is nothing to be told
		quoted, control := make([]byte, 64), make([]byte, 256)
		for {
			n, oob, _, _, err := unix.Recvmsg(int(fd), quoted, control, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			said := objectionOf(control[:oob])
			switch {
			case said == nil:
			case a.sentThis(quoted[:n]):
				x = said
			default:
				others = true
			}
		}
	})
	return x, others
}

// sentThis reports whether an ICMP error is about this probe's packet: m is what the
// error quotes behind the IP header.
func (a *attempt) sentThis(m []byte) bool {
	if a.kind == packet.TCP || a.kind == packet.UDP {
		return true // such a socket hears of its own only
	}
	return len(m) >= 8 && binary.BigEndian.Uint16(m[4:]) == a.tuple.SourcePort && binary.BigEndian.Uint16(m[6:]) == a.seq
}

// objectionOf reads a control message with an error that came by ICMP (struct
// sock_extended_err, linux/errqueue.h, and the sender's address behind it).
func objectionOf(control []byte) *Objection {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	const size = int(unsafe.Sizeof(unix.SockExtendedErr{}))
	for _, m := range messages {
		if len(m.Data) < size+16 {
			continue
		}
		origin, x := m.Data[4], Objection{Type: m.Data[5], Code: m.Data[6]}
		sender := m.Data[size:]
		switch {
		case origin == unix.SO_EE_ORIGIN_ICMP:
			x.From = netip.AddrFrom4([4]byte(sender[4:8]))
		case origin == unix.SO_EE_ORIGIN_ICMP6 && len(sender) >= 24:
			x.From = netip.AddrFrom16([16]byte(sender[8:24]))
		default:
			continue
		}
		return &x
	}
	return nil
}
