package netfilter

import (
	"encoding/binary"
	"fmt"
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
	if !ok || c.match&^(conntrackState|conntrackStatus|conntrackDirection|conntrackStateAlias) != 0 {
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
	if c.match&conntrackStatus != 0 {
		names, known := bitNames(uint32(c.status), conntrackStatusNames, "NONE")
		s, ok = s+bang(c.invert&conntrackStatus != 0)+" --ctstatus "+names, ok && known
	}
	if c.match&conntrackDirection != 0 {
		s += " --ctdir " + map[bool]string{false: "ORIGINAL", true: "REPLY"}[c.invert&conntrackDirection != 0]
	}
	return s, ok
}

// physdevText writes -m physdev.
func physdevText(e *expression) (string, bool) {
	p, ok := decodePhysdev(e.data)
	if !ok {
		return "", false
	}
	s := "-m physdev"
	for _, one := range []struct {
		bit        uint8
		option     string
		name, mask *[16]byte
	}{
		{physdevIn, "--physdev-in", &p.in, &p.inMask}, {physdevIsIn, "--physdev-is-in", nil, nil},
		{physdevOut, "--physdev-out", &p.out, &p.outMask}, {physdevIsOut, "--physdev-is-out", nil, nil},
		{physdevBridged, "--physdev-is-bridged", nil, nil},
	} {
		if p.match&one.bit == 0 {
			continue
		}
		s += bang(p.invert&one.bit != 0) + " " + one.option
		if one.name != nil {
			name := text(one.name[:])
			if len(name) < 16 && one.mask[len(name)] == 0 {
				name += "+"
			}
			s += " " + name
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
	const second, defaultBurst = 10000, 5
	if len(e.data) < 8 {
		return "", false
	}
	every, burst := uint64(binary.NativeEndian.Uint32(e.data)), binary.NativeEndian.Uint32(e.data[4:])
	if every == 0 {
		return "", false
	}
	for _, unit := range []struct {
		name  string
		units uint64
	}{{"day", 24 * 3600 * second}, {"hour", 3600 * second}, {"min", 60 * second}, {"sec", second}} {
		// The largest unit in which the rate is a whole number, or the
		// smallest that there is (libxt_limit.c).
		if rate := unit.units / every; unit.name == "sec" || rate != 0 && unit.units%every == 0 && unit.units/rate >= every && rate < unitLimit(unit.name) {
			return limitText(rate, unit.name, burst), rate != 0
		}
	}
	return "", false
}

func unitLimit(string) uint64 { return 60 }

func limitText(rate uint64, unit string, burst uint32) string {
	s := fmt.Sprintf("-m limit --limit %d/%s", rate, unit)
	if burst != 5 {
		s += " --limit-burst " + strconv.Itoa(int(burst))
	}
	return s
}
