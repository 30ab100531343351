package netfilter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// xtablesMatchText writes an xtables match with its options; false when there
// is no telling.
func xtablesMatchText(e *expression) (string, bool) {
	switch {
	case e.extension == "comment":
		return "-m comment --comment " + quoteXtables(text(e.data)), true
	case (e.extension == "tcp" || e.extension == "udp") && e.revision == 0:
		p, ok := decodePorts(e.extension, e.data)
		if !ok || p.option != 0 {
			return "", false
		}
		s := "-m " + e.extension + portOption("--sport", p.source, p.invertSource) + portOption("--dport", p.destination, p.invertDestination)
		if p.plain() {
			return s, true
		}
		flags, ok := tcpFlagsText(p.flagMask, p.flags, p.invertFlags)
		return s + flags, ok
	case e.extension == "multiport" && e.revision == 1:
		m, ok := decodeMultiport(e.data)
		if !ok {
			return "", false
		}
		return "-m multiport" + bang(m.invert) + [...]string{" --sports ", " --dports ", " --ports "}[m.where] + m.text(), true
	case e.extension == "mark" && e.revision == 1:
		m, ok := decodeMark(e.data)
		if !ok {
			return "", false
		}
		s := "-m mark" + bang(m.invert) + fmt.Sprintf(" --mark %#x", m.mark)
		if m.mask != 1<<32-1 {
			s += fmt.Sprintf("/%#x", m.mask)
		}
		return s, true
	case e.extension == "addrtype" && e.revision == 1:
		return addressTypeText(e.data)
	case e.extension == "conntrack" || e.extension == "state":
		return conntrackText(e)
	case e.extension == "physdev" && e.revision == 0:
		return physdevText(e)
	case e.extension == "owner" && e.revision == 1:
		return ownerText(e)
	case e.extension == "connmark" && e.revision == 1:
		return connmarkText(e)
	case e.extension == "statistic" && e.revision == 0:
		return statisticText(e)
	case e.extension == "limit" && e.revision == 0:
		return xtLimitText(e)
	case e.extension == "set":
		return ipsetText(e)
	case e.extension == "icmp" && e.extensionFamily == familyIPv4:
		return icmpText(e.data, "-m icmp", " --icmp-type ", true)
	case e.extension == "icmp6" && e.extensionFamily == familyIPv6:
		return icmpText(e.data, "-m icmp6", " --icmpv6-type ", false)
	}
	return plainMatchText(e)
}

func bang(invert bool) string {
	if invert {
		return " !"
	}
	return ""
}

func portOption(option string, r [2]uint16, invert bool) string {
	if r == [2]uint16{0, 65535} && !invert {
		return ""
	}
	return bang(invert) + " " + option + " " + portRange(r, ":")
}

func portRange(r [2]uint16, between string) string {
	s := strconv.Itoa(int(r[0]))
	if r[0] != r[1] {
		s += between + strconv.Itoa(int(r[1]))
	}
	return s
}

func (m multiport) text() string {
	var list []string
	for _, r := range m.ranges {
		list = append(list, portRange(r, ":"))
	}
	return strings.Join(list, ",")
}

// addressTypeNames are iptables' words in the order of RTN_*.
var addressTypeNames = [...]string{
	"UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE",
}

func addressTypeText(b []byte) (string, bool) {
	a, ok := decodeAddressType(b)
	if !ok {
		return "", false
	}
	s := "-m addrtype"
	if a.source != 0 {
		s += bang(a.invertSource) + " --src-type " + addressTypes(a.source)
	}
	if a.destination != 0 {
		s += bang(a.invertDestination) + " --dst-type " + addressTypes(a.destination)
	}
	if a.limitIn {
		s += " --limit-iface-in"
	}
	if a.limitOut {
		s += " --limit-iface-out"
	}
	return s, true
}

func addressTypes(bits uint16) string {
	var list []string
	for i, name := range addressTypeNames {
		if bits>>i&1 != 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, ",")
}

