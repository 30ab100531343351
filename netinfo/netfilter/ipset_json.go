package netfilter

import (
	"net/netip"

	"natlens/capture/packet"
)

// ipsetJSON is a set of ipset in a capture file.
type ipsetJSON struct {
	Name       string
	Type       string            `json:",omitempty"`
	Family     uint8             `json:",omitempty"`
	Netmask    int               `json:",omitempty"`
	Unreadable string            `json:",omitempty"`
	Since      int64             `json:",omitempty"`
	Written    bool              `json:",omitempty"`
	Members    []ipsetMemberJSON `json:",omitempty"`
}

type ipsetMemberJSON struct {
	First    netip.Prefix    `json:"a,omitzero"`
	Second   netip.Prefix    `json:"b,omitzero"`
	Port     uint16          `json:"p,omitempty"`
	Protocol packet.Protocol `json:"pr,omitempty"`
	Link     string          `json:"l,omitempty"`
	Wildcard bool            `json:"w,omitempty"`
	Physdev  bool            `json:"ph,omitempty"`
	Nomatch  bool            `json:"n,omitempty"`
	Set      string          `json:"s,omitempty"`
	Expires  int64           `json:"e,omitempty"`
}

func (r *Ruleset) jsonIPSets() (list []ipsetJSON) {
	for _, name := range sortedNames(r.ipsets) {
		s := r.ipsets[name]
		out := ipsetJSON{
			Name: name, Type: s.kind, Family: s.family, Netmask: s.netmask, Unreadable: s.unreadable, Since: s.since, Written: s.written,
		}
		for _, m := range s.members {
			out.Members = append(out.Members, ipsetMemberJSON{
				First: m.first, Second: m.second, Port: m.port, Protocol: m.protocol, Link: m.link, Wildcard: m.wildcard, Physdev: m.physdev,
				Nomatch: m.nomatch, Set: m.set, Expires: m.expires,
			})
		}
		list = append(list, out)
	}
	return list
}

func (r *Ruleset) learnIPSets(list []ipsetJSON) {
	for i := range list {
		in := &list[i]
		s := &ipset{
			kind: in.Type, family: in.Family, netmask: in.Netmask, unreadable: in.Unreadable, since: in.Since, written: in.Written,
		}
		for _, m := range in.Members {
			s.members = append(s.members, ipsetMember{
				first: m.First, second: m.Second, port: m.Port, protocol: m.Protocol, link: m.Link, wildcard: m.Wildcard, physdev: m.Physdev,
				nomatch: m.Nomatch, set: m.Set, expires: m.Expires,
			})
		}
		s.seal()
		if r.ipsets == nil {
			r.ipsets = map[string]*ipset{}
		}
		r.ipsets[in.Name] = s
	}
}
