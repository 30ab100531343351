package explain

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// Gather reads what Facts hold beside the Topology: the sockets of each
// namespace, who holds those on published ports, the NAT rules of namespaces that
// pass packets on, and whether natlens's own forwards. What can't be read is said in the Facts.
func Gather(t *netinfo.Topology) *Facts {
	f := &Facts{Topology: t, Sockets: map[netns.ID]Sockets{}, Rules: map[netns.ID]Rules{}}
	for _, n := range t.Namespaces {
		if n.Unreadable != nil {
			f.Sockets[n.ID] = Sockets{Err: n.Unreadable}
			continue
		}
		found, err := netinfo.Listeners(n, t.Self)
		f.Sockets[n.ID] = Sockets{found, err}
	}
	f.Holders = netinfo.SocketHolders(f.publishedSockets())
	for id := range f.routers() {
		f.Rules[id] = readRules(t.Namespace(id), t.Self)
	}
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); err == nil {
		f.Forwarding = strings.TrimSpace(string(b))
	}
	f.BridgeFilter = bridgeFilter()
	return f
}

// bridgeFilter reads what bridges of this thread's namespace do with IP. Without
// br_netfilter there is no such setting, and no rule of IP sees what they switch
// (ip-sysctl, "bridge-nf-call-iptables").
func bridgeFilter() string {
	b, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-iptables")
	switch {
	case err == nil:
		return strings.TrimSpace(string(b))
	case errors.Is(err, fs.ErrNotExist):
		return "0"
	}
	return ""
}

// publishedSockets returns the inodes of the host's sockets on published ports.
func (f *Facts) publishedSockets() (inodes []uint64) {
	type port struct {
		protocol string
		number   uint16
	}
	published := map[port]bool{}
	for _, c := range f.Topology.Containers {
		for _, p := range c.Ports {
			if p.HostAddress.IsValid() {
				published[port{p.Protocol, p.HostAddress.Port()}] = true
			}
		}
	}
	for _, l := range f.Sockets[f.Topology.Self].Listeners {
		if published[port{l.Protocol, l.Address.Port()}] {
			inodes = append(inodes, l.Inode)
		}
	}
	return inodes
}

// routers returns natlens's own namespace and all others that pass on packets
// of another.
func (f *Facts) routers() map[netns.ID]bool {
	ids := map[netns.ID]bool{}
	if f.Topology.Namespace(f.Topology.Self) != nil {
		ids[f.Topology.Self] = true
	}
	for _, n := range f.Topology.Namespaces {
		for i, s := range f.WayOut(n.ID) {
			if i > 0 {
				ids[s.Namespace.ID] = true
			}
		}
	}
	return ids
}

func readRules(n *netinfo.Namespace, own netns.ID) Rules {
	h, err := open(n, own)
	if err != nil {
		return Rules{Err: err}
	}
	r, err := netfilter.ReadRuleset(h)
	if err := errors.Join(err, h.Close()); err != nil {
		return Rules{Err: err}
	}
	return Rules{NAT: r.NAT, Walk: r.Walk, Hidden: anyHidden(r.Legacy())}
}

// anyHidden reports whether one of the tables could not be read.
func anyHidden(tables []netfilter.LegacyTable) bool {
	return slices.ContainsFunc(tables, func(t netfilter.LegacyTable) bool { return t.Unreadable != "" })
}

func open(n *netinfo.Namespace, own netns.ID) (*netns.Handle, error) {
	if n.ID == own {
		return netns.Current()
	}
	err := fmt.Errorf("%s: no way in: %w", n.Name, fs.ErrNotExist)
	for _, path := range n.Paths {
		h, openErr := netns.Open(path)
		if openErr != nil {
			err = openErr
			continue
		}
		if h.ID() == n.ID {
			return h, nil
		}
		err = errors.Join(fmt.Errorf("%s is now %v: %w", path, h.ID(), fs.ErrNotExist), h.Close())
	}
	return nil, err
}
