package netfilter

import (
	"net/netip"
	"slices"

	"natlens/capture/packet"
)

// Attributes of a message about a set (enum in include/uapi/linux/netfilter/ipset/ip_set.h).
const (
	ipsetAttrProtocol = 1
	ipsetAttrName     = 2
	ipsetAttrType     = 3
	ipsetAttrFamily   = 5
	ipsetAttrData     = 7
	ipsetAttrMembers  = 8
	ipsetAttrIndex    = 11

	// Of the set (nested in Data), and of each member.
	ipsetDataAddress  = 1
	ipsetDataCIDR     = 3
	ipsetDataPort     = 4
	ipsetDataTimeout  = 6
	ipsetDataProtocol = 7
	ipsetDataFlags    = 8
	ipsetDataMarkmask = 11
	ipsetDataBitmask  = 12 // since Linux 6.3
	ipsetDataMAC      = 17 // of a member
	ipsetDataNetmask  = 20 // of a set
	ipsetDataName     = 18 // of a member
	ipsetDataAddress2 = 20 // of a member
	ipsetDataCIDR2    = 21
	ipsetDataLink     = 23

	ipsetFlagPhysdev  = 1 << 1
	ipsetFlagNomatch  = 1 << 2
	ipsetFlagWildcard = 1 << 7
)

// ipsetKinds are the types whose members are evaluated.
var ipsetKinds = []string{
	"bitmap:ip", "bitmap:port", "hash:ip", "hash:ip,port", "hash:ip,port,ip", "hash:ip,port,net",
	"hash:net", "hash:net,port", "hash:net,net", "hash:net,port,net", "hash:net,iface", "list:set",
}

// maxIPSetMembers is how many members of a set are read: they are read again and
// again.
const maxIPSetMembers = 1 << 16

// add takes in one message of an answer to IPSET_CMD_LIST: a set's head and some of its
// members, as of the time now.
func (s *ipset) add(a attributes, now int64) {
	ok := true
	for {
		kind, value, more := a.next()
		if !more {
			break
		}
		good := true
		switch kind {
		case ipsetAttrType:
			if s.kind = text(value); !slices.Contains(ipsetKinds, s.kind) {
				s.unreadable = s.kind + " is not evaluated here"
			}
		case ipsetAttrFamily:
			s.family, good = be8(value)
		case ipsetAttrData:
			good = s.head(attributes(value))
		case ipsetAttrMembers:
			good = s.addMembers(attributes(value), now)
		}
		ok = ok && good
	}
	if s.unreadable == "" && (!ok || !a.spent()) {
		s.unreadable = "not understood"
	}
	if s.unreadable != "" {
		s.members = nil
	}
}

// head reads what all members have in common.
func (s *ipset) head(a attributes) bool {
	for {
		kind, value, more := a.next()
		if !more {
			return a.spent()
		}
		switch kind {
		case ipsetDataNetmask:
			bits, ok := be8(value)
			if s.netmask = int(bits); !ok || s.netmask > 128 {
				return false
			}
		case ipsetDataBitmask:
			s.unreadable = "with a bitmask, not evaluated here"
		}
	}
}

func (s *ipset) addMembers(a attributes, now int64) bool {
	for {
		kind, value, more := a.next()
		switch {
		case !more:
			return a.spent()
		case kind != ipsetAttrData || s.unreadable != "":
			continue
		case len(s.members) == maxIPSetMembers:
			s.unreadable = "it has too many members"
			continue
		}
		m, ok := s.decodeMember(attributes(value), now)
		if !ok {
			return false
		}
		s.members = append(s.members, m)
	}
}

// decodeMember reads one member. What may be attached to it (counters, a comment, marks for
// packets) does not decide.
func (s *ipset) decodeMember(a attributes, now int64) (m ipsetMember, ok bool) {
	var first, second netip.Addr
	bits, bits2 := -1, -1
	ok = true
	for {
		kind, value, more := a.next()
		if !more {
			break
		}
		good := true
		switch kind {
		case ipsetDataAddress:
			first, good = ipsetAddress(value)
		case ipsetDataAddress2:
			second, good = ipsetAddress(value)
		case ipsetDataCIDR:
			bits, good = ipsetBits(value)
		case ipsetDataCIDR2:
			bits2, good = ipsetBits(value)
		case ipsetDataPort:
			m.port, good = be16(value)
		case ipsetDataProtocol:
			var p uint8
			p, good = be8(value)
			m.protocol = packet.Protocol(p)
		case ipsetDataLink:
			m.link = text(value)
		case ipsetDataName:
			m.set = text(value)
		case ipsetDataTimeout:
			var seconds uint32
			if seconds, good = be32(value); seconds > 0 {
				m.expires = now + int64(seconds)*1e9
			}
		case ipsetDataFlags:
			var flags uint32
			flags, good = be32(value)
			m.nomatch, m.physdev, m.wildcard = flags&ipsetFlagNomatch != 0, flags&ipsetFlagPhysdev != 0, flags&ipsetFlagWildcard != 0
		}
		ok = ok && good
	}
	if bits < 0 && s.netmask > 0 {
		bits = s.netmask
	}
	var good, good2 bool
	m.first, good = ipsetPrefix(first, bits)
	m.second, good2 = ipsetPrefix(second, bits2)
	return m, ok && good && good2 && a.spent()
}

// ipsetPrefix is an address and how many bits of it count; -1: all.
func ipsetPrefix(a netip.Addr, bits int) (netip.Prefix, bool) {
	if !a.IsValid() {
		return netip.Prefix{}, true
	}
	if bits < 0 {
		bits = a.BitLen()
	}
	p, err := a.Prefix(bits)
	return p, err == nil
}

func ipsetBits(b []byte) (int, bool) {
	n, ok := be8(b)
	return int(n), ok
}

// ipsetAddress reads a nested address of either family.
func ipsetAddress(b []byte) (netip.Addr, bool) {
	a := attributes(b)
	_, value, more := a.next()
	if !more || !a.spent() {
		return netip.Addr{}, false
	}
	addr, ok := netip.AddrFromSlice(value)
	return addr, ok
}
