package text

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"natlens/netinfo"
)

// Links lists the links of the namespace natlens runs in, ports under their
// bridges; with all, also its loopback and the links of every other namespace,
// a group for each. An address in parentheses is at the other end of the veth.
func (st Style) Links(t *netinfo.Topology, all bool) string {
	l := table{columns: []column{
		{head: "LINK"},
		{head: "INDEX", extra: 1, right: true},
		{head: "ROLE"},
		{head: "STATE"},
		{head: "ADDRESS", least: 12},
		{head: "PEER", least: 12, shorten: st.shortenPeer},
		{head: "NETWORK", least: 8},
		{head: "MTU", extra: 2, right: true},
		{head: "MAC", extra: 3},
	}}
	for _, n := range t.Namespaces {
		if !all && n.ID != t.Self {
			continue
		}
		if all {
			if len(l.rows) > 0 {
				l.rows = append(l.rows, row{})
			}
			l.rows = append(l.rows, row{heading: st.namespaceHeading(n)})
		}
		for _, i := range orderLinks(t, n, all) {
			l.rows = append(l.rows, st.linkRow(t, i))
		}
	}
	if !slices.ContainsFunc(l.rows, func(r row) bool { return r.cells != nil || r.heading != "" }) {
		return "no links but the loopback\n"
	}
	return st.table(l)
}

// namespaceHeading names a namespace, how else to recognise it, and why it is
// empty when it could not be read.
func (st Style) namespaceHeading(n *netinfo.Namespace) string {
	s := st.Paint(Name, st.name(n.Name, maxName))
	if n.Name != n.ID.String() {
		s += "  " + st.Paint(Dim, n.ID.String())
	}
	var names []string
	for _, c := range n.Containers {
		if c.Name != n.Name {
			names = append(names, st.name(c.Name, maxName))
		}
	}
	if len(names) > 0 {
		s += "  shared by " + strings.Join(names, ", ")
	}
	if n.Unreadable != nil {
		s += "  not readable: " + st.Escape(n.Unreadable.Error())
	}
	return s
}

// treeLink is a link and its place in the tree of bridges.
type treeLink struct {
	*netinfo.Link
	port, last bool
}

// orderLinks returns a namespace's links as a person looks for them: uplinks,
// bridges with their ports, the rest, the loopback at the end.
func orderLinks(t *netinfo.Topology, n *netinfo.Namespace, loopback bool) []treeLink {
	rank := func(l *netinfo.Link) int {
		switch {
		case l.Role == netinfo.RoleUplink:
			return 0
		case l.Role == netinfo.RoleBridge || len(t.Ports(l.Key)) > 0:
			return 1
		case l.Role == netinfo.RoleLoopback:
			return 3
		}
		return 2
	}
	var roots []*netinfo.Link
	for _, l := range n.Links {
		if l.Role == netinfo.RoleLoopback && !loopback {
			continue
		}
		if l.Master == nil || t.Link(*l.Master) == nil {
			roots = append(roots, l)
		}
	}
	slices.SortStableFunc(roots, func(a, b *netinfo.Link) int { return rank(a) - rank(b) })
	var ordered []treeLink
	for _, l := range roots {
		ordered = append(ordered, treeLink{Link: l})
		ports := t.Ports(l.Key)
		for i, p := range ports {
			ordered = append(ordered, treeLink{p, true, i == len(ports)-1})
		}
	}
	return ordered
}

func (st Style) linkRow(t *netinfo.Topology, l treeLink) row {
	name := st.Escape(l.Name)
	switch sym := st.symbols(); {
	case l.last:
		name = sym.last + " " + name
	case l.port:
		name = sym.branch + " " + name
	}
	mtu := ""
	if l.MTU > 0 {
		mtu = strconv.Itoa(l.MTU)
	}
	return row{cells: []cell{
		{name, Name},
		{strconv.Itoa(int(l.Key.Index)), Plain},
		{st.role(l.Link), Plain},
		stateCell(l.Link),
		known(st.linkAddress(t, l.Link), Plain),
		known(st.peer(t, l.Link), Plain),
		known(st.Escape(l.Network), Plain),
		known(mtu, Plain),
		known(st.Escape(l.MAC), Plain),
	}}
}

