package netinfo

import (
	"cmp"
	"math"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func newLinkFacts(l netlink.Link) linkFacts {
	a := l.Attrs()
	f := linkFacts{
		Link: Link{
			Key: LinkKey{Index: int32(a.Index)}, Name: a.Name, Kind: kindOf(l), MAC: macOf(a.HardwareAddr),
			MTU: a.MTU, State: a.OperState.String(), Up: a.Flags&net.FlagUp != 0,
			Promisc: a.Promisc != 0, PeerIndex: int32(a.ParentIndex), PeerNSID: nsidOf(a.NetNsID),
		},
		master: int32(a.MasterIndex),
	}
	switch f.Kind {
	case "macvlan", "macvtap", "ipvlan", "ipvtap", "vlan", "macsec":
		f.stacked = true
	}
	if m, ok := l.(*netlink.Macvlan); ok {
		f.Mode = macvlanModes[m.Mode]
	}
	// The kernel gives a link that stands on nothing its own index.
	if f.PeerIndex == f.Key.Index && f.PeerNSID == -1 {
		f.PeerIndex = 0
	}
	return f
}

// macvlanModes are the words that ip-link(8) has for them.
var macvlanModes = map[netlink.MacvlanMode]string{
	netlink.MACVLAN_MODE_PRIVATE: "private", netlink.MACVLAN_MODE_VEPA: "vepa", netlink.MACVLAN_MODE_BRIDGE: "bridge",
	netlink.MACVLAN_MODE_PASSTHRU: "passthru", netlink.MACVLAN_MODE_SOURCE: "source",
}

// nsidUnknown is what a link has whose other end is in a namespace that the
// kernel could give no id here.
const nsidUnknown = -2

// nsidOf tells "same namespace", an absent attribute, from an attribute that
// holds -1; the library reads the latter as an unsigned number.
func nsidOf(n int) int32 {
	if n > math.MaxInt32 {
		return nsidUnknown
	}
	return int32(n)
}

func kindOf(l netlink.Link) string {
	switch {
	case l.Attrs().Flags&net.FlagLoopback != 0:
		return "loopback"
	case l.Type() == "tuntap":
		return "tun" // as the kernel says it
	}
	return l.Type()
}

func macOf(a net.HardwareAddr) string {
	// Tunnels carry an IP address here, loopback zeros.
	if len(a) != 6 || slices.Equal(a, make(net.HardwareAddr, 6)) {
		return ""
	}
	return a.String()
}

func prefixFromNet(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok
}

// addRoute takes a route of the main or the local table, once for each of its
// next hops, and remembers the links of default routes in whatever table.
func (p *probe) addRoute(r netlink.Route) {
	if r.Family != unix.AF_INET && r.Family != unix.AF_INET6 {
		return
	}
	route := Route{Metric: r.Priority, Local: r.Type == unix.RTN_LOCAL}
	switch r.Type {
	case unix.RTN_UNICAST, unix.RTN_LOCAL:
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT:
		// IPv6 has one of these at the very end of its table (fib6_null_entry).
		if uint32(r.Priority) == math.MaxUint32 {
			return
		}
		r.LinkIndex = 0
	default:
		return
	}
	route.Destination = defaultOf(r.Family)
	if prefix, ok := prefixFromNet(r.Dst); ok {
		route.Destination = prefix
	}
	if a, ok := netip.AddrFromSlice(r.Src); ok {
		route.Source = a.Unmap()
	}
	for _, hop := range hopsOf(&r) {
		route.Link, route.Gateway = int32(hop.LinkIndex), gatewayOf(hop)
		if route.Default() && route.Link != 0 {
			p.defaults[route.Link] = true
		}
		if r.Table == unix.RT_TABLE_MAIN || r.Table == unix.RT_TABLE_LOCAL {
			p.routes = append(p.routes, route)
		}
	}
}

// compareRoutes orders routes as a lookup prefers them: long prefixes first,
// then low metrics.
func compareRoutes(a, b Route) int {
	return cmp.Or(
		cmp.Compare(a.Destination.Addr().BitLen(), b.Destination.Addr().BitLen()),
		-cmp.Compare(a.Destination.Bits(), b.Destination.Bits()),
		a.Destination.Addr().Compare(b.Destination.Addr()),
		cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.Link, b.Link), a.Gateway.Compare(b.Gateway),
	)
}

func defaultOf(family int) netip.Prefix {
	if family == unix.AF_INET6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// hopsOf are the next hops of a route, which has one or several.
func hopsOf(r *netlink.Route) []*netlink.NexthopInfo {
	if len(r.MultiPath) > 0 {
		return r.MultiPath
	}
	return []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via, Flags: r.Flags}}
}

// gatewayOf is invalid where a hop has none.
func gatewayOf(hop *netlink.NexthopInfo) netip.Addr {
	if a, ok := netip.AddrFromSlice(hop.Gw); ok {
		return a.Unmap()
	}
	if via, ok := hop.Via.(*netlink.Via); ok && via != nil {
		if a, ok := netip.AddrFromSlice(via.Addr); ok {
			return a.Unmap()
		}
	}
	return netip.Addr{}
}
