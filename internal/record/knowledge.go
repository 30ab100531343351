package record

import (
	"maps"
	"net"
	"strconv"
	"strings"

	"natlens/capture"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// knowledge is what a file has to begin with in order to stand alone.
type knowledge struct {
	topology *netinfo.Topology
	rulesets map[netns.ID]*netfilter.Ruleset
	rings    map[netns.ID]ring
	flows    flowTable
	// silent has the namespaces whose connection tracking was heard of, and
	// whether it tells no events.
	silent map[netns.ID]bool
}

func newKnowledge() knowledge {
	return knowledge{rulesets: map[netns.ID]*netfilter.Ruleset{}, rings: map[netns.ID]ring{}, flows: flowTable{}, silent: map[netns.ID]bool{}}
}

// each writes all of it.
func (k *knowledge) each(write func(kind uint32, value any), version func(key versionKey, value any, repeated bool)) {
	if k.topology != nil {
		version(versionKey{kind: kindTopology}, topologyOf(k.topology), true)
	}
	for _, r := range k.rings {
		write(kindRing, again[ring]{Again: true, Value: r})
	}
	for _, r := range k.rulesets {
		version(versionKey{kindRuleset, r.Namespace}, r, true)
	}
	for ns, silent := range k.silent {
		write(kindFlows, flows{Again: true, Namespace: ns, Silent: &silent})
	}
	k.flows.again(func(f flows) { write(kindFlows, f) })
}

// heardOf returns whether connection tracking is silent where b is from, when that
// is news: it was not heard of before, or was otherwise. Else nil.
func (k *knowledge) heardOf(b *netfilter.Batch) *bool {
	was, heard := k.silent[b.Namespace]
	silent := b.Silent || was && !b.Synced
	k.silent[b.Namespace] = silent
	if heard && silent == was {
		return nil
	}
	return &silent
}

// forget drops a namespace that is not watched any more.
func (k *knowledge) forget(ns netns.ID) {
	delete(k.rings, ns)
	delete(k.rulesets, ns)
	delete(k.silent, ns)
	for key := range k.flows {
		if key.namespace == ns {
			delete(k.flows, key)
		}
	}
}

// keep forgets the namespaces that are neither watched nor there: what was told of
// them can come after the word that they went.
func (k *knowledge) keep(t *netinfo.Topology) {
	gone := func(ns netns.ID) bool {
		_, watched := k.rings[ns]
		return !watched && t.Namespace(ns) == nil
	}
	for ns := range k.silent {
		if gone(ns) {
			k.forget(ns)
		}
	}
	maps.DeleteFunc(k.rulesets, func(ns netns.ID, _ *netfilter.Ruleset) bool { return gone(ns) })
}

// place names where a packet was seen.
func (k *knowledge) place(o *capture.Observation) (namespace, link string) {
	link = "if" + strconv.Itoa(int(o.Ifindex))
	if l := k.topology.Link(netinfo.LinkKey{Namespace: o.Namespace, Index: o.Ifindex}); l != nil {
		link = l.Name
	}
	return k.topology.NamespaceName(o.Namespace), link
}

// describe says in words what a link is.
func (k *knowledge) describe(ns netns.ID, ifindex int32) (words string, mac [6]byte) {
	l := k.topology.Link(netinfo.LinkKey{Namespace: ns, Index: ifindex})
	if l == nil {
		return "", mac
	}
	parts := []string{string(l.Role)}
	if l.Role == netinfo.RoleOther {
		parts[0] = l.Kind
	}
	if l.Peer != nil && l.Peer.Name != "" {
		parts = append(parts, "other end: "+k.topology.NamespaceName(l.Peer.Key.Namespace)+"/"+l.Peer.Name)
	}
	if l.Master != nil {
		if m := k.topology.Link(*l.Master); m != nil {
			parts = append(parts, "port of "+m.Name)
		}
	}
	if l.Network != "" {
		parts = append(parts, "network "+l.Network)
	}
	for _, a := range l.Addresses {
		parts = append(parts, a.String())
	}
	if hw, err := net.ParseMAC(l.MAC); err == nil && len(hw) == len(mac) {
		mac = [6]byte(hw)
	}
	return clean(strings.Join(parts, ", ")), mac
}
