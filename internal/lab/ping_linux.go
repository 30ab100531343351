package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"natlens/netinfo/netns"
)

// Echo is what an ICMP echo request carries (RFC 792, RFC 4443).
type Echo struct {
	ID, Seq uint16
	Payload []byte
}

const (
	echoReply    = 0
	echoRequest  = 8
	echoRequest6 = 128
	echoReply6   = 129
)

// Ping sends one echo request from inside a namespace and waits for its reply
// until ctx is done, but at most ten seconds. It returns the time between. The request
// is sent even if ctx is done: a busy machine can't turn "no answer" into "not asked".
func Ping(ctx context.Context, from *netns.Handle, to netip.Addr, e Echo) (time.Duration, error) {
	rtt, err := ping(ctx, from, to, e)
	if err != nil {
		return 0, fmt.Errorf("ping %v: %w", to, err)
	}
	return rtt, nil
}

func ping(ctx context.Context, from *netns.Handle, to netip.Addr, e Echo) (time.Duration, error) {
	network, any, request, reply := "ip4:icmp", "0.0.0.0", byte(echoRequest), byte(echoReply)
	if to.Is6() {
		network, any, request, reply = "ip6:ipv6-icmp", "::", echoRequest6, echoReply6
	}
	var conn net.PacketConn
	err := from.Do(func() (err error) {
		conn, err = net.ListenPacket(network, any)
		return err
	})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	sent := time.Now()
	if _, err := conn.WriteTo(e.message(request), &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return 0, err
	}
	release, err := bound(ctx, conn, exchangeTimeout)
	if err != nil {
		return 0, err
	}
	defer release()

	want := withoutChecksum(e.message(reply))
	// net reads the IPv4 header, of up to 60 bytes, into buf and moves the
	// rest down over it; one byte more tells a longer message apart.
	buf := make([]byte, 60+len(want)+1)
	for {
		// A raw socket sees every ICMP message of its namespace (raw(7)).
		n, peer, err := conn.ReadFrom(buf)
		if err != nil {
			return 0, cause(ctx, err)
		}
		ip, ok := peer.(*net.IPAddr)
		if ok && ip.IP.Equal(to.AsSlice()) && n >= 4 && bytes.Equal(withoutChecksum(buf[:n]), want) {
			return time.Since(sent), nil
		}
	}
}

// withoutChecksum blanks a message's checksum. That of ICMPv6 covers addresses,
// and the kernel fills it in and checks it.
func withoutChecksum(m []byte) []byte {
	m[2], m[3] = 0, 0
	return m
}

// message is the ICMP message with the checksum of IPv4.
func (e Echo) message(kind byte) []byte {
	m := make([]byte, 8, 8+len(e.Payload))
	m[0] = kind
	binary.BigEndian.PutUint16(m[4:], e.ID)
	binary.BigEndian.PutUint16(m[6:], e.Seq)
	m = append(m, e.Payload...)
	binary.BigEndian.PutUint16(m[2:], checksum(m))
	return m
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
