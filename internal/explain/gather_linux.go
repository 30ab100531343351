package explain

import (
	"os"
	"strings"

	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// Gather reads what Facts hold beside the Topology: the sockets of each
// namespace, the NAT rules of natlens's own, and whether it forwards. What can't
// be read is said in the Facts.
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
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); err == nil {
		f.Forwarding = strings.TrimSpace(string(b))
	}
	return f
}
