package lab

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// Bridge is a bridge of the host with the address that is its containers'
// gateway.
type Bridge struct {
	Name string
	// Gateway is the bridge's own address, with the length of its subnet.
	Gateway netip.Prefix
	last    netip.Addr // given out last
	// names, unless nil, are what its containers' resolvers know.
	names *names
}

// Subnet is the bridge's subnet, as rules and routes name it.
func (b *Bridge) Subnet() netip.Prefix { return b.Gateway.Masked() }

// Container is a namespace with an eth0, whose other end is a port of a bridge,
// unless it was made otherwise.
type Container struct {
	Name    string
	Bridge  *Bridge
	Address netip.Addr
	MAC     net.HardwareAddr
	// HostLink is the name of the veth's end on the host.
	HostLink string
	node     *node
}

// Namespace is the container's namespace, also found as /run/netns/NAME. It
// belongs to the host.
func (c *Container) Namespace() *netns.Handle { return c.node.ns }

// Bridge makes a bridge. Its containers get the addresses after its own. It
// has no masquerade until Masquerade is called.
func (h *Host) Bridge(name string, gateway netip.Prefix) (*Bridge, error) {
	link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{
		Name: name,
		// Without an address of its own a bridge takes its lowest port's, and
		// changes it when ports come and go. Engines set one, too.
		HardwareAddr: macFromName(name),
	}}
	if err := h.node.nl.LinkAdd(link); err != nil {
		return nil, fmt.Errorf("add bridge %s: %w", name, err)
	}
	h.node.onClose(func() error { return h.node.removeLink(name) })
	if err := h.node.address(name, gateway.String()); err != nil {
		return nil, err
	}
	if h.proxyless {
		// 127.0.0.1 as a source may cross the bridge (ip-sysctl.txt).
		if err := h.node.sysctl("net/ipv4/conf/"+name+"/route_localnet", "1"); err != nil {
			return nil, err
		}
	}
	b := &Bridge{Name: name, Gateway: gateway, last: gateway.Addr()}
	h.bridges = append(h.bridges, b)
	return b, nil
}

// Container makes a container on a bridge, with the next free address, the MAC
// that engines derive from it, and a default route over the bridge. It returns
// when packets can flow.
func (h *Host) Container(name string, on *Bridge) (*Container, error) {
	address, err := on.next()
	if err != nil {
		return nil, fmt.Errorf("make container %s: %w", name, err)
	}
	c := &Container{Name: name, Bridge: on, Address: address, MAC: macFromAddress(address), HostLink: hostLink(name)}
	return h.start(c, func() error {
		if err := h.plug(c, c.HostLink, "eth0", on, address); err != nil {
			return err
		}
		if on.names != nil {
			on.names.set(name, address)
			if err := c.resolve(on.names); err != nil {
				return err
			}
		}
		return c.node.defaultRoute(on.Gateway.Addr())
	})
}

// Isolated makes a container that has a loopback and nothing else.
func (h *Host) Isolated(name string) (*Container, error) {
	return h.start(&Container{Name: name}, func() error { return nil })
}

// Macvlan makes a container with a link of its own to the network outside: a macvlan
// of the host's uplink, in bridge mode, with the internet as its gateway.
func (h *Host) Macvlan(name string, address netip.Prefix) (*Container, error) {
	c := &Container{Name: name, Address: address.Addr(), MAC: macFromAddress(address.Addr())}
	return h.start(c, func() error {
		parent, err := h.node.nl.LinkByName(Uplink)
		if err != nil {
			return fmt.Errorf("find link %s: %w", Uplink, err)
		}
		// Made in the container's namespace at once, it needs no name here.
		link := &netlink.Macvlan{
			LinkAttrs: netlink.LinkAttrs{Name: "eth0", ParentIndex: parent.Attrs().Index, Namespace: netlink.NsFd(c.node.ns.Fd()), HardwareAddr: c.MAC},
			Mode:      netlink.MACVLAN_MODE_BRIDGE,
		}
		if err := h.node.nl.LinkAdd(link); err != nil {
			return fmt.Errorf("add macvlan of %s: %w", Uplink, err)
		}
		if err := c.node.address("eth0", address.String()); err != nil {
			return err
		}
		if err := c.node.defaultRoute(GatewayAddress); err != nil {
			return err
		}
		return c.node.awaitUp("eth0")
	})
}

