package netfilter

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Words of -m conntrack, in the order in which iptables prints them.
var (
	conntrackStateNames = []bitName{
		{stateInvalidBit, "INVALID"}, {stateNewBit, "NEW"}, {stateRelatedBit, "RELATED"}, {stateEstablishedBit, "ESTABLISHED"},
		{conntrackStateUntracked, "UNTRACKED"}, {conntrackStateSourceNAT, "SNAT"}, {conntrackStateDestinationNAT, "DNAT"},
	}
	conntrackStatusNames = []bitName{{1, "EXPECTED"}, {2, "SEEN_REPLY"}, {4, "ASSURED"}, {8, "CONFIRMED"}}
)

type bitName struct {
	bit  uint32
	name string
}

func bitNames(bits uint32, names []bitName, none string) (string, bool) {
	var list []string
	for _, n := range names {
		if bits&n.bit != 0 {
			list = append(list, n.name)
			bits &^= n.bit
		}
	}
	if len(list) == 0 {
		return none, bits == 0
	}
	return strings.Join(list, ","), bits == 0
}

// conntrackText writes -m conntrack, or -m state, where it asks for state, status
// or direction.
func conntrackText(e *expression) (string, bool) {
	if e.extension == "state" {
		if len(e.data) < 4 {
			return "", false
		}
		names, ok := bitNames(binary.NativeEndian.Uint32(e.data), conntrackStateNames, "")
		return "-m state --state " + names, ok && names != ""
	}
	c, ok := decodeXTConntrack(e)
	if !ok || c.match&^(conntrackState|conntrackStatus|conntrackDirection|conntrackStateAlias|conntrackProtocol|conntrackAddresses|conntrackPorts) != 0 {
		return "", false
	}
	option, s := " --ctstate ", "-m conntrack"
	if c.match&conntrackStateAlias != 0 {
		option, s = " --state ", "-m state"
	}
	if c.match&conntrackState != 0 {
		names, known := bitNames(uint32(c.state), conntrackStateNames, "")
		s, ok = s+bang(c.invert&conntrackState != 0)+option+names, ok && known && names != ""
	}
	if c.match&conntrackProtocol != 0 {
		s += bang(c.invert&conntrackProtocol != 0) + fmt.Sprintf(" --ctproto %d", c.protocol)
	}
	s += c.endsText(e.extensionFamily)
	if c.match&conntrackStatus != 0 {
		names, known := bitNames(uint32(c.status), conntrackStatusNames, "NONE")
		s, ok = s+bang(c.invert&conntrackStatus != 0)+" --ctstatus "+names, ok && known
	}
	if c.match&conntrackDirection != 0 {
		s += " --ctdir " + map[bool]string{false: "ORIGINAL", true: "REPLY"}[c.invert&conntrackDirection != 0]
	}
	return s, ok
}

// endsText writes the addresses and ports of both directions.
func (c *xtConntrack) endsText(family byte) (s string) {
	ends := [...]string{"origsrc", "origdst", "replsrc", "repldst"}
	for i, end := range ends {
		if bit := uint16(conntrackAddress << i); c.match&bit != 0 {
			s += bang(c.invert&bit != 0) + " --ct" + end + " " + conntrackPrefix(c.addresses[i], family == familyIPv6)
		}
	}
	for i, end := range ends {
		if bit := uint16(conntrackPort << i); c.match&bit != 0 {
			s += bang(c.invert&bit != 0) + " --ct" + end + "port " + portRange(c.ports[i], ":")
		}
	}
	return s
}

// conntrackPrefix writes an address and its mask; that of a single one is left away.
func conntrackPrefix(a [2][16]byte, six bool) string {
	n := 4
	if six {
		n = 16
	}
	address, _ := netip.AddrFromSlice(a[0][:n]) // n bytes are an address
	ones, length := net.IPMask(a[1][:n]).Size()
	switch {
	case ones == length && length != 0:
		return address.String()
	case length == 0:
		mask, _ := netip.AddrFromSlice(a[1][:n])
		return address.String() + "/" + mask.String()
	}
	return fmt.Sprintf("%v/%d", address, ones)
}

// physdevText writes -m physdev.
func physdevText(e *expression) (string, bool) {
	p, ok := decodePhysdev(e.data)
	if !ok {
		return "", false
	}
	s := "-m physdev"
	for _, one := range []struct {
		bit    uint8
		option string
		name   *[16]byte // iptables leaves its "+" in it
	}{
		{physdevIn, "--physdev-in", &p.in}, {physdevIsIn, "--physdev-is-in", nil},
		{physdevOut, "--physdev-out", &p.out}, {physdevIsOut, "--physdev-is-out", nil},
		{physdevBridged, "--physdev-is-bridged", nil},
	} {
		if p.match&one.bit == 0 {
			continue
		}
		s += bang(p.invert&one.bit != 0) + " " + one.option
		if one.name != nil {
			s += " " + text(one.name[:])
		}
	}
	return s, true
}

