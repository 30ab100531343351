package text

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"natlens/netinfo"
	"natlens/netinfo/docker"
)

// Containers lists the engine's containers: a line for each of their networks
// or published ports, whichever are more.
func (st Style) Containers(t *netinfo.Topology) string {
	if len(t.Containers) == 0 {
		return st.nothingOf(t, "no containers are running\n")
	}
	l := table{columns: []column{
		{head: "CONTAINER", least: 10, shorten: st.cutMiddle},
		{head: "IMAGE", least: 6, shorten: st.cutMiddle},
		{head: "MODE", extra: 2},
		{head: "NETWORK", least: 8},
		{head: "ADDRESS", least: 13},
		{head: "PUBLISHED", least: 22},
		{head: "VETH"},
		{head: "NAMESPACE", extra: 1},
	}}
	for _, c := range t.Containers {
		endpoints, ports := c.Endpoints, st.published(c)
		for i := range max(1, len(endpoints), len(ports)) {
			blank := cell{}
			cells := []cell{blank, blank, blank, blank, blank, blank, blank, blank}
			if i == 0 {
				cells[0] = cell{st.Escape(c.Name), Name}
				cells[1] = known(st.Escape(c.Image), Plain)
				cells[2] = known(st.mode(t, c), Plain)
				cells[3] = cell{st.mode(t, c), Dim}
				cells[4], cells[5], cells[6] = absent, absent, absent
				if c.PortsUnknown {
					cells[5] = cell{"?", Dim}
				}
				cells[7] = cell{"not found here", Bad}
				if c.Namespace != 0 {
					cells[7] = cell{c.Namespace.String(), Plain}
				}
			}
			if i < len(endpoints) {
				e := endpoints[i]
				cells[3] = known(st.Escape(e.Network), Plain)
				cells[4] = known(addressWords(e.Addresses), Plain)
				cells[6] = known(st.hostLink(t, c, e), Name)
			}
			if i < len(ports) {
				cells[5] = cell{ports[i], Plain}
			}
			l.rows = append(l.rows, row{cells: cells})
		}
	}
	return st.table(l)
}

// nothingOf says that a list is empty, or that nobody could be asked.
func (st Style) nothingOf(t *netinfo.Topology, empty string) string {
	if t.Engine == nil {
		return "no container engine could be asked\n"
	}
	return empty
}

// mode returns the network mode with names in place of ids.
func (st Style) mode(t *netinfo.Topology, c *netinfo.Container) string {
	if id, ok := strings.CutPrefix(c.Mode, "container:"); ok {
		for _, other := range t.Containers {
			if other.ID == id || other.Name == id {
				return "container:" + st.Escape(other.Name)
			}
		}
		return "container:" + st.Escape(shortID(id))
	}
	for _, n := range t.Networks {
		if n.ID == c.Mode {
			return st.Escape(n.Name)
		}
	}
	return st.Escape(c.Mode)
}

// shortID returns the 12 digits by which docker ps shows an id.
func shortID(id string) string { return id[:min(12, len(id))] }

// hostLink names the host's end of the veth that leads to an endpoint.
func (st Style) hostLink(t *netinfo.Topology, c *netinfo.Container, e docker.Endpoint) string {
	return st.hostEnd(t, memberOf(t, c, e))
}

// hostEnd names the host's end of the veth that leads to a member; m may be nil.
func (st Style) hostEnd(t *netinfo.Topology, m *netinfo.Member) string {
	if m == nil || m.HostLink == nil {
		return ""
	}
	if l := t.Link(*m.HostLink); l != nil {
		return st.Escape(l.Name)
	}
	return ""
}

// memberOf finds an endpoint among the members of its network, or nil.
func memberOf(t *netinfo.Topology, c *netinfo.Container, e docker.Endpoint) *netinfo.Member {
	for _, n := range t.Networks {
		if n.Name != e.Network && (e.NetworkID == "" || n.ID != e.NetworkID) {
			continue
		}
		for i := range n.Members {
			if m := n.Members[i].Container; m == c || m != nil && m.ID == c.ID {
				return &n.Members[i]
			}
		}
	}
	return nil
}

