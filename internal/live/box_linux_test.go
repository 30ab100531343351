package live

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlens/internal/lab"
	"natlens/netinfo/netns"
)

// box is a container that a test can remove while the host goes on.
type box struct {
	name string
	link string // the veth's end on the host
	ns   *netns.Handle
	path string
}

// newBox makes a namespace with a veth on docker0 and an address of its own,
// number n.
func newBox(name string, n int) (*box, error) {
	b := &box{name: name, link: fmt.Sprintf("vethbox%d", n), path: filepath.Join("/run/netns", name)}
	var err error
	if b.ns, err = netns.New(); err != nil {
		return nil, err
	}
	if err := b.build(n); err != nil {
		return nil, errors.Join(fmt.Errorf("make %s: %w", name, err), b.remove())
	}
	return b, nil
}

func (b *box) build(n int) error {
	if err := os.WriteFile(b.path, nil, 0o444); err != nil {
		return err
	}
	if err := unix.Mount(b.ns.Path(), b.path, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	bridge, err := netlink.LinkByName("docker0")
	if err != nil {
		return err
	}
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: b.link, MasterIndex: bridge.Attrs().Index, Flags: net.FlagUp},
		PeerName:  "eth0", PeerNamespace: netlink.NsFd(b.ns.Fd()),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return err
	}
	return b.inside(func(nl *netlink.Handle) error {
		eth0, err := nl.LinkByName("eth0")
		if err != nil {
			return err
		}
		bits := lab.BridgePrefix.Bits()
		address := netip.AddrFrom4([4]byte{172, 17, byte(1 + n/200), byte(1 + n%200)})
		if err := nl.AddrAdd(eth0, &netlink.Addr{IPNet: &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(bits, 32)}}); err != nil {
			return err
		}
		if err := nl.LinkSetUp(eth0); err != nil {
			return err
		}
		return nl.RouteAdd(&netlink.Route{Gw: lab.BridgePrefix.Addr().AsSlice()})
	})
}

// inside calls f with a netlink socket of the box's namespace.
func (b *box) inside(f func(*netlink.Handle) error) error {
	var nl *netlink.Handle
	if err := b.ns.Do(func() (err error) {
		nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	}); err != nil {
		return err
	}
	defer nl.Close()
	return f(nl)
}

// remove takes away all that the test has of the namespace. It and its veth
// live on as long as somebody else holds it.
func (b *box) remove() error {
	var errs []error
	if err := unix.Unmount(b.path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		errs = append(errs, err)
	}
	if err := os.Remove(b.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, b.ns.Close())...)
}

// there reports whether the host still has the box's veth.
func (b *box) there() bool {
	_, err := netlink.LinkByName(b.link)
	return !errors.As(err, new(netlink.LinkNotFoundError))
}

func mustBox(t *testing.T, name string, n int) *box {
	t.Helper()
	b, err := newBox(name, n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