// start makes the namespace of a container, and furnishes it.
func (h *Host) start(c *Container, furnish func() error) (*Container, error) {
	n, err := newNode(c.Name)
	if err != nil {
		return nil, fmt.Errorf("make container %s: %w", c.Name, err)
	}
	c.node = n
	if err := furnish(); err != nil {
		return nil, errors.Join(fmt.Errorf("make container %s: %w", c.Name, err), n.close())
	}
	h.containers = append(h.containers, c)
	return c, nil
}

// Connect puts a container on one more bridge, by a veth whose inner end is
// called eth1, and returns its address there. Its default route stays.
func (h *Host) Connect(c *Container, to *Bridge) (netip.Addr, error) {
	address, err := to.next()
	if err == nil {
		err = h.plug(c, hostLink(c.Name+" "+to.Name), "eth1", to, address)
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("connect %s to %s: %w", c.Name, to.Name, err)
	}
	if to.names != nil {
		to.names.set(c.Name, address)
	}
	return address, nil
}

// RouteBy makes a bridge's gateway a container's default route. Of the networks of a
// container an engine takes the one for it whose name comes first.
func (c *Container) RouteBy(b *Bridge) error {
	err := c.node.nl.RouteReplace(&netlink.Route{Gw: b.Gateway.Addr().AsSlice(), Protocol: unix.RTPROT_BOOT})
	if err != nil {
		return fmt.Errorf("make %v the default route of %s: %w", b.Gateway.Addr(), c.Name, err)
	}
	return nil
}

// Remove ends a container and everything in it. Its address is free again.
func (h *Host) Remove(c *Container) error {
	h.containers = slices.DeleteFunc(h.containers, func(other *Container) bool { return other == c })
	err := h.node.removeLink(c.HostLink) // its namespace dies later than its name
	if b := c.Bridge; b != nil {
		if b.names != nil {
			b.names.remove(c.Name)
		}
		b.last = b.Gateway.Addr()
		for _, other := range h.containers {
			if other.Bridge == b && b.last.Less(other.Address) {
				b.last = other.Address
			}
		}
	}
	if err = errors.Join(err, c.node.close()); err != nil {
		return fmt.Errorf("remove container %s: %w", c.Name, err)
	}
	return nil
}

// next gives out an address.
func (b *Bridge) next() (netip.Addr, error) {
	address := b.last.Next()
	if !b.Gateway.Contains(address.Next()) { // the last one is for broadcast
		return netip.Addr{}, fmt.Errorf("no address left on %s", b.Name)
	}
	b.last = address
	return address, nil
}

// plug makes a veth between a container and a port of a bridge, and waits until
// packets can flow.
func (h *Host) plug(c *Container, outer, inner string, on *Bridge, address netip.Addr) error {
	if err := h.connect(outer, c.node, inner, macFromAddress(address)); err != nil {
		return err
	}
	port, err := h.node.nl.LinkByName(outer)
	if err != nil {
		return fmt.Errorf("find link %s: %w", outer, err)
	}
	bridge, err := h.node.nl.LinkByName(on.Name)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", on.Name, err)
	}
	if err := h.node.nl.LinkSetMaster(port, bridge); err != nil {
		return fmt.Errorf("make %s a port of %s: %w", outer, on.Name, err)
	}
	if h.proxyless {
		// A frame may go back to where it came from: its sender asked for itself.
		if err := h.node.nl.LinkSetHairpin(port, true); err != nil {
			return fmt.Errorf("let %s send back: %w", outer, err)
		}
	}
	if err := h.node.nl.LinkSetUp(port); err != nil {
		return fmt.Errorf("set %s up: %w", outer, err)
	}
	cidr := netip.PrefixFrom(address, on.Gateway.Bits()).String()
	if err := c.node.address(inner, cidr); err != nil {
		return err
	}
	return errors.Join(c.node.awaitUp(inner), h.node.awaitUp(outer), h.node.awaitUp(on.Name))
}

// hostLink names the host's end of a veth: as engines' names look, but the same
// each time.
func hostLink(of string) string { return fmt.Sprintf("veth%07x", hash(of)&0xfffffff) }

// macFromAddress is how Docker makes an endpoint's MAC: a locally administered
// prefix, then the IPv4 address.
func macFromAddress(a netip.Addr) net.HardwareAddr {
	ip := a.As4()
	return net.HardwareAddr{0x02, 0x42, ip[0], ip[1], ip[2], ip[3]}
}

// macFromName gives a bridge the same address each time it is made, so that
// what people and tests see of a lab repeats.
func macFromName(name string) net.HardwareAddr {
	h := hash(name)
	return net.HardwareAddr{0x02, 0x42, byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h)}
}

func hash(s string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(s)) // never fails
	return h.Sum32()
}
