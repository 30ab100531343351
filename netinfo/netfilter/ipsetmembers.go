package netfilter

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"natlens/capture/packet"
)

// ipset is a set of ipset that rules ask for, as it was read at Ruleset.Time. What it
// is asked is decided as the kernel does (net/netfilter/ipset). It is immutable once
// sealed.
type ipset struct {
	kind   string // its type: "hash:net,port"
	family uint8  // of its addresses; 0: it has none, or sets of either
	// netmask is how many bits of the first address count; 0: all.
	netmask int
	members []ipsetMember
	// unreadable is why its members are not known; empty when they are.
	unreadable string
	// since is from when on it is known to have had these members.
	since int64
	// written: a rule adds members to it, or takes some out.
	written bool

	parts   []string // of kind: what each dimension is
	index   map[ipsetKey][]int
	lengths [][2]int // of the prefixes in index, in the order in which they are asked
}

// ipsetMember is one member. What its type has not is zero.
type ipsetMember struct {
	first, second netip.Prefix
	port          uint16 // of ICMP: type and code
	protocol      packet.Protocol
	link          string
	wildcard      bool // link is what names begin with
	physdev       bool // link is the port of a bridge
	nomatch       bool // what it holds is not in the set
	set           string
	expires       int64 // in nanoseconds since the Unix epoch, or up to a second later; 0: never
}

// ipsetKey is what members are looked up by.
type ipsetKey struct {
	first, second netip.Prefix
	port          uint16
	protocol      packet.Protocol
}

// seal prepares what test needs.
func (s *ipset) seal() {
	_, dimensions, _ := strings.Cut(s.kind, ":")
	s.parts = strings.Split(dimensions, ",")
	s.index = map[ipsetKey][]int{}
	lengths := map[[2]int]bool{}
	for i := range s.members {
		m := &s.members[i]
		k := ipsetKey{m.first, m.second, m.port, m.protocol}
		s.index[k] = append(s.index[k], i)
		lengths[[2]int{m.first.Bits(), m.second.Bits()}] = true
	}
	// The longest prefix decides, first that of the first network (mtype_test_cidrs).
	s.lengths = slices.SortedFunc(maps.Keys(lengths), func(a, b [2]int) int { return cmp.Or(b[0]-a[0], b[1]-a[1]) })
}

// sameMembers reports whether an older reading had the same ones. One that expired in
// between and is there again has come anew.
func (s *ipset) sameMembers(old *ipset, now int64) bool {
	if old == nil || s.kind != old.kind || s.family != old.family || s.netmask != old.netmask || s.unreadable != old.unreadable || len(s.members) != len(old.members) {
		return false
	}
	lives := make(map[ipsetMember]int64, len(old.members))
	for _, m := range old.members {
		expires := m.expires
		m.expires = 0
		lives[m] = expires
	}
	for _, m := range s.members {
		m.expires = 0
		expires, there := lives[m]
		if !there || expires != 0 && expires < now {
			return false
		}
	}
	return true
}

// ipsetQuery is what a rule asks a set about a packet.
type ipsetQuery struct {
	ipsetMatch
	at int64 // when; 0: when the set was read
}

// inIPSet evaluates a -m set that asks for nothing but the set.
func (m *machine) inIPSet(e *expression) truth {
	q := ipsetQuery{at: m.packet.Time}
	var plain, ok bool
	q.ipsetMatch, plain, ok = decodeIPSet(e)
	if !ok || !plain {
		m.why = ""
		return maybe
	}
	in := m.member(e.set, q)
	if q.flags&ipsetInvert != 0 {
		return not(in)
	}
	return in
}

// member reports whether the packet is in the set of that name.
func (m *machine) member(name string, q ipsetQuery) truth {
	s := m.ipsets[name]
	m.why = "what is in the set " + name
	switch {
	case s == nil:
		return maybe
	case s.unreadable != "":
		m.why += " (" + s.unreadable + ")"
		return maybe
	case s.written, q.at != 0 && q.at < s.since:
		m.why = "what was in the set " + name + " then"
		return maybe
	case s.kind == "list:set":
		return m.memberOfList(s, q)
	case int(q.dimensions) < len(s.parts), s.family != 0 && s.family != m.family():
		return no // ip_set_test
	}
	k, link, t := m.ipsetKey(s, q)
	if t != yes {
		return t
	}
	return s.find(k, link, q.at)
}

// memberOfList asks the sets of a list in turn (list_set_ktest).
func (m *machine) memberOfList(s *ipset, q ipsetQuery) truth {
	result := no
	for i := range s.members {
		if one := both(s.members[i].present(q.at), m.member(s.members[i].set, q)); one == yes {
			return yes
		} else if one == maybe {
			result = maybe
		}
	}
	return result
}

