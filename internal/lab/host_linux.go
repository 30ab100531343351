package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// Addresses of every lab, from the ranges for documentation (RFC 5737).
var (
	// HostAddress is the host's own on its uplink, eth0.
	HostAddress = netip.MustParseAddr("192.0.2.10")
	// GatewayAddress is the internet's end of the uplink.
	GatewayAddress = netip.MustParseAddr("192.0.2.1")
	// ServerAddress is a machine behind the gateway.
	ServerAddress = netip.MustParseAddr("198.51.100.7")
	// BridgePrefix is docker0's usual address and subnet.
	BridgePrefix = netip.MustParsePrefix("172.17.0.1/16")
)

const (
	// Uplink is the name of the host's link to the internet.
	Uplink = "eth0"
	// InternetName is the name of the internet's namespace.
	InternetName = "internet"
)

// Host is a Docker-like host, built in the namespace that New was called in.
// It and what comes from it are for one goroutine; the namespaces may be used
// by any number.
type Host struct {
	node       *node
	internet   *node
	bridges    []*Bridge
	containers []*Container
	proxyless  bool
	nat        *nat    // nil until a rule is wanted
	filter     *filter // nil until a network is made
}

// New makes the current namespace a host with an uplink to the internet and
// forwarding on, without bridges, containers and rules. It works only in a
// process that has entered a lab, where no real link can come to harm.
func New() (*Host, error) {
	if !entered {
		return nil, errors.New("build host: not inside a lab")
	}
	h := new(Host)
	if err := h.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("build host: %w", err), h.Close())
	}
	return h, nil
}

func (h *Host) build() error {
	ns, err := netns.Current()
	if err != nil {
		return err
	}
	if h.node, err = nodeAt("host", ns); err != nil {
		return err
	}
	if err := h.node.quiet(); err != nil {
		return err
	}
	// Flows outlive links and rules; a later host must not inherit them.
	h.node.onClose(func() error { return h.node.nl.ConntrackTableFlush(netlink.ConntrackTable) })
	if err := h.node.sysctl("net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	if h.internet, err = newNode(InternetName); err != nil {
		return err
	}
	if err := h.connect(Uplink, h.internet, "eth0", nil); err != nil {
		return err
	}
	for _, a := range []struct {
		node *node
		link string
		cidr string
	}{
		{h.node, Uplink, HostAddress.String() + "/24"},
		{h.internet, Uplink, GatewayAddress.String() + "/24"},
		{h.internet, "lo", ServerAddress.String() + "/32"},
	} {
		if err := a.node.address(a.link, a.cidr); err != nil {
			return err
		}
	}
	if err := h.node.awaitUp(Uplink); err != nil {
		return err
	}
	if err := h.internet.awaitUp("eth0"); err != nil {
		return err
	}
	return h.node.defaultRoute(GatewayAddress)
}

// connect makes a veth from the host to a link of another namespace. The host's
// end disappears when the host is closed, and the other end with it.
func (h *Host) connect(name string, to *node, link string, mac net.HardwareAddr) error {
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: name},
		PeerName:         link,
		PeerHardwareAddr: mac,
		PeerNamespace:    netlink.NsFd(to.ns.Fd()),
	}
	if err := h.node.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("add veth %s to %s: %w", name, to.name, err)
	}
	h.node.onClose(func() error { return h.node.removeLink(name) })
	return nil
}

func (n *node) defaultRoute(gateway netip.Addr) error {
	err := n.nl.RouteAdd(&netlink.Route{Gw: gateway.AsSlice(), Protocol: unix.RTPROT_BOOT})
	if err != nil {
		return fmt.Errorf("add default route of %s via %v: %w", n.name, gateway, err)
	}
	return nil
}

// route makes what is for a prefix go by way of a neighbour.
func (n *node) route(to netip.Prefix, via netip.Addr) error {
	dst := &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())}
	if err := n.nl.RouteAdd(&netlink.Route{Dst: dst, Gw: via.AsSlice(), Protocol: unix.RTPROT_BOOT}); err != nil {
		return fmt.Errorf("add route of %s to %v via %v: %w", n.name, to, via, err)
	}
	return nil
}

func (n *node) removeLink(name string) error {
	l, err := n.nl.LinkByName(name)
	if err == nil {
		err = n.nl.LinkDel(l)
	}
	// Whoever uses the host may have taken the link away, or its peer.
	if errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove link %s of %s: %w", name, n.name, err)
	}
	return nil
}

// Namespace is the host's own namespace. It belongs to h.
func (h *Host) Namespace() *netns.Handle { return h.node.ns }

// Internet is the namespace at the other end of the uplink, with
// GatewayAddress and ServerAddress. It has no route to any container: what
// leaves the host without masquerade is never answered. It belongs to h.
func (h *Host) Internet() *netns.Handle { return h.internet.ns }

// Containers returns the containers, in the order they were made.
func (h *Host) Containers() []*Container { return h.containers }

// WithoutProxy makes the rules of networks and ports that come later those of an
// engine with userland-proxy=false: published ports are reached from everywhere by
// rules alone, from containers of the same bridge and from 127.0.0.1, too.
func (h *Host) WithoutProxy() error {
	h.proxyless = true
	// Frames between two ports of a bridge meet the rules only so; the kernel
	// module has it on from the beginning, an engine turns it on.
	err := h.node.sysctl("net/bridge/bridge-nf-call-iptables", "1")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no such module: some ways then differ
	}
	return err
}

// findBridge returns the bridge of that name, or nil.
func (h *Host) findBridge(name string) *Bridge {
	for _, b := range h.bridges {
		if b.Name == name {
			return b
		}
	}
	return nil
}

// Find returns the container of that name, or nil.
func (h *Host) Find(name string) *Container {
	for _, c := range h.containers {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Close stops the servers, removes all links, rules, names and flows, and
// closes the namespaces. The host's namespace is then as before New.
func (h *Host) Close() error {
	var errs []error
	if h.node != nil {
		errs = append(errs, h.node.close())
	}
	for i := len(h.containers) - 1; i >= 0; i-- {
		errs = append(errs, h.containers[i].node.close())
	}
	if h.internet != nil {
		errs = append(errs, h.internet.close())
	}
	return errors.Join(errs...)
}
