package filter

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// randomExpr builds an expression of all that pcap-filter(7) has, too.
func randomExpr(r *rand.Rand, depth int) expression {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	if depth > 0 {
		switch r.IntN(5) {
		case 0:
			e := randomExpr(r, depth-1)
			return expression{"not " + e.ours, "not " + e.theirs}
		case 1:
			e := randomExpr(r, depth-1)
			return expression{"(" + e.ours + ")", "(" + e.theirs + ")"}
		case 2, 3:
			left, right := randomExpr(r, depth-1), randomExpr(r, depth-1)
			operator := pick(" and ", " or ", " && ", " || ")
			return expression{left.ours + operator + right.ours, left.theirs + operator + right.theirs}
		}
	}
	if r.IntN(8) == 0 {
		return onTCP(pick("[13] & ", "[tcpflags] & ") + pick("tcp-syn", "(tcp-syn | tcp-fin)", "0x12", "tcp-push") +
			pick(" != 0", " = 0", " > 1", " == tcp-syn"))
	}
	s := randomPrimitive(r, pick)
	return expression{s, s}
}

func randomPrimitive(r *rand.Rand, pick func(...string) string) string {
	dir := pick("", "", "src ", "dst ", "src or dst ", "src and dst ")
	host := append(slices.Clone(hosts4), hosts6...)
	number := func() string { return strconv.Itoa(int(portsN[r.IntN(len(portsN))])) }
	switch r.IntN(9) {
	case 0:
		return pick("tcp", "udp", "icmp", "icmp6", "ip", "ip6", "sctp", "vrrp", "pim", "proto 47", "ip proto 6", "ip6 proto 17")
	case 1:
		if r.IntN(4) == 0 {
			return "ip6 " + dir + "host " + pick(hosts6...)
		}
		return dir + "host " + pick(host...)
	case 2:
		return dir + "net " + pick("10.0.0.0/8", "10.1", "192.168.7.0/24", "fd00::/64", "10.0.0.0/30")
	case 3:
		return pick("", "tcp ", "udp ", "sctp ") + dir + "port " + number()
	case 4:
		return pick("", "tcp ", "udp ") + dir + "portrange " + number() + "-" + number()
	case 5:
		return pick("broadcast", "multicast", "ip multicast", "ip6 multicast", "ether src "+macs[0], "ether dst "+macs[2], "ether host "+macs[1])
	case 6:
		s := randomValue(r, 2, pick(headers...)) + pick(" = ", " != ", " < ", " > ", " <= ", " >= ") + randomValue(r, 1, pick(headers...))
		if strings.Contains(s, "udp[") { // which tcpdump finds behind IPv4 only
			s = "(ip and " + s + ")"
		}
		return s
	case 7:
		return pick("less ", "greater ", "len > ", "len = ", "len < ") + strconv.Itoa(50+4*r.IntN(20))
	}
	return dir + "port " + number() + pick(" or ", " and ") + pick("", "not ") + number()
}

// headers are fields of one header each, separated by spaces.
var headers = []string{
	"len 8 64 0x3f icmp-echo 17", "ip[8] ip[1] ip[2:2] ip[6:2] ip[9] ip[16:4]", "ip6[7] ip6[4:2] ip6[20:4]",
	"udp[2:2] udp[0:2] udp[1]", "icmp[0] icmp[1]", "icmp6[0] icmp6[1]", "ether[6] ether[0:4]",
}

// randomValue builds arithmetic about one header's fields, without division by
// what can be 0. A field comes first: libpcap (1.10, gen_arth) forgets to ask
// whether a packet has the headers of what comes later.
func randomValue(r *rand.Rand, depth int, header string) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	if depth > 0 && r.IntN(2) == 0 {
		left := randomValue(r, depth-1, header)
		right := randomValue(r, depth-1, pick(header, headers[0]))
		switch r.IntN(6) {
		case 0:
			return "(" + left + pick(" + ", " - ", " & ", " | ") + right + ")"
		case 1:
			return "(" + left + pick(" << ", " >> ", " / ") + strconv.Itoa(1+r.IntN(8)) + ")"
		}
		return left + pick(" + ", " - ", " * ", " & ", " | ") + right
	}
	return pick(strings.Fields(header)...)
}
