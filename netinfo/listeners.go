package netinfo

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Listener is a socket that waits for others to begin: a TCP socket that
// listens, or a UDP socket that is not connected to one peer.
type Listener struct {
	Protocol string // tcp, udp
	// Address is what the socket is bound to. 0.0.0.0 means every IPv4 address
	// of its namespace. [::] means every IPv6 address and, unless the program
	// set IPV6_V6ONLY (ipv6(7)), every IPv4 address too; the kernel's table
	// does not say which.
	Address netip.AddrPort
	Inode   uint64 // of the socket, as in /proc/PID/fd
}

// Loopback reports whether only its own namespace can reach the socket.
func (l Listener) Loopback() bool { return l.Address.Addr().Unmap().IsLoopback() }

// Accepts reports whether what arrives for the address a, from outside the
// namespace, reaches the socket. For [::] and an IPv4 address it says yes,
// which is right unless the socket is IPV6_V6ONLY.
func (l Listener) Accepts(a netip.Addr) bool {
	own, a := l.Address.Addr(), a.Unmap().WithZone("")
	if own.IsUnspecified() {
		return own.Is6() || a.Is4()
	}
	return own.Unmap() == a
}

// Socket states as the tables in /proc/net show them
// (include/net/tcp_states.h). A UDP socket that has no peer shows CLOSE.
const (
	stateClose  = 0x07
	stateListen = 0x0a
)

// decodeListeners reads one of /proc/net/tcp, tcp6, udp or udp6 (proc_net(5),
// net/ipv4/tcp_ipv4.c get_tcp4_sock) and returns its waiting sockets in the
// order of the table. A table that is cut short or is none is an error, with
// what was read before it.
func decodeListeners(r io.Reader, protocol string) ([]Listener, error) {
	waiting := uint64(stateListen)
	if protocol == "udp" {
		waiting = stateClose
	}
	lines := bufio.NewScanner(r)
	if !lines.Scan() {
		return nil, errors.Join(errors.New("socket table: no header"), lines.Err())
	}
	var found []Listener
	for n := 2; lines.Scan(); n++ {
		// sl local remote state queues timer retransmits uid timeout inode …
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			return found, fmt.Errorf("socket table: line %d: %d fields, want 10", n, len(f))
		}
		state, err := strconv.ParseUint(f[3], 16, 8)
		if err != nil {
			return found, fmt.Errorf("socket table: line %d: state: %w", n, err)
		}
		if state != waiting {
			continue
		}
		l := Listener{Protocol: protocol}
		if l.Address, err = parseHexAddrPort(f[1]); err != nil {
			return found, fmt.Errorf("socket table: line %d: %w", n, err)
		}
		if l.Inode, err = strconv.ParseUint(f[9], 10, 64); err != nil {
			return found, fmt.Errorf("socket table: line %d: inode: %w", n, err)
		}
		found = append(found, l)
	}
	if err := lines.Err(); err != nil {
		return found, fmt.Errorf("socket table: %w", err)
	}
	return found, nil
}

// parseHexAddrPort reads "0100007F:1F90". The kernel prints an address as one
// or four 32-bit words of memory, each in the machine's own byte order, and the
// port as a number.
func parseHexAddrPort(s string) (netip.AddrPort, error) {
	address, port, ok := strings.Cut(s, ":")
	raw, err := hex.DecodeString(address)
	if !ok || err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, fmt.Errorf("address %q: want 8 or 32 hexadecimal digits and a port", s)
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q: %w", port, err)
	}
	for word := range slices.Chunk(raw, 4) {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	a, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(a, uint16(p)), nil
}

// sortListeners puts them in the order in which a person looks for one: by
// port, then protocol, then address.
func sortListeners(ls []Listener) {
	slices.SortFunc(ls, func(a, b Listener) int {
		if d := int(a.Address.Port()) - int(b.Address.Port()); d != 0 {
			return d
		}
		if d := strings.Compare(a.Protocol, b.Protocol); d != 0 {
			return d
		}
		return a.Address.Addr().Compare(b.Address.Addr())
	})
}
