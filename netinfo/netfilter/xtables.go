package netfilter

import (
	"encoding/binary"
	"net/netip"

	"natlens/capture/packet"
)

// Extensions of iptables that iptables-nft hands to the kernel whole, as the C
// structures of include/uapi/linux/netfilter*/, in the host's byte order but
// for addresses and translated ports.

// portMatch is struct xt_tcp or struct xt_udp.
type portMatch struct {
	source, destination             [2]uint16 // from, to
	invertSource, invertDestination bool
	option, flagMask, flags         uint8 // tcp
	invertOption, invertFlags       bool
}

// plain reports whether nothing but ports is asked.
func (m portMatch) plain() bool { return m.option == 0 && m.flagMask == 0 }

func decodePorts(name string, b []byte) (m portMatch, ok bool) {
	size, inversion := 12, 11
	if name == "udp" {
		size, inversion = 9, 8
	}
	if len(b) < size {
		return m, false
	}
	for i := range 2 {
		m.source[i] = binary.NativeEndian.Uint16(b[i*2:])
		m.destination[i] = binary.NativeEndian.Uint16(b[4+i*2:])
	}
	m.invertSource, m.invertDestination = b[inversion]&1 != 0, b[inversion]&2 != 0
	if name == "tcp" {
		m.option, m.flagMask, m.flags = b[8], b[9], b[10]
		m.invertFlags, m.invertOption = b[inversion]&4 != 0, b[inversion]&8 != 0
	}
	return m, true
}

// multiport is struct xt_multiport_v1.
type multiport struct {
	where  uint8 // 0 source, 1 destination, 2 either
	ranges [][2]uint16
	invert bool
}

func decodeMultiport(b []byte) (m multiport, ok bool) {
	const most = 15
	if len(b) < 2+3*most+1 || b[1] > most || b[0] > 2 {
		return m, false
	}
	m.where, m.invert = b[0], b[2+3*most] != 0
	for i := 0; i < int(b[1]); i++ {
		port := binary.NativeEndian.Uint16(b[2+2*i:])
		r := [2]uint16{port, port}
		if b[2+2*most+i] != 0 { // the next port ends a range
			if i++; i >= int(b[1]) {
				return m, false
			}
			r[1] = binary.NativeEndian.Uint16(b[2+2*i:])
		}
		m.ranges = append(m.ranges, r)
	}
	return m, true
}

// markMatch is struct xt_mark_mtinfo1.
type markMatch struct {
	mark, mask uint32
	invert     bool
}

func decodeMark(b []byte) (m markMatch, ok bool) {
	if len(b) < 9 {
		return m, false
	}
	return markMatch{binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:]), b[8] != 0}, true
}

// addressType is struct xt_addrtype_info_v1. Types are bits, 1 << RTN_*.
type addressType struct {
	source, destination             uint16
	invertSource, invertDestination bool
	limitIn, limitOut               bool
}

func decodeAddressType(b []byte) (m addressType, ok bool) {
	if len(b) < 8 {
		return m, false
	}
	flags := binary.NativeEndian.Uint32(b[4:])
	return addressType{
		source: binary.NativeEndian.Uint16(b), destination: binary.NativeEndian.Uint16(b[2:]),
		invertSource: flags&1 != 0, invertDestination: flags&2 != 0, limitIn: flags&4 != 0, limitOut: flags&8 != 0,
	}, true
}

// icmpMatch is struct ipt_icmp or ip6t_icmp.
type icmpMatch struct {
	kind     uint8 // in IPv4 255 is any
	from, to uint8 // codes
	invert   bool
}

func decodeICMP(b []byte) (m icmpMatch, ok bool) {
	if len(b) < 4 {
		return m, false
	}
	return icmpMatch{b[0], b[1], b[2], b[3]&1 != 0}, true
}

// match evaluates an xtables match.
func (m *machine) match(e *expression) truth {
	t := m.packet.Tuple
	switch {
	case e.extension == "comment":
		return yes
	case e.extension == "conntrack", e.extension == "state" && e.revision == 0:
		return m.conntrack(e)
	case e.extension == "physdev" && e.revision == 0:
		return m.physdev(e)
	case e.extension == "tcp" && e.revision == 0, e.extension == "udp" && e.revision == 0:
		p, ok := decodePorts(e.extension, e.data)
		if !ok {
			return maybe
		}
		if (t.Protocol == packet.TCP) != (e.extension == "tcp") || !t.HasPorts() {
			return no
		}
		ports := both(m.portWithin(sourceSide, p.source, p.invertSource), m.portWithin(destinationSide, p.destination, p.invertDestination))
		return both(ports, m.tcpOptions(p))
	case e.extension == "multiport" && e.revision == 1:
		return m.multiport(e)
	case e.extension == "mark" && e.revision == 1:
		k, ok := decodeMark(e.data)
		if !ok {
			m.why = "the packet's mark"
			return maybe
		}
		has := m.hasMark(k.mark, k.mask)
		if k.invert {
			return not(has)
		}
		return has
	case e.extension == "addrtype" && e.revision == 1:
		a, ok := decodeAddressType(e.data)
		if !ok || a.limitIn || a.limitOut {
			return maybe
		}
		return both(m.addressType(a.source, true, a.invertSource), m.addressType(a.destination, false, a.invertDestination))
	case e.extension == "icmp" && e.extensionFamily == familyIPv4, e.extension == "icmp6" && e.extensionFamily == familyIPv6:
		return m.icmp(e)
	case e.extension == "set" && e.set != "":
		return m.inIPSet(e)
	case e.extension == "ip":
		return m.ebtablesIP(e)
	case e.extension == "iprange" && e.revision == 1:
		return m.addressRange(e)
	case e.extension == "mac" && e.revision == 0:
		return m.sourceMAC(e)
	}
	m.why = ""
	return maybe
}

