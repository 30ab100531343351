package probe

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlens/capture"
	"natlens/netinfo"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// asksForNeighbour returns the next address that FROM's namespace has asked for
// and got no answer from (ip neigh: INCOMPLETE or FAILED); invalid when there is
// no such. A packet that waits for it is on no tap.
func (o *Outcome) asksForNeighbour(in *netns.Handle) (next netip.Addr) {
	_ = withRoutes(in, func(h *netlink.Handle) error { // what can't be asked is not known
		options := &netlink.RouteGetOptions{}
		if o.Source.Link != nil {
			options.OifIndex = int(o.Source.Link.Key.Index)
		}
		to := o.Destination.Address
		found, err := h.RouteGetWithOptions(to.AsSlice(), options)
		if err != nil || len(found) == 0 {
			return err
		}
		if gateway := addrOf(found[0].Gw); gateway.IsValid() {
			to = gateway
		}
		if unanswered(h, found[0].LinkIndex, to) {
			next = to
		}
		return nil
	})
	return next
}

// unanswered reports whether the namespace has asked by that link who has the address, and
// got no answer yet.
func unanswered(h *netlink.Handle, link int, a netip.Addr) bool {
	neighbours, err := h.NeighList(link, 0)
	if err != nil {
		return false
	}
	for _, n := range neighbours {
		if addrOf(n.IP) == a && n.State&(unix.NUD_INCOMPLETE|unix.NUD_FAILED) != 0 {
			return true
		}
	}
	return false
}

// withRoutes calls f with a socket that asks the namespace (rtnetlink(7)).
func withRoutes(in *netns.Handle, f func(*netlink.Handle) error) error {
	var h *netlink.Handle
	if err := in.Do(func() (err error) {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	}); err != nil {
		return err
	}
	defer h.Close()
	return f(h)
}

// noWayFrom says why the namespace that a packet came into can't send it on: it has no
// route, or nobody there has the next address. Empty where neither is so, or not known.
func noWayFrom(j *trace.Journey) (why string) {
	if j == nil || j.Topology == nil || len(j.Hops) == 0 || byRule(j) {
		return ""
	}
	end := &j.Hops[len(j.Hops)-1]
	n := j.Topology.Namespace(end.Point.Namespace)
	in := cameBy(j.Topology, end)
	if n == nil || in == nil || end.Point.Direction != capture.In {
		return ""
	}
	t := end.Headers.Tuple
	q := netinfo.RouteQuery{Source: t.Source(), Destination: t.Destination(), Protocol: uint8(t.Protocol), In: in.Key.Index}
	for i := range j.Flows {
		if f := &j.Flows[i]; f.Namespace == n.ID && f.Original == t {
			q.Destination = f.Reply.Source()
		}
	}
	d := n.Decide(q)
	switch {
	case d.Fate == netinfo.FateRefused && (d.Refusal == netinfo.NoRoute || d.Refusal == netinfo.Unreachable):
		by, reason := n.Refuses(q, d)
		if reason == "" {
			reason = by + " refuses it"
		}
		return reason
	case d.Fate != netinfo.FateForwarded || d.Link == 0:
		return ""
	}
	handle, err := n.Open()
	if err != nil {
		return ""
	}
	defer handle.Close()
	_ = withRoutes(handle, func(h *netlink.Handle) error { // what can't be asked is not known
		if out := j.Topology.Link(netinfo.LinkKey{Namespace: n.ID, Index: d.Link}); out != nil && unanswered(h, int(d.Link), d.Next) {
			why = fmt.Sprintf("%s asked who has %v, and nobody answered", out.Name, d.Next)
		}
		return nil
	})
	return why
}

// cameBy is the link that the rules and routes see the packet come in by: the bridge of a
// port.
func cameBy(t *netinfo.Topology, h *trace.Hop) *netinfo.Link {
	l := t.Link(netinfo.LinkKey{Namespace: h.Point.Namespace, Index: h.Point.Ifindex})
	if l != nil && l.Master != nil {
		return t.Link(*l.Master)
	}
	return l
}
