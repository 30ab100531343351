package capture

import (
	"fmt"
	"time"

	"natlens/capture/packet"
)

const (
	// DefaultSnaplen keeps the headers of every packet and a little of what
	// is behind them. Copying whole packets costs packets: bulk TCP crosses a
	// veth in buffers of 64 KiB.
	DefaultSnaplen = 128
	// MaxSnaplen is the largest snap length: an IPv4 packet of the largest
	// size with its Ethernet header and two tags fits.
	MaxSnaplen = 65_535 + 14 + 8
	// DefaultBudget is how many bytes all rings of one Rings hold together.
	DefaultBudget = 64 << 20
)

// RetireTimeout is how long the kernel keeps a packet in a block that does not
// fill up, and so the latency that a ring adds at most (struct tpacket_req3,
// tp_retire_blk_tov). A ring with few blocks, as of a container where whole packets
// are captured, keeps it up to 64 ms, so as not to be full as soon as its reader has
// to wait for a processor.
const RetireTimeout = 10 * time.Millisecond

// Config says what rings capture. The zero Config captures the first 128 bytes
// of everything.
type Config struct {
	// Snaplen is how many bytes of a packet are kept, link header included;
	// 0 means DefaultSnaplen.
	Snaplen int
	// Protocols are the IP protocols wanted; nil means all. The kernel then
	// passes more than these, never less: packets that are not IP, IPv6
	// packets whose protocol stands behind extension headers, and neighbour
	// discovery pass too. Addresses and ports are not filtered here because
	// NAT changes them between two points.
	Protocols []packet.Protocol
	// Budget bounds the bytes of all rings together; 0 means DefaultBudget.
	Budget int
}

// withDefaults returns c with its zero fields replaced, or says which field is
// out of range.
func (c Config) withDefaults() (Config, error) {
	if c.Snaplen == 0 {
		c.Snaplen = DefaultSnaplen
	}
	if c.Snaplen < 0 || c.Snaplen > MaxSnaplen {
		return c, fmt.Errorf("snap length %d is not between 1 and %d", c.Snaplen, MaxSnaplen)
	}
	if c.Budget == 0 {
		c.Budget = DefaultBudget
	}
	if smallest := minimalGeometry(c.Snaplen).size(); c.Budget < smallest {
		return c, fmt.Errorf("ring budget %d is less than one ring of %d bytes", c.Budget, smallest)
	}
	return c, nil
}