// rejectNames are the words of --reject-with by the number that the kernel has
// for them (ipt_REJECT.h, ip6t_REJECT.h).
var rejectNames = map[uint8][]string{
	familyIPv4: {
		"icmp-net-unreachable", "icmp-host-unreachable", "icmp-proto-unreachable", "icmp-port-unreachable", "",
		"icmp-net-prohibited", "icmp-host-prohibited", "tcp-reset", "icmp-admin-prohibited",
	},
	familyIPv6: {
		"icmp6-no-route", "icmp6-adm-prohibited", "", "icmp6-addr-unreachable", "icmp6-port-unreachable", "",
		"tcp-reset", "icmp6-policy-fail", "icmp6-reject-route",
	},
}

func rejectText(e *expression) (string, bool) {
	names := rejectNames[e.extensionFamily]
	if len(e.data) < 4 {
		return "", false
	}
	n := binary.NativeEndian.Uint32(e.data)
	if int64(n) >= int64(len(names)) || names[n] == "" {
		return "", false
	}
	return "REJECT --reject-with " + names[n], true
}

// xtLimitText writes -m limit from struct xt_rateinfo: the average is in
// ten-thousandths of a second between two packets.
func xtLimitText(e *expression) (string, bool) {
	if len(e.data) < 8 {
		return "", false
	}
	return limitText(uint64(binary.NativeEndian.Uint32(e.data)), binary.NativeEndian.Uint32(e.data[4:]))
}

const limitSecond = 10000 // XT_LIMIT_SCALE

// nftLimitText writes -m limit from what iptables-nft makes of it: so many
// packets in so many seconds.
func nftLimitText(l limit) (string, bool) {
	if l.rate == 0 {
		return "", false
	}
	return limitText(limitSecond*l.unit/l.rate, l.burst)
}

// limitText writes a limit in the unit that iptables prints (libxt_limit.c): the
// largest in which it loses little.
func limitText(period uint64, burst uint32) (string, bool) {
	if period == 0 {
		return "", false
	}
	units := []struct {
		name  string
		ticks uint64
	}{{"day", 86400 * limitSecond}, {"hour", 3600 * limitSecond}, {"min", 60 * limitSecond}, {"sec", limitSecond}}
	i := 1
	for i < len(units) && period <= units[i].ticks && units[i].ticks/period >= units[i].ticks%period {
		i++
	}
	s := fmt.Sprintf("-m limit --limit %d/%s", units[i-1].ticks/period, units[i-1].name)
	if burst != defaultBurst {
		s += " --limit-burst " + strconv.Itoa(int(burst))
	}
	return s, true
}

// tcpFlagNames are iptables' words in the order in which it prints them.
var tcpFlagNames = []bitName{{1, "FIN"}, {2, "SYN"}, {4, "RST"}, {8, "PSH"}, {16, "ACK"}, {32, "URG"}}

// tcpFlagsText writes --tcp-flags.
func tcpFlagsText(mask, flags uint8, invert bool) (string, bool) {
	m, ok := bitNames(uint32(mask), tcpFlagNames, "NONE")
	f, good := bitNames(uint32(flags), tcpFlagNames, "NONE")
	return bang(invert) + " --tcp-flags " + m + " " + f, ok && good
}

// ownerText writes -m owner from struct xt_owner_match_info.
func ownerText(e *expression) (string, bool) {
	const user, group, socket = 1, 2, 4
	if len(e.data) < 18 {
		return "", false
	}
	match, invert := e.data[16], e.data[17]
	s := "-m owner"
	for i, option := range []string{"--uid-owner", "--gid-owner"} {
		if bit := uint8(user) << i; match&bit != 0 {
			from, to := binary.NativeEndian.Uint32(e.data[8*i:]), binary.NativeEndian.Uint32(e.data[8*i+4:])
			s += fmt.Sprintf("%s %s %d", bang(invert&bit != 0), option, from)
			if from != to {
				s += fmt.Sprintf("-%d", to)
			}
		}
	}
	if match&socket != 0 {
		s += bang(invert&socket != 0) + " --socket-exists"
	}
	return s, match&^(user|group|socket) == 0
}

