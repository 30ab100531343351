// Package probe asks the network a question by sending one packet of its own
// from inside a container's namespace, and works out the answer from what
// natlens sees of it: where it was expected to go, where it went, what came
// back. It writes no sentence; views do.
package probe

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"natlens/capture/packet"
)

// Request is a question as it is typed: FROM TO[:PORT][/PROTOCOL].
type Request struct {
	From string // a container, a link or "host"
	To   string // a container, a name or an address
	Port uint16 // 0 for an echo request
	// Protocol is TCP or UDP with a port, ICMP without; which ICMP it is the
	// address decides.
	Protocol packet.Protocol
}

// String returns the question as it can be typed.
func (r Request) String() string { return r.From + " -> " + r.Target() }

// Target returns TO[:PORT][/udp].
func (r Request) Target() string {
	if r.Port == 0 {
		return r.To
	}
	to := r.To
	if strings.Contains(to, ":") {
		to = "[" + to + "]"
	}
	to += ":" + strconv.Itoa(int(r.Port))
	if r.Protocol == packet.UDP {
		to += "/udp"
	}
	return to
}

// Parse reads a question. udp asks for a datagram where the target does not say
// so itself. An IPv6 address with a port stands in brackets.
func Parse(from, target string, udp bool) (Request, error) {
	r := Request{From: from, Protocol: packet.TCP}
	if from == "" || target == "" {
		return Request{}, fmt.Errorf("FROM and TO are a container, an address or a name, not %q", "")
	}
	if scheme, host, ok := strings.Cut(target, "://"); ok {
		host, _, _ = strings.Cut(host, "/")
		if port := map[string]string{"http": "80", "https": "443"}[scheme]; port != "" && !strings.Contains(host, ":") {
			host += ":" + port
		}
		return Request{}, fmt.Errorf("%s: TO is a host and a port, not a URL; write %s", target, host)
	}
	rest := target
	if before, protocol, ok := strings.Cut(target, "/"); ok {
		rest = before
		switch protocol {
		case "udp":
			udp = true
		case "tcp":
		default:
			return Request{}, fmt.Errorf("%s: the protocol is tcp or udp, not %q", target, protocol)
		}
	}
	if udp {
		r.Protocol = packet.UDP
	}
	host, port, hasPort := splitPort(rest)
	if host == "" {
		return Request{}, fmt.Errorf("%s: no container, name or address before the port", target)
	}
	r.To = host
	if a, err := netip.ParseAddr(host); err == nil && notOneHosts(a) {
		return Request{}, fmt.Errorf("%s: a probe asks one host, and %s is not the address of one", target, host)
	}
	if !hasPort {
		if r.Protocol == packet.UDP || strings.HasSuffix(target, "/tcp") {
			return Request{}, fmt.Errorf("%s: %v needs a port, as in %s:53", target, r.Protocol, host)
		}
		r.Protocol = packet.ICMP
		return r, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Request{}, fmt.Errorf("%s: the port is a number from 1 to 65535, not %q", target, port)
	}
	r.Port = uint16(n)
	return r, nil
}

// notOneHosts reports whether an address is a group's, everybody's or nobody's.
func notOneHosts(a netip.Addr) bool {
	return a.IsMulticast() || a.IsUnspecified() || a.Unmap() == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// splitPort cuts the port off; an IPv6 address without brackets has none.
func splitPort(s string) (host, port string, ok bool) {
	if inner, after, bracketed := strings.Cut(strings.TrimPrefix(s, "["), "]"); bracketed && strings.HasPrefix(s, "[") {
		port, ok = strings.CutPrefix(after, ":")
		return inner, port, ok
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Is6() {
		return s, "", false
	}
	return cutLast(s)
}

func cutLast(s string) (host, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// Message types of ICMP (RFC 792) and ICMPv6 (RFC 4443).
const (
	echoRequest   = 8
	echoReply     = 0
	echoRequestV6 = 128
	echoReplyV6   = 129
)