// published returns a container's published ports. One that is published alike
// on every IPv4 and every IPv6 address of the host is one.
func (st Style) published(c *netinfo.Container) []string {
	var all []string
	for _, p := range c.Ports {
		if !p.HostAddress.IsValid() {
			continue
		}
		at := p.HostAddress.String()
		if p.HostAddress.Addr().IsUnspecified() {
			at = strconv.Itoa(int(p.HostAddress.Port()))
		}
		s := at + st.symbols().arrow + strconv.Itoa(int(p.ContainerPort)) + "/" + p.Protocol
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// addressWords returns the first address without its prefix, which the network
// has, and how many more there are.
func addressWords(ps []netip.Prefix) string {
	if len(ps) == 0 {
		return ""
	}
	return ps[0].Addr().String() + more(len(ps)-1)
}

func prefixes(ps []netip.Prefix) string {
	words := make([]string, len(ps))
	for i, p := range ps {
		words[i] = p.String()
	}
	return strings.Join(words, " ")
}

// Networks lists the engine's networks: a line for each of their subnets or
// members, whichever are more. Below the driver stands what is unusual.
func (st Style) Networks(t *netinfo.Topology) string {
	if len(t.Networks) == 0 {
		return st.nothingOf(t, "the engine has no networks\n")
	}
	l := table{columns: []column{
		{head: "NETWORK", least: 8},
		{head: "DRIVER"},
		{head: "SUBNET", least: 15},
		{head: "GATEWAY", least: 10},
		{head: "BRIDGE"},
		{head: "CONTAINERS", least: 10, shorten: st.cutMiddle},
		{head: "ADDRESS", extra: 1},
		{head: "VETH", extra: 2},
	}}
	for _, n := range t.Networks {
		subnets, members := n.Subnets, namedMembers(n)
		drivers := append([]string{st.Escape(n.Driver)}, unusual(n)...)
		for i := range max(len(drivers), len(subnets), len(members)) {
			blank := cell{}
			cells := []cell{blank, blank, blank, blank, blank, blank, blank, blank}
			if i == 0 {
				cells = []cell{
					{st.Escape(n.Name), Name},
					absent, absent, absent,
					known(st.carrier(n), Name),
					absent, absent, absent,
				}
			}
			if i < len(drivers) {
				cells[1] = known(drivers[i], Plain)
			}
			if i < len(members) {
				m := &members[i]
				cells[5] = cell{st.Escape(m.Container.Name), Plain}
				cells[6] = known(addressWords(m.Addresses), Plain)
				cells[7] = known(st.hostEnd(t, m), Name)
			}
			if i < len(subnets) {
				cells[2] = cell{subnets[i].Prefix.String(), Plain}
				cells[3] = absent
				if g := t.Gateway(n, subnets[i]); g.IsValid() {
					cells[3] = cell{g.String(), Plain}
				}
			}
			l.rows = append(l.rows, row{cells: cells})
		}
	}
	return st.table(l)
}

// carrier names the link that carries a network: its bridge or parent.
func (st Style) carrier(n *netinfo.Network) string {
	if n.Bridge == "" && n.Parent != "" {
		return "on " + st.Escape(n.Parent)
	}
	return st.Escape(n.Bridge)
}

// namedMembers returns the members that are containers.
func namedMembers(n *netinfo.Network) []netinfo.Member {
	return slices.DeleteFunc(slices.Clone(n.Members), func(m netinfo.Member) bool { return m.Container == nil })
}

// unusual says in what a network differs from others of its kind.
func unusual(n *netinfo.Network) []string {
	var words []string
	if n.Internal {
		words = append(words, "internal")
	}
	if n.Driver == "bridge" && !n.Masquerade && !n.Internal {
		words = append(words, "no NAT")
	}
	if n.Driver == "bridge" && !n.ICC {
		words = append(words, "no icc")
	}
	if n.IPv6 {
		words = append(words, "IPv6")
	}
	return words
}