// ipsetKey gathers what the set is asked for. no: such a packet is in no set of that
// type; maybe: something of it is not known.
func (m *machine) ipsetKey(s *ipset, q ipsetQuery) (k ipsetKey, link string, t truth) {
	addresses := 0
	for i, part := range s.parts {
		side := destinationSide
		if q.flags&(2<<i) != 0 {
			side = sourceSide
		}
		switch part {
		case "ip", "net":
			if !m.addressKnown[side] {
				m.why = "an address"
				return k, link, maybe
			}
			a := m.packet.Tuple.Destination()
			if side == sourceSide {
				a = m.packet.Tuple.Source()
			}
			if addresses++; addresses == 1 {
				k.first = netip.PrefixFrom(a, a.BitLen())
			} else {
				k.second = netip.PrefixFrom(a, a.BitLen())
			}
		case "port":
			if t := m.ipsetPort(&k, side, s.kind == "bitmap:port"); t != yes {
				return k, link, t
			}
		case "iface":
			if link = m.packet.OutLink; side == sourceSide {
				link = m.packet.InLink
			}
			here := side == sourceSide && m.hook != Output || side == destinationSide && m.hook != Prerouting && m.hook != Input
			switch {
			case !here:
				return k, link, no
			case link == "":
				m.why = incomingLink
				if side == destinationSide {
					m.why = outgoingLink
				}
				return k, link, maybe
			}
		}
	}
	return k, link, yes
}

// ipsetPort puts in the port and its protocol (ip_set_get_ip_port, get_port).
func (m *machine) ipsetPort(k *ipsetKey, side int, bitmap bool) truth {
	t := m.packet.Tuple
	switch {
	case bitmap && t.Protocol != packet.TCP && t.Protocol != packet.UDP:
		return no
	case !bitmap:
		k.protocol = t.Protocol
	}
	switch {
	case t.Protocol == packet.ICMP, t.Protocol == packet.ICMPv6:
		k.port = t.DestinationPort // type and code
	case t.Protocol == protocolUDPLite:
		m.why = "a port"
		return maybe
	case !t.HasPorts():
	case !m.portKnown[side]:
		m.why = "a port"
		return maybe
	case side == sourceSide:
		k.port = t.SourcePort
	default:
		k.port = t.DestinationPort
	}
	return yes
}

// protocolUDPLite has ports, which are not read here (RFC 3828).
const protocolUDPLite packet.Protocol = 136

// find looks for the member that decides.
func (s *ipset) find(k ipsetKey, link string, at int64) truth {
	doubt, multiple := false, slices.Contains(s.parts, "iface")
	for _, bits := range s.lengths {
		cut := k
		var ok bool
		if cut.first, ok = shortened(k.first, bits[0]); !ok {
			continue
		}
		if cut.second, ok = shortened(k.second, bits[1]); !ok {
			continue
		}
		here := s.index[cut]
		for _, i := range here {
			m := &s.members[i]
			if multiple && !m.isAt(link) {
				continue
			}
			switch m.present(at) {
			case no:
				continue
			case maybe:
				doubt = true
				continue
			}
			if doubt {
				return maybe
			}
			return truthOf(!m.nomatch)
		}
		if multiple && len(here) > 0 {
			break // no shorter network is asked, whatever their links
		}
	}
	if doubt {
		return maybe
	}
	return no
}

// shortened returns the prefix cut to bits; an invalid one for bits of -1, that of an
// invalid prefix. false when it is shorter.
func shortened(p netip.Prefix, bits int) (netip.Prefix, bool) {
	if bits < 0 || !p.IsValid() {
		return netip.Prefix{}, bits < 0 && !p.IsValid()
	}
	if bits > p.Bits() {
		return netip.Prefix{}, false
	}
	cut, err := p.Addr().Prefix(bits)
	return cut, err == nil
}

// isAt reports whether a member is of that link. The ports of bridges are asked by
// rules of their own, which are not evaluated here.
func (m *ipsetMember) isAt(link string) bool {
	if m.physdev {
		return false
	}
	return m.link == link || m.wildcard && strings.HasPrefix(link, m.link)
}

// present reports whether the member had not expired by then; 0: when it was read.
func (m *ipsetMember) present(at int64) truth {
	switch {
	case m.expires == 0 || at < m.expires:
		return yes
	case at < m.expires+1e9: // the kernel tells whole seconds
		return maybe
	}
	return no
}