func icmpText(b []byte, match, option string, anyType bool) (string, bool) {
	m, ok := decodeICMP(b)
	if !ok {
		return "", false
	}
	if anyType && m.kind == 0xff {
		return match + bang(m.invert) + option + "any", true
	}
	s := match + bang(m.invert) + option + strconv.Itoa(int(m.kind))
	if m.from != 0 || m.to != 0xff {
		s += "/" + strconv.Itoa(int(m.from))
	}
	return s, m.from == m.to || m.from == 0 && m.to == 0xff
}

// xtablesTargetText writes an xtables target with its options; false when there
// is no telling.
func xtablesTargetText(e *expression) (string, bool) {
	switch e.extension {
	case "MARK":
		mark, mask, ok := decodeMarkTarget(e)
		return fmt.Sprintf("MARK --set-xmark %#x/%#x", mark, mask), ok
	case "LOG":
		return logText(e.data)
	case "REJECT":
		return rejectText(e)
	case "TCPMSS":
		return mssText(e)
	case "CT":
		return ctTargetText(e)
	case "CONNMARK":
		return connmarkTargetText(e)
	case "NFLOG":
		return nflogText(e)
	case "NFQUEUE":
		return queueText(e)
	case "TPROXY":
		return tproxyText(e)
	case "MASQUERADE", "REDIRECT", "SNAT", "DNAT", "NETMAP":
		t, ok := decodeTranslation(e)
		if !ok {
			return "", false
		}
		return e.extension + t.text(e.extension), true
	}
	return "", false
}

// logText reads struct xt_log_info.
func logText(b []byte) (string, bool) {
	const defaultLevel = 4
	if len(b) < 32 {
		return "", false
	}
	s := "LOG"
	if prefix := text(b[2:32]); prefix != "" {
		s += " --log-prefix " + quoteXtables(prefix)
	}
	if b[0] != defaultLevel {
		s += " --log-level " + strconv.Itoa(int(b[0]))
	}
	for i, option := range []string{" --log-tcp-sequence", " --log-tcp-options", " --log-ip-options", " --log-uid", "", " --log-macdecode"} {
		if b[1]>>i&1 != 0 {
			s += option
		}
	}
	return s, true
}

func (t translation) text(target string) string {
	var s string
	ports := ""
	if t.flags&rangePorts != 0 {
		ports = portRange(t.ports, "-")
	}
	switch target {
	case "MASQUERADE", "REDIRECT":
		if ports != "" {
			s = " --to-ports " + ports
		}
	case "SNAT":
		s = " --to-source " + t.addresses(ports)
	case "DNAT":
		if t.flags&rangePortOffset != 0 {
			ports += "/" + strconv.Itoa(int(t.base))
		}
		s = " --to-destination " + t.addresses(ports)
	case "NETMAP":
		return " --to " + t.network()
	}
	for _, option := range []struct {
		flag uint32
		text string
	}{{rangeRandom, " --random"}, {rangeRandomFully, " --random-fully"}, {rangePersistent, " --persistent"}} {
		if t.flags&option.flag != 0 {
			s += option.text
		}
	}
	return s
}

func (t translation) addresses(ports string) string {
	s := ""
	if t.flags&rangeMapAddresses != 0 {
		s = t.from.String()
		if t.from != t.to {
			s += "-" + t.to.String()
		}
		if t.inet6 && ports != "" {
			s = "[" + s + "]"
		}
	}
	if ports != "" {
		s += ":" + ports
	}
	return s
}

// network writes what NETMAP maps to: the range is a whole network.
func (t translation) network() string {
	from, to := t.from.AsSlice(), t.to.AsSlice()
	mask := make([]byte, len(from))
	for i := range from {
		mask[i] = ^(from[i] ^ to[i])
	}
	bits, ok := maskBits(mask)
	if !ok {
		a, _ := netip.AddrFromSlice(mask)
		return t.from.String() + "/" + a.String()
	}
	if bits == 8*len(mask) {
		return t.from.String()
	}
	return t.from.String() + "/" + strconv.Itoa(bits)
}

// nativeMark reads a mark out of a register's bytes.
func nativeMark(b []byte) (uint32, bool) {
	if len(b) != 4 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(b), true
}
