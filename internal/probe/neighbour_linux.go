package probe

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// asksForNeighbour returns the next address that FROM's namespace has asked for
// and got no answer from (ip neigh: INCOMPLETE or FAILED); invalid when there is
// no such. A packet that waits for it is on no tap.
func (o *Outcome) asksForNeighbour(in *netns.Handle) netip.Addr {
	var h *netlink.Handle
	if err := in.Do(func() (err error) {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	}); err != nil {
		return netip.Addr{}
	}
	defer h.Close()
	next := o.Destination.Address
	options := &netlink.RouteGetOptions{}
	if o.Source.Link != nil {
		options.OifIndex = int(o.Source.Link.Key.Index)
	}
	found, err := h.RouteGetWithOptions(next.AsSlice(), options)
	if err != nil || len(found) == 0 {
		return netip.Addr{}
	}
	if gateway := addrOf(found[0].Gw); gateway.IsValid() {
		next = gateway
	}
	neighbours, err := h.NeighList(found[0].LinkIndex, 0)
	if err != nil {
		return netip.Addr{}
	}
	for _, n := range neighbours {
		if addrOf(n.IP) == next && n.State&(unix.NUD_INCOMPLETE|unix.NUD_FAILED) != 0 {
			return next
		}
	}
	return netip.Addr{}
}
