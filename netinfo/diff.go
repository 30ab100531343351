package netinfo

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"natlens/netinfo/netns"
)

// Change is one difference between two Topologies.
type Change struct {
	Kind   string // "container", "link", "network", "ruleset"
	Action string // "came", "went", "changed"
	Name   string
	// Namespace is where a link or a container is, or was; 0 for networks and
	// containers without one. NamespaceName is its name then.
	Namespace     netns.ID
	NamespaceName string
	Detail        string // what changed, or what it is; may be empty
}

// Diff returns what changed from an old Topology to a new one: containers,
// then networks, then links, each went before came. Either may be nil. The
// loopback link is left out: every namespace comes and goes with one.
func Diff(old, new *Topology) []Change {
	if old == nil {
		old = &Topology{}
	}
	if new == nil {
		new = &Topology{}
	}
	changes := diffContainers(old, new)
	changes = append(changes, diffNetworks(old, new)...)
	return append(changes, diffLinks(old, new)...)
}

func diffContainers(old, new *Topology) []Change {
	return diffBy(old.Containers, new.Containers,
		func(c *Container) string { return c.ID },
		func(action string, was, is *Container) (Change, bool) {
			c, t := is, new
			if c == nil {
				c, t = was, old
			}
			change := Change{Kind: "container", Action: action, Name: c.Name, Namespace: c.Namespace}
			if c.Namespace != 0 {
				change.NamespaceName = t.NamespaceName(c.Namespace)
			}
			if action != "changed" {
				change.Detail = c.Image
				return change, true
			}
			change.Detail = strings.Join(slices.DeleteFunc([]string{
				differs("name", was.Name, is.Name),
				differs("namespace", place(old, was), place(new, is)),
				differs("networks", endpoints(was), endpoints(is)),
				differs("ports", ports(was), ports(is)),
			}, func(s string) bool { return s == "" }), ", ")
			return change, change.Detail != ""
		})
}

func diffNetworks(old, new *Topology) []Change {
	return diffBy(old.Networks, new.Networks,
		func(n *Network) string { return n.ID },
		func(action string, was, is *Network) (Change, bool) {
			n := is
			if n == nil {
				n = was
			}
			change := Change{Kind: "network", Action: action, Name: n.Name}
			if action != "changed" {
				change.Detail = n.Driver
				return change, true
			}
			change.Detail = differs("members", members(was), members(is))
			return change, change.Detail != ""
		})
}

func diffLinks(old, new *Topology) []Change {
	return diffBy(allLinks(old), allLinks(new),
		func(l *Link) LinkKey { return l.Key },
		func(action string, was, is *Link) (Change, bool) {
			l, t := is, new
			if l == nil {
				l, t = was, old
			}
			change := Change{
				Kind: "link", Action: action, Name: l.Name,
				Namespace: l.Key.Namespace, NamespaceName: t.NamespaceName(l.Key.Namespace),
			}
			if action != "changed" {
				change.Detail = l.Kind
				if l.Peer != nil && t.Link(l.Peer.Key) != nil {
					change.Detail += ", peer of " + linkName(t, &l.Peer.Key)
				}
				return change, true
			}
			change.Detail = strings.Join(slices.DeleteFunc([]string{
				differs("name", was.Name, is.Name),
				differs("state", was.State, is.State),
				differs("addresses", prefixes(was.Addresses), prefixes(is.Addresses)),
				differs("master", linkName(old, was.Master), linkName(new, is.Master)),
				differs("peer", peerName(old, was), peerName(new, is)),
				differs("mac", was.MAC, is.MAC),
				differs("mtu", fmt.Sprint(was.MTU), fmt.Sprint(is.MTU)),
				differs("hairpin mode", cmp.Or(was.Hairpin, is.Hairpin), cmp.Or(is.Hairpin, was.Hairpin)),
				differs("promiscuous", fmt.Sprint(was.Promisc), fmt.Sprint(is.Promisc)),
			}, func(s string) bool { return s == "" }), ", ")
			return change, change.Detail != ""
		})
}