// statisticText writes -m statistic: struct xt_statistic_info, whose probability is a part
// of 2^31, and whose number of packets is one less.
func statisticText(e *expression) (string, bool) {
	const random, nth, negated = 0, 1, 1
	if len(e.data) < 16 {
		return "", false
	}
	mode, flags := binary.NativeEndian.Uint16(e.data), binary.NativeEndian.Uint16(e.data[2:])
	value := binary.NativeEndian.Uint32(e.data[4:])
	not := bang(flags&negated != 0)
	switch mode {
	case random:
		return fmt.Sprintf("-m statistic --mode random%s --probability %.11f", not, float64(value)/(1<<31)), true
	case nth:
		return fmt.Sprintf("-m statistic --mode nth%s --every %d --packet %d", not, value+1, binary.NativeEndian.Uint32(e.data[8:])), true
	}
	return "", false
}

// connmarkText writes -m connmark.
func connmarkText(e *expression) (string, bool) {
	m, ok := decodeMark(e.data)
	s := "-m connmark" + bang(m.invert) + fmt.Sprintf(" --mark %#x", m.mark)
	if m.mask != 1<<32-1 {
		s += fmt.Sprintf("/%#x", m.mask)
	}
	return s, ok
}

// connmarkTargetText writes -j CONNMARK from struct xt_connmark_tginfo1 or, where that
// does not shift, its successor.
func connmarkTargetText(e *expression) (string, bool) {
	mode := 12
	if e.revision == 2 {
		mode = 14
	}
	if e.revision < 1 || e.revision > 2 || len(e.data) <= mode || e.revision == 2 && e.data[13] != 0 {
		return "", false
	}
	mark, mask, own := binary.NativeEndian.Uint32(e.data), binary.NativeEndian.Uint32(e.data[4:]), binary.NativeEndian.Uint32(e.data[8:])
	switch e.data[mode] {
	case 0:
		return fmt.Sprintf("CONNMARK --set-xmark %#x/%#x", mark, mask), true
	case 1:
		return fmt.Sprintf("CONNMARK --save-mark --nfmask %#x --ctmask %#x", own, mask), true
	case 2:
		return fmt.Sprintf("CONNMARK --restore-mark --nfmask %#x --ctmask %#x", own, mask), true
	}
	return "", false
}

// ctTargetText writes -j CT and -j NOTRACK where they ask for nothing but a zone, or for
// none.
func ctTargetText(e *expression) (string, bool) {
	t, ok := decodeCTTarget(e)
	if !ok {
		return "", false
	}
	switch t.flags {
	case targetNoTrack:
		return "CT --notrack", true
	case targetNoTrack | targetAlias:
		return "NOTRACK", true
	}
	end := 28 // of events and helper
	if e.revision > 0 {
		end = 60 // and of a timeout policy: struct xt_ct_target_info_v1
	}
	more := e.data[4:min(len(e.data), end)]
	if t.flags&^(targetZoneDirection|targetZoneMark) != 0 || slices.ContainsFunc(more, func(b byte) bool { return b != 0 }) {
		return "", false
	}
	words := "CT --zone"
	switch t.flags & targetZoneDirection {
	case targetZoneOriginal:
		words += "-orig"
	case targetZoneReply:
		words += "-reply"
	}
	if t.flags&targetZoneMark != 0 {
		return words + " mark", true
	}
	return words + " " + strconv.Itoa(int(t.zone)), t.zone != 0
}

// nflogText writes -j NFLOG from struct xt_nflog_info.
func nflogText(e *expression) (string, bool) {
	if len(e.data) < 76 || binary.NativeEndian.Uint16(e.data[8:]) != 0 {
		return "", false
	}
	return nflog(text(e.data[12:76]), binary.NativeEndian.Uint16(e.data[4:]), binary.NativeEndian.Uint32(e.data), binary.NativeEndian.Uint16(e.data[6:])), true
}

func nflog(prefix string, group uint16, size uint32, threshold uint16) string {
	s := "NFLOG"
	if prefix != "" {
		s += " --nflog-prefix " + quoteXtables(prefix)
	}
	if group != 0 {
		s += " --nflog-group " + strconv.Itoa(int(group))
	}
	if size != 0 {
		s += " --nflog-range " + strconv.Itoa(int(size))
	}
	if threshold > 1 {
		s += " --nflog-threshold " + strconv.Itoa(int(threshold))
	}
	return s
}

// mssText writes -j TCPMSS from struct xt_tcpmss_info.
func mssText(e *expression) (string, bool) {
	if len(e.data) < 2 {
		return "", false
	}
	mss := binary.NativeEndian.Uint16(e.data)
	if mss == 1<<16-1 {
		return "TCPMSS --clamp-mss-to-pmtu", true
	}
	return "TCPMSS --set-mss " + strconv.Itoa(int(mss)), true
}