// role is a word for the part a link plays; where that says nothing, its kind.
func (st Style) role(l *netinfo.Link) string {
	if l.Role == netinfo.RoleOther && l.Kind != "" {
		return st.Escape(l.Kind)
	}
	return string(l.Role)
}

func stateCell(l *netinfo.Link) cell {
	switch {
	case l.State == "up":
		return cell{"up", Good}
	case l.State == "" || l.State == "unknown" && l.Up:
		return known(map[bool]string{true: "up", false: "down"}[l.Up], Plain)
	}
	return cell{l.State, Bad}
}

// linkAddress returns a link's own address or, in parentheses, the one at the
// other end of its veth. More than one are counted.
func (st Style) linkAddress(t *netinfo.Topology, l *netinfo.Link) string {
	if own := usefulAddresses(l.Addresses); len(own) > 0 {
		return own[0].String() + more(len(own)-1)
	}
	if l.Peer != nil {
		if p := t.Link(l.Peer.Key); p != nil {
			if far := usefulAddresses(p.Addresses); len(far) > 0 {
				return "(" + far[0].Addr().String() + ")" + more(len(far)-1)
			}
		}
	}
	return ""
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return " +" + strconv.Itoa(n)
}

// usefulAddresses leaves out link-local IPv6 addresses, which every link has.
func usefulAddresses(all []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(all), func(p netip.Prefix) bool {
		return p.Addr().Is6() && p.Addr().IsLinkLocalUnicast()
	})
}

// peer says what a link is connected to.
func (st Style) peer(t *netinfo.Topology, l *netinfo.Link) string {
	switch {
	case l.Peer != nil && l.Peer.Key.Namespace == 0:
		return fmt.Sprintf("index %d in nsid %d", l.PeerIndex, l.PeerNSID)
	case l.Peer != nil:
		name := st.Escape(l.Peer.Name)
		if name == "" {
			name = "if" + strconv.Itoa(int(l.Peer.Key.Index))
		}
		return st.qualified(t, l.Key, l.Peer.Key, name)
	case l.Parent != nil:
		name := "if" + strconv.Itoa(int(l.Parent.Index))
		if p := t.Link(*l.Parent); p != nil {
			name = st.Escape(p.Name)
		}
		return "on " + st.qualified(t, l.Key, *l.Parent, name)
	case l.Role == netinfo.RoleBridge:
		return count(len(t.Ports(l.Key)), "port")
	}
	return ""
}

// qualified puts a link's namespace before its name unless that is where the
// speaker is.
func (st Style) qualified(t *netinfo.Topology, from, to netinfo.LinkKey, name string) string {
	if to.Namespace == from.Namespace {
		return name
	}
	return st.Escape(t.NamespaceName(to.Namespace)) + ":" + name
}

// shortenPeer shortens "a-long-container-name:eth0" before the colon.
func (st Style) shortenPeer(s string, n int) string {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || n-Columns(s[i:]) < 4 {
		return s
	}
	return st.Cut(s[:i], n-Columns(s[i:])) + s[i:]
}

// count returns "no ports", "1 port" or "2 ports".
func count(n int, noun string) string {
	switch n {
	case 0:
		return "no " + noun + "s"
	case 1:
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// Notes says what the Topology lacks and what to do about it, a paragraph each.
func (st Style) Notes(t *netinfo.Topology) string {
	var b strings.Builder
	for _, n := range t.Notes {
		head := "note: "
		if n.About != "" {
			head += st.Escape(n.About) + ": "
		}
		for i, line := range Wrap(head+st.Escape(n.Text), st.Columns()-2) {
			if i > 0 {
				b.WriteString("  ")
			}
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
