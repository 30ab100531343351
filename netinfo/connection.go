package netinfo

import (
	"fmt"
	"net/netip"
)

// Connection is a socket by its two ends, as it sees them itself.
type Connection struct {
	Protocol string // tcp, udp
	Local    netip.AddrPort
	// Remote is the other end; the zero AddrPort means a socket that listens at
	// Local.
	Remote netip.AddrPort
}

// String is "tcp 172.17.0.1:40000 > 172.17.0.2:80".
func (c Connection) String() string {
	if !c.Remote.IsValid() {
		return fmt.Sprintf("%s listener at %v", c.Protocol, c.Local)
	}
	return fmt.Sprintf("%s %v > %v", c.Protocol, c.Local, c.Remote)
}