// diffBy pairs the items of two lists by key and describes what differs.
func diffBy[T any, K comparable](old, new []*T, key func(*T) K, describe func(action string, was, is *T) (Change, bool)) []Change {
	was := make(map[K]*T, len(old))
	for _, item := range old {
		was[key(item)] = item
	}
	is := make(map[K]bool, len(new))
	for _, item := range new {
		is[key(item)] = true
	}
	var changes []Change
	add := func(c Change, ok bool) {
		if ok {
			changes = append(changes, c)
		}
	}
	for _, item := range old {
		if !is[key(item)] {
			add(describe("went", item, nil))
		}
	}
	for _, item := range new {
		if before := was[key(item)]; before == nil {
			add(describe("came", nil, item))
		} else {
			add(describe("changed", before, item))
		}
	}
	return changes
}

func differs(what, was, is string) string {
	if was == is {
		return ""
	}
	return fmt.Sprintf("%s %s → %s", what, orDash(was), orDash(is))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func allLinks(t *Topology) []*Link {
	var links []*Link
	for _, n := range t.Namespaces {
		for _, l := range n.Links {
			if l.Kind != "loopback" {
				links = append(links, l)
			}
		}
	}
	return links
}

func linkName(t *Topology, k *LinkKey) string {
	if k == nil {
		return ""
	}
	if l := t.Link(*k); l != nil {
		return t.NamespaceName(k.Namespace) + ":" + l.Name
	}
	return fmt.Sprintf("%s:%d", t.NamespaceName(k.Namespace), k.Index)
}

func peerName(t *Topology, l *Link) string {
	if l.Peer == nil {
		return ""
	}
	return linkName(t, &l.Peer.Key)
}

func place(t *Topology, c *Container) string {
	if c.Namespace == 0 {
		return ""
	}
	return t.NamespaceName(c.Namespace)
}

func endpoints(c *Container) string {
	var s []string
	for _, e := range c.Endpoints {
		s = append(s, strings.TrimSpace(e.Network+" "+prefixes(e.Addresses)))
	}
	return strings.Join(s, " ")
}

func ports(c *Container) string {
	var s []string
	for _, p := range c.Ports {
		if p.HostAddress.IsValid() {
			s = append(s, fmt.Sprintf("%s→%d/%s", p.HostAddress, p.ContainerPort, p.Protocol))
		}
	}
	return strings.Join(s, " ")
}

func members(n *Network) string {
	var s []string
	for _, m := range n.Members {
		s = append(s, m.Container.Name)
	}
	return strings.Join(s, " ")
}

func prefixes(list []netip.Prefix) string {
	s := make([]string, len(list))
	for i, p := range list {
		s[i] = p.String()
	}
	return strings.Join(s, " ")
}

// sameHost reports whether two Topologies say the same about the host, apart
// from when they were made. Which processes happen to be in a namespace is not
// compared: on a busy host that changes all the time and means nothing here.
func sameHost(a, b *Topology) bool {
	if a == nil || b == nil || a.Self != b.Self || len(a.Namespaces) != len(b.Namespaces) {
		return false
	}
	for i, n := range a.Namespaces {
		m := b.Namespaces[i]
		if n.ID != m.ID || n.Name != m.Name || n.NameFrom != m.NameFrom || firstPath(n) != firstPath(m) ||
			!slices.Equal(n.Routes, m.Routes) || !reflect.DeepEqual(n.Routing, m.Routing) || fmt.Sprint(n.Unreadable) != fmt.Sprint(m.Unreadable) ||
			!reflect.DeepEqual(n.Links, m.Links) || !slices.Equal(n.containerNames, m.containerNames) {
			return false
		}
	}
	return reflect.DeepEqual(a.Containers, b.Containers) && reflect.DeepEqual(a.Networks, b.Networks) &&
		reflect.DeepEqual(a.Engine, b.Engine) && slices.Equal(a.Proxies, b.Proxies) && slices.Equal(a.Notes, b.Notes)
}

func firstPath(n *Namespace) string {
	if len(n.Paths) == 0 {
		return ""
	}
	return n.Paths[0]
}
