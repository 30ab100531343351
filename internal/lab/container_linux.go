package lab

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"natlens/netinfo/netns"
)

// Bridge is a bridge of the host with the address that is its containers'
// gateway.
type Bridge struct {
	Name string
	// Gateway is the bridge's own address, with the length of its subnet.
	Gateway netip.Prefix
	last    netip.Addr // given out last
}

// Subnet is the bridge's subnet, as rules and routes name it.
func (b *Bridge) Subnet() netip.Prefix { return b.Gateway.Masked() }

// Container is a namespace with an eth0, whose other end is a port of a
// bridge.
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
	b := &Bridge{Name: name, Gateway: gateway, last: gateway.Addr()}
	h.bridges = append(h.bridges, b)
	return b, nil
}

// Container makes a container on a bridge, with the next free address, the MAC
// that engines derive from it, and a default route over the bridge. It returns
// when packets can flow.
func (h *Host) Container(name string, on *Bridge) (*Container, error) {
	c, err := h.container(name, on)
	if err != nil {
		return nil, fmt.Errorf("make container %s: %w", name, err)
	}
	return c, nil
}

func (h *Host) container(name string, on *Bridge) (*Container, error) {
	address := on.last.Next()
	if !on.Gateway.Contains(address.Next()) { // the last one is for broadcast
		return nil, fmt.Errorf("no address left on %s", on.Name)
	}
	n, err := newNode(name)
	if err != nil {
		return nil, err
	}
	c := &Container{
		Name: name, Bridge: on, Address: address, MAC: macFromAddress(address),
		HostLink: fmt.Sprintf("veth%07x", hash(name)&0xfffffff), node: n,
	}
	if err := h.attach(c); err != nil {
		return nil, errors.Join(err, n.close())
	}
	on.last = address
	h.containers = append(h.containers, c)
	return c, nil
}

func (h *Host) attach(c *Container) error {
	if err := h.connect(c.HostLink, c.node, c.MAC); err != nil {
		return err
	}
	port, err := h.node.nl.LinkByName(c.HostLink)
	if err != nil {
		return fmt.Errorf("find link %s: %w", c.HostLink, err)
	}
	bridge, err := h.node.nl.LinkByName(c.Bridge.Name)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", c.Bridge.Name, err)
	}
	if err := h.node.nl.LinkSetMaster(port, bridge); err != nil {
		return fmt.Errorf("make %s a port of %s: %w", c.HostLink, c.Bridge.Name, err)
	}
	if err := h.node.nl.LinkSetUp(port); err != nil {
		return fmt.Errorf("set %s up: %w", c.HostLink, err)
	}
	cidr := netip.PrefixFrom(c.Address, c.Bridge.Gateway.Bits()).String()
	if err := c.node.address("eth0", cidr); err != nil {
		return err
	}
	if err := c.node.defaultRoute(c.Bridge.Gateway.Addr()); err != nil {
		return err
	}
	return errors.Join(c.node.awaitUp("eth0"), h.node.awaitUp(c.HostLink), h.node.awaitUp(c.Bridge.Name))
}

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
