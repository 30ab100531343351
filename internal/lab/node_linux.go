package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// linkUpTimeout bounds the wait for the kernel's link watch, which needs
// milliseconds.
const linkUpTimeout = 5 * time.Second

// node is one network namespace with a netlink socket in it. What it makes
// it takes away again in close, last made first.
type node struct {
	name string
	ns   *netns.Handle
	nl   *netlink.Handle
	undo []func() error
}

// newNode makes a namespace of its own, under its name in /run/netns.
func newNode(name string) (*node, error) {
	ns, err := netns.New()
	if err != nil {
		return nil, err
	}
	n, err := nodeAt(name, ns)
	if err != nil {
		return nil, err
	}
	if err := n.publishName(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	if err := n.quiet(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	lo, err := n.nl.LinkByName("lo")
	if err == nil {
		err = n.nl.LinkSetUp(lo)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set lo of %s up: %w", name, err), n.close())
	}
	return n, nil
}

// nodeAt takes over ns and closes it with the node.
func nodeAt(name string, ns *netns.Handle) (*node, error) {
	n := &node{name: name, ns: ns}
	n.onClose(ns.Close)
	err := ns.Do(func() (err error) {
		n.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open netlink in %s: %w", name, err), n.close())
	}
	n.onClose(func() error { n.nl.Close(); return nil })
	return n, nil
}

func (n *node) onClose(f func() error) { n.undo = append(n.undo, f) }

func (n *node) close() error {
	var errs []error
	for len(n.undo) > 0 {
		last := len(n.undo) - 1
		f := n.undo[last]
		n.undo = n.undo[:last]
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// publishName binds the namespace under /run/netns, where ip-netns(8) and
// every tool that follows it look for names.
func (n *node) publishName() error {
	path := filepath.Join(namespaceFolder, n.name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("name namespace: %w", err)
	}
	n.onClose(func() error { return os.Remove(path) })
	if err := f.Close(); err != nil {
		return fmt.Errorf("name namespace: %w", err)
	}
	if err := unix.Mount(n.ns.Path(), path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("name namespace: %w", &fs.PathError{Op: "bind", Path: path, Err: err})
	}
	n.onClose(func() error {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return &fs.PathError{Op: "unmount", Path: path, Err: err}
		}
		return nil
	})
	return nil
}

// quiet keeps links that come later free of IPv6, whose neighbour discovery
// and multicast reports would stand between the packets people look for.
// Docker does the same in containers without an IPv6 network.
func (n *node) quiet() error {
	err := n.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without IPv6 is quiet
	}
	return err
}

// sysctl sets a value in the namespace until the node is closed.
func (n *node) sysctl(name, value string) error {
	path := filepath.Join("/proc/sys", name)
	var before []byte
	err := n.ns.Do(func() (err error) {
		if before, err = os.ReadFile(path); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(value), 0)
	})
	if err != nil {
		return fmt.Errorf("set %s in %s: %w", strings.ReplaceAll(name, "/", "."), n.name, err)
	}
	n.onClose(func() error {
		return n.ns.Do(func() error { return os.WriteFile(path, before, 0) })
	})
	return nil
}

// address gives a link an address and sets the link up.
func (n *node) address(link, cidr string) error {
	l, err := n.nl.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find link %s of %s: %w", link, n.name, err)
	}
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	if err := n.nl.AddrAdd(l, addr); err != nil {
		return fmt.Errorf("add %s to %s of %s: %w", cidr, link, n.name, err)
	}
	if err := n.nl.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s of %s up: %w", link, n.name, err)
	}
	return nil
}

// awaitUp waits until a link carries packets. A link whose carrier has just
// come on has no queue yet and silently loses what is sent; its operational
// state turns to up when it has one (net/core/link_watch.c).
func (n *node) awaitUp(link string) error {
	for deadline := time.Now().Add(linkUpTimeout); ; time.Sleep(time.Millisecond) {
		l, err := n.nl.LinkByName(link)
		if err != nil {
			return fmt.Errorf("find link %s of %s: %w", link, n.name, err)
		}
		if l.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for link %s of %s: still %v", link, n.name, l.Attrs().OperState)
		}
	}
}
