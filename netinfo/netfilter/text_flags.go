package netfilter

import (
	"fmt"
	"strconv"
	"strings"
)

// flagWords are nft's words for the bits of a field, in the order in which it
// prints them.
var flagWords = map[fieldKind][]bitName{
	flowState: {
		{stateInvalidBit, "invalid"}, {stateNewBit, "new"}, {stateEstablishedBit, "established"}, {stateRelatedBit, "related"},
		{stateUntrackedBit, "untracked"},
	},
	flowStatus: {{1, "expected"}, {2, "seen-reply"}, {4, "assured"}, {8, "confirmed"}, {16, "snat"}, {32, "dnat"}, {512, "dying"}},
	tcpFlags:   {{1, "fin"}, {2, "syn"}, {4, "rst"}, {8, "psh"}, {16, "ack"}, {32, "urg"}, {64, "ecn"}, {128, "cwr"}},
}

// flags writes a comparison of bits: that one of them is set, that none is, or
// that those of a mask have a value.
func (w *nftWriter) flags(t *term, left string, words []bitName) string {
	f := t.fields[0]
	value, ok := bits(t.value)
	mask, masked := bits(f.mask)
	if !ok || t.ranged || t.operation > cmpNotEqual || masked && !zero(f.xor) {
		return notDecoded("value of " + left)
	}
	names, known := bitNames(value, words, "0x0")
	in, good := bitNames(mask, words, "")
	switch {
	case !known || masked && !good:
		return notDecoded("value of " + left)
	case !masked && t.operation == cmpEqual:
		return left + " " + names
	case !masked:
		return left + " != " + names
	case value == 0 && t.operation == cmpNotEqual:
		return left + " " + in
	case value == 0 && f.kind != tcpFlags:
		return left + " ! " + in
	case t.operation == cmpEqual && f.kind == tcpFlags:
		return left + " " + names + " / " + in
	case f.kind == tcpFlags && value != 0:
		return left + " != " + names + " / " + in
	}
	return notDecoded("value of " + left)
}

// bits reads a field of one byte or four.
func bits(b []byte) (uint32, bool) {
	if len(b) == 1 {
		return uint32(b[0]), true
	}
	return nativeMark(b)
}

var logLevels = [...]string{"emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit"}

func logStatement(e *expression) string {
	s := "log"
	if e.prefix != "" {
		s += " prefix " + strconv.Quote(e.prefix)
	}
	const warn = 4
	switch {
	case e.flags != 0 || e.length != 0 || e.base != 0 || int(e.operation) >= len(logLevels):
		return notDecoded("nft expression \"log\"")
	case e.hasOperation:
		s += fmt.Sprintf(" group %d", e.key)
	case e.operation != warn:
		s += " level " + logLevels[e.operation]
	}
	return s
}

// defaultBurst is what iptables and nft do not print.
const defaultBurst = 5

// limitStatement writes a limit of packets; one of bytes is left undecoded.
func limitStatement(e *expression) string {
	unit := map[uint64]string{1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week"}[e.limit.unit]
	if e.key != 0 || unit == "" || e.flags > 1 {
		return notDecoded("nft expression \"limit\"")
	}
	s := "limit rate "
	if e.flags == 1 {
		s += "over "
	}
	s += fmt.Sprintf("%d/%s", e.limit.rate, unit)
	if e.limit.burst != 0 && e.limit.burst != defaultBurst {
		s += fmt.Sprintf(" burst %d packets", e.limit.burst)
	}
	return s
}

// rejectWords are nft's words for the codes of a reject, by its type and, for
// ICMP, the family.
var rejectWords = map[string]map[uint32]string{
	"icmp":   {0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable", 9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited"},
	"icmpv6": {0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable", 5: "policy-fail", 6: "reject-route"},
	"icmpx":  {0: "no-route", 1: "port-unreachable", 2: "host-unreachable", 3: "admin-prohibited"},
}

// rejectReset is NFT_REJECT_TCP_RST.
const rejectReset = 1

func (w *nftWriter) reject(e *expression) string {
	const unreachable, either = 0, 2
	word := "icmp"
	switch {
	case e.key == rejectReset:
		return "reject with tcp reset"
	case e.key == either:
		word = "icmpx"
	case e.key != unreachable:
		return notDecoded(e.what())
	case w.family == "ip6":
		word = "icmpv6"
	case w.family != "ip":
		return notDecoded(e.what())
	}
	name := rejectWords[word][e.operation]
	if name == "" {
		return notDecoded(e.what())
	}
	// What a plain reject means, nft does not print.
	if name == "port-unreachable" && (word != "icmpx" || w.family == "inet" || w.family == "bridge") {
		return "reject"
	}
	return strings.Join([]string{"reject with", word, name}, " ")
}