// portWithin compares a port of the packet.
func (m *machine) portWithin(side int, r [2]uint16, invert bool) truth {
	if r == [2]uint16{0, 65535} {
		return truthOf(!invert)
	}
	if !m.portKnown[side] {
		m.why = "a port"
		return maybe
	}
	port := m.packet.Tuple.SourcePort
	if side == destinationSide {
		port = m.packet.Tuple.DestinationPort
	}
	return truthOf(within(port, r, invert))
}

// tcpOptions compares flags.
func (m *machine) tcpOptions(p portMatch) truth {
	switch {
	case p.plain():
		return yes
	case p.option != 0 || !m.packet.TCPFlagsKnown:
		m.why = "its TCP flags and options"
		return maybe
	}
	return truthOf((m.packet.TCPFlags&p.flagMask == p.flags) != p.invertFlags)
}

func within(port uint16, r [2]uint16, invert bool) bool {
	return (port >= r[0] && port <= r[1]) != invert
}

func both(a, b truth) truth {
	switch {
	case a == no || b == no:
		return no
	case a == maybe || b == maybe:
		return maybe
	}
	return yes
}

func either(a, b truth) truth { return not(both(not(a), not(b))) }

func (m *machine) multiport(e *expression) truth {
	p, ok := decodeMultiport(e.data)
	t := m.packet.Tuple
	if !ok || !t.HasPorts() {
		m.why = "its ports"
		return maybe
	}
	hit := no
	for _, r := range p.ranges {
		if p.where != 1 {
			hit = either(hit, m.portWithin(sourceSide, r, false))
		}
		if p.where != 0 {
			hit = either(hit, m.portWithin(destinationSide, r, false))
		}
	}
	if p.invert {
		return not(hit)
	}
	return hit
}

// addressType evaluates one address. Only "local" is known of an address.
func (m *machine) addressType(types uint16, source, invert bool) truth {
	if types == 0 {
		return yes
	}
	result := maybe
	switch local := m.local(source); {
	case local == maybe:
	case types == 1<<routeLocal:
		result = local
	case local == yes:
		result = truthOf(types&(1<<routeLocal) != 0)
	}
	if invert {
		return not(result)
	}
	return result
}

func (m *machine) icmp(e *expression) truth {
	p, ok := decodeICMP(e.data)
	if !ok {
		return maybe
	}
	t := m.packet.Tuple
	if t.Protocol != packet.ICMP && t.Protocol != packet.ICMPv6 {
		return no
	}
	kind, code := uint8(t.DestinationPort>>8), uint8(t.DestinationPort)
	hit := kind == p.kind && code >= p.from && code <= p.to || e.extensionFamily == familyIPv4 && p.kind == 0xff
	return truthOf(hit != p.invert)
}

// translation is what the NAT targets hold: struct nf_nat_range2, the older
// nf_nat_range, or nf_nat_ipv4_multi_range_compat.
type translation struct {
	flags    uint32
	from, to netip.Addr
	ports    [2]uint16
	base     uint16 // of --to-destination …:from-to/base
	inet6    bool
}

// decodeTranslation reads a NAT target's structure.
func decodeTranslation(e *expression) (t translation, ok bool) {
	b := e.data
	t.inet6 = e.extensionFamily == familyIPv6
	if !t.inet6 && e.revision == 0 {
		if len(b) < 20 || binary.NativeEndian.Uint32(b) != 1 {
			return t, false
		}
		t.flags = binary.NativeEndian.Uint32(b[4:])
		t.from, t.to = netip.AddrFrom4([4]byte(b[8:12])), netip.AddrFrom4([4]byte(b[12:16]))
		t.ports = [2]uint16{binary.BigEndian.Uint16(b[16:]), binary.BigEndian.Uint16(b[18:])}
		return t, true
	}
	if e.revision > 2 || len(b) < 40 {
		return t, false
	}
	t.flags = binary.NativeEndian.Uint32(b)
	if t.inet6 {
		t.from, t.to = netip.AddrFrom16([16]byte(b[4:20])), netip.AddrFrom16([16]byte(b[20:36]))
	} else {
		t.from, t.to = netip.AddrFrom4([4]byte(b[4:8])), netip.AddrFrom4([4]byte(b[20:24]))
	}
	t.ports = [2]uint16{binary.BigEndian.Uint16(b[36:]), binary.BigEndian.Uint16(b[38:])}
	if e.revision == 2 {
		if len(b) < 42 {
			return t, false
		}
		t.base = binary.BigEndian.Uint16(b[40:])
	}
	return t, true
}

// decodeMarkTarget reads struct xt_mark_tginfo2.
func decodeMarkTarget(e *expression) (mark, mask uint32, ok bool) {
	if e.revision != 2 || len(e.data) < 8 {
		return 0, 0, false
	}
	return binary.NativeEndian.Uint32(e.data), binary.NativeEndian.Uint32(e.data[4:]), true
}
