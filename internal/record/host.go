package record

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"natlens/netinfo"
)

// host is what one host's files are: the watches of it, each with its parts in
// order.
type host struct {
	name     string
	sessions [][]*opened
}

// hostsOf sorts files of watches, which are in the order of sessions, by host.
func hostsOf(own []*opened) (hosts []*host) {
	for begin := 0; begin < len(own); {
		end := begin + 1
		for end < len(own) && own[end].header.Session == own[begin].header.Session {
			end++
		}
		session := own[begin:end]
		begin = end
		at := slices.IndexFunc(hosts, func(h *host) bool { return sameHost(h.first().topology, session[0].topology) })
		if at < 0 {
			hosts = append(hosts, &host{name: session[0].header.Host, sessions: [][]*opened{session}})
			continue
		}
		hosts[at].sessions = append(hosts[at].sessions, session)
	}
	nameHosts(hosts)
	return hosts
}

func (h *host) first() *opened { return h.sessions[0][0] }

// sameHost reports whether two topologies are of one host: what natlens ran in has
// the same number, and a link with the same address, that of an Ethernet card or
// one that the kernel drew. A file without a topology is a host by itself.
func sameHost(a, b *netinfo.Topology) bool {
	if a == nil || b == nil || a.Self != b.Self {
		return false
	}
	n, m := a.Namespace(a.Self), b.Namespace(b.Self)
	if n == nil || m == nil {
		return false
	}
	return slices.ContainsFunc(n.Links, func(l *netinfo.Link) bool {
		return l.MAC != "" && l.Role != netinfo.RoleLoopback &&
			slices.ContainsFunc(m.Links, func(k *netinfo.Link) bool { return k.MAC == l.MAC })
	})
}

// nameHosts gives every host a name of its own: that which it has, else, where that
// is not told or not enough, that of its first file.
func nameHosts(hosts []*host) {
	names := map[string]int{}
	for _, h := range hosts {
		names[h.name]++
	}
	for _, h := range hosts {
		if h.name == "" || names[h.name] > 1 {
			h.name = baseName(h.first().Name)
		}
	}
	for i, h := range hosts {
		for n := 2; slices.ContainsFunc(hosts[:i], func(o *host) bool { return o.name == h.name }); n++ {
			h.name = numbered(baseName(h.first().Name), n)
		}
	}
}

func baseName(file string) string {
	base := filepath.Base(file)
	return cmp.Or(strings.TrimSuffix(base, filepath.Ext(base)), base)
}
