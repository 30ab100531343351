package record

import (
	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// An inode number is unique on one host only. Where files of several hosts are
// read together, the namespaces of the second host and those after it get other
// IDs, and so does all that refers to them.

// renumber puts a host that nobody has seen yet, see netns.ID.On, into a
// topology.
func renumber(t *netinfo.Topology, host uint32) {
	keys := func(all ...*netinfo.LinkKey) {
		for _, k := range all {
			if k != nil {
				k.Namespace = k.Namespace.On(host)
			}
		}
	}
	t.Self = t.Self.On(host)
	for _, n := range t.Namespaces {
		n.ID = n.ID.On(host)
		for _, l := range n.Links {
			keys(&l.Key, l.Master, l.Parent)
			if l.Peer != nil {
				keys(&l.Peer.Key)
			}
		}
	}
	for _, c := range t.Containers {
		c.Namespace = c.Namespace.On(host)
		for i := range c.Links {
			keys(&c.Links[i])
		}
	}
	for _, n := range t.Networks {
		keys(n.BridgeLink)
		for _, m := range n.Members {
			keys(m.Link, m.HostLink)
		}
	}
	for i := range t.Proxies {
		t.Proxies[i].Namespace = t.Proxies[i].Namespace.On(host)
	}
}

// on returns the same losses with the namespaces of a host.
func (l lost) on(host uint32) map[netns.ID]uint64 {
	packets := make(map[netns.ID]uint64, len(l.Packets))
	for ns, n := range l.Packets {
		packets[ns.On(host)] += n
	}
	return packets
}

// union is several hosts as one topology, to look links and names up in. Whose an
// address is it doesn't tell: hosts have the same ones.
func union(hosts ...*netinfo.Topology) *netinfo.Topology {
	all := &netinfo.Topology{}
	for _, t := range hosts {
		if t == nil {
			continue
		}
		if all.Self == 0 {
			all.Self, all.Time = t.Self, t.Time
		}
		all.Namespaces = append(all.Namespaces, t.Namespaces...)
		all.Containers = append(all.Containers, t.Containers...)
		all.Networks = append(all.Networks, t.Networks...)
	}
	return all.Seal()
}
