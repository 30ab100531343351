package filter

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"natlens/trace"
)

// container is a container by its name. It is a property of the journey rather
// than of a place: the packet was seen in that container's namespace or at the
// host's end of its veth, or begins or ends there; with src it begins there, with
// dst it ends there.
type container struct {
	direction direction
	name      string
}

func (c container) match(s sighting) bool {
	if c.direction == eitherEnd {
		return s.at(c.name)
	}
	return c.direction.of(s.from(c.name), s.to(c.name))
}

func (c container) bounds() bounds { return anyKind() }

func (c container) String() string { return c.direction.prefix() + "container " + c.name }

// network is an engine's network by its name. It is true at a hop on a link of
// the network: its bridge, a veth that is a port of it, or the link inside a
// container. It is true at all places when the packet begins (src) or ends (dst)
// with an address that a container has on that network, before or after
// translation respectively; so a packet counts that was dropped before it came
// to a link of the network. A container on two networks belongs to the one
// whose address it used.
type network struct {
	direction direction
	name      string
}

func (n network) match(s sighting) bool {
	if n.direction == eitherEnd {
		if l := s.link(); l != nil && l.Network == n.name {
			return true
		}
	}
	return n.direction.of(n.has(&s, s.journey.From.IP), n.has(&s, s.journey.To.IP))
}

// has reports whether a container has the address on the network.
func (n network) has(s *sighting, a netip.Addr) bool {
	if s.journey.Topology == nil || !a.IsValid() {
		return false
	}
	for _, known := range s.journey.Topology.Networks {
		if known.Name != n.name {
			continue
		}
		for i := range known.Members {
			for _, p := range known.Members[i].Addresses {
				if p.Addr() == a.Unmap() {
					return true
				}
			}
		}
	}
	return false
}

func (n network) bounds() bounds { return anyKind() }

func (n network) String() string { return n.direction.prefix() + "network " + n.name }

// link is a link by its name: of natlens's own namespace when namespace is empty,
// or of any file of another program, which is a namespace of its own; else of the
// namespace of that name or of the container.
type link struct{ namespace, name string }

// AtLink reports whether a hop of j was seen at the link that word names, LINK or
// NAMESPACE:LINK (or NAMESPACE/LINK, as files name it), as "link WORD" means it.
func AtLink(j *trace.Journey, h *trace.Hop, word string) bool { return linkNamed(word).saw(j, h) }

// linkNamed reads LINK or NAMESPACE:LINK. No link has a colon or a slash in its name
// (net/core/dev.c, dev_valid_name).
func linkNamed(s string) link {
	if at := strings.LastIndexAny(s, ":/"); at >= 0 {
		return link{s[:at], s[at+1:]}
	}
	return link{name: s}
}

func (l link) match(s sighting) bool { return s.hop != nil && l.saw(s.journey, s.hop) }

func (l link) saw(j *trace.Journey, h *trace.Hop) bool {
	switch {
	case h.Interface != l.name:
		return false
	case l.namespace == "":
		return j.OwnHop(h) || ofFile(j, h)
	}
	return h.Namespace == l.namespace || slices.Contains(h.Containers, l.namespace)
}

// ofFile reports whether a hop is from a file of another program.
func ofFile(j *trace.Journey, h *trace.Hop) bool {
	n := j.Topology.Namespace(h.Point.Namespace)
	return n != nil && n.NameFrom == "file"
}

func (l link) bounds() bounds { return anyKind() }

func (l link) String() string { return "link " + l.word() }

// word is what linkNamed reads.
func (l link) word() string {
	if l.namespace == "" {
		return l.name
	}
	return l.namespace + ":" + l.name
}

// nat is a translation of that kind, or of any when it is empty; on answers, the
// undoing of it. A proxy makes a connection of its own, which is no translation.
type nat struct{ kind string }

// natKinds are the words behind nat: those that journeys use.
var natKinds = []string{trace.SNAT, trace.DNAT, trace.Redirect, trace.Masquerade, trace.Netmap}

func (n nat) match(s sighting) bool {
	return slices.ContainsFunc(s.journey.Translations, func(t trace.Translation) bool {
		return t.Kind == n.kind || n.kind == "" && t.Kind != trace.Proxy
	})
}

func (n nat) bounds() bounds { return anyKind() }

func (n nat) String() string {
	if n.kind == "" {
		return "nat"
	}
	return "nat " + n.kind
}

// verdict is how the journey ended.
type verdict trace.Result

var results = []string{
	string(trace.Delivered), string(trace.Left), string(trace.Dropped), string(trace.Vanished),
	string(trace.Flooded), string(trace.Looped), string(trace.Unfinished),
}

func (v verdict) match(s sighting) bool { return s.journey.Verdict.Result == trace.Result(v) }

func (v verdict) bounds() bounds { return anyKind() }

func (v verdict) String() string { return "verdict " + string(v) }

// flow is a conntrack entry by its id, which several namespaces may use for
// entries of their own.
type flow uint32

func (f flow) match(s sighting) bool {
	for i := range s.journey.Flows {
		if s.journey.Flows[i].ID == uint32(f) {
			return true
		}
	}
	return slices.ContainsFunc(s.journey.Translations, func(t trace.Translation) bool { return t.ConntrackID == uint32(f) })
}

func (f flow) bounds() bounds { return anyKind() }

func (f flow) String() string { return "flow " + strconv.FormatUint(uint64(f), 10) }
