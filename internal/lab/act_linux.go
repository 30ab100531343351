package lab

import (
	"context"
	"fmt"
	"net/netip"

	"natlens/netinfo/netns"
)

// openings picks what tells a story: pings, and of a connection its opening and
// its data. Acknowledgements and the end go the same way.
const openings = "icmp or tcp[tcpflags] & (tcp-syn|tcp-push) != 0"

// What follows makes the acts of scenarios.

// place finds a container's namespace by name, or the internet's or the host's.
func (h *Host) place(name string) (*netns.Handle, error) {
	switch c := h.Find(name); {
	case c != nil:
		return c.Namespace(), nil
	case name == InternetName:
		return h.Internet(), nil
	case name == "host":
		return h.Namespace(), nil
	}
	return nil, fmt.Errorf("no container %s", name)
}

// pings sends echo requests from a place, each after the reply to the one before.
func pings(from string, to netip.Addr, count uint16) func(context.Context, *Host) error {
	return func(ctx context.Context, h *Host) error {
		ns, err := h.place(from)
		if err != nil {
			return err
		}
		for seq := range count {
			if _, err := Ping(ctx, ns, to, echoOf(seq+1)); err != nil {
				return err
			}
		}
		return nil
	}
}

// echoOf makes an echo request of the size of ping's, so that lengths look
// familiar.
func echoOf(seq uint16) Echo { return Echo{ID: 0x4e4c, Seq: seq, Payload: make([]byte, 56)} }

// fetches gets a page from a place.
func fetches(from string, server netip.AddrPort) func(context.Context, *Host) error {
	return func(ctx context.Context, h *Host) error {
		ns, err := h.place(from)
		if err != nil {
			return err
		}
		_, err = Get(ctx, ns, server)
		return err
	}
}

// startsOn starts a container on a bridge.
func startsOn(bridge, name string) func(context.Context, *Host) error {
	return func(_ context.Context, h *Host) error {
		_, err := h.Container(name, h.findBridge(bridge))
		return err
	}
}

// startsIsolated starts a container without a network.
func startsIsolated(name string) func(context.Context, *Host) error {
	return func(_ context.Context, h *Host) error {
		_, err := h.Isolated(name)
		return err
	}
}

// backNet and backGateway are the custom network of the scenarios.
const backNet = "br-back_net"

var backGateway = netip.MustParsePrefix("172.24.0.1/16")

// fetchesByName asks from a container for a name and gets a page from there.
func fetchesByName(from, name string, port uint16) func(context.Context, *Host) error {
	return func(ctx context.Context, h *Host) error {
		ns, err := h.place(from)
		if err != nil {
			return err
		}
		a, err := Resolve(ctx, ns, name)
		if err != nil {
			return err
		}
		_, err = Get(ctx, ns, netip.AddrPortFrom(a, port))
		return err
	}
}

// ends removes a container.
func ends(name string) func(context.Context, *Host) error {
	return func(_ context.Context, h *Host) error {
		c := h.Find(name)
		if c == nil {
			return fmt.Errorf("no container %s", name)
		}
		return h.Remove(c)
	}
}

// connects puts a container on one more bridge, whose name comes first.
func connects(bridge, name string) func(context.Context, *Host) error {
	return func(_ context.Context, h *Host) error {
		c, b := h.Find(name), h.findBridge(bridge)
		if _, err := h.Connect(c, b); err != nil {
			return err
		}
		return c.RouteBy(b)
	}
}

// pingsByName asks from a container for a name and pings what it is told.
func pingsByName(from, name string) func(context.Context, *Host) error {
	return func(ctx context.Context, h *Host) error {
		ns, err := h.place(from)
		if err != nil {
			return err
		}
		a, err := Resolve(ctx, ns, name)
		if err != nil {
			return err
		}
		_, err = Ping(ctx, ns, a, echoOf(1))
		return err
	}
}
