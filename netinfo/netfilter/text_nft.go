package netfilter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// nftText writes a rule as nft -s list ruleset does: without the counters'
// values. What it has no words for stands in brackets, where it is in the rule.
func nftText(r *rule, t *table, links map[int32]string) string {
	w := nftWriter{family: r.ref.Family, links: links}
	list := r.terms(t)
	for i := range list {
		if w.implied(list, i) || list[i].mapped && toldByNAT(list[i+1:]) {
			continue
		}
		w.words = append(w.words, w.term(&list[i]))
	}
	if r.comment != "" {
		w.words = append(w.words, "comment "+strconv.Quote(r.comment))
	}
	return strings.Join(w.words, " ")
}

type nftWriter struct {
	family   string
	protocol string // of the transport header, where a term before said so
	words    []string
	links    map[int32]string // names by index
}

func (w *nftWriter) term(t *term) string {
	switch {
	case t.undecoded != "":
		return notDecoded(t.undecoded)
	case t.mapped:
		return notDecoded("map " + t.set.name)
	case t.action != nil:
		return w.statement(t)
	}
	left, undecoded := w.names(t)
	if undecoded != "" {
		return undecoded
	}
	operator := [...]string{" ", " != ", " < ", " <= ", " > ", " >= "}
	if int(t.operation) >= len(operator) {
		return notDecoded("comparison")
	}
	if t.set != nil {
		if t.verdictMap {
			return left + " vmap " + w.setText(t)
		}
		return left + operator[t.operation] + w.setText(t)
	}
	f := t.fields[0]
	if (f.kind == flowSource || f.kind == flowDestination) && f.mask == nil {
		f.length = min(f.length, len(t.value)) // a prefix is compared by its first bytes
	}
	if bits := flagWords[f.kind]; bits != nil {
		return w.flags(t, left, bits)
	}
	if f.mask != nil && !f.isPrefix() {
		mask, ok := w.value(field{kind: f.kind, length: f.length}, f.mask)
		if !ok || !zero(f.xor) || t.ranged {
			return notDecoded("bitwise")
		}
		left += " & " + mask
		if t.operation == cmpEqual {
			operator[cmpEqual] = " == "
		}
		f.mask = nil
	}
	right, ok := w.value(f, t.value)
	if ok && t.ranged {
		var upper string
		upper, ok = w.value(f, t.upper)
		right += "-" + upper
	}
	if !ok {
		return notDecoded("value of " + left)
	}
	return left + operator[t.operation] + right
}

// names returns nft's words for what a term asks for, or what stands for them.
func (w *nftWriter) names(t *term) (left, undecoded string) {
	var names []string
	for _, f := range t.fields {
		name, ok := w.name(f)
		if !ok {
			return "", notDecoded(f.describe())
		}
		names = append(names, name)
	}
	return strings.Join(names, " . "), ""
}

// isPrefix reports whether a field is an address whose mask is that of a prefix.
func (f field) isPrefix() bool {
	if !f.isAddress() {
		return false
	}
	_, ok := maskBits(f.mask)
	return ok
}

func (f field) isAddress() bool {
	switch f.kind {
	case sourceAddress, destinationAddress, flowSource, flowDestination, arpSender, arpTarget:
		return true
	}
	return false
}

func (f field) describe() string {
	if f.what != "" {
		return f.what
	}
	return "field"
}

// name returns nft's words for a field.
func (w *nftWriter) name(f field) (string, bool) {
	ip := "ip"
	if f.inet6 {
		ip = "ip6"
	}
	direction := "ct original "
	if f.reply {
		direction = "ct reply "
	}
	transport := w.protocol
	if transport == "" {
		transport = "th"
	}
	switch f.kind {
	case sourceAddress:
		return ip + " saddr", true
	case destinationAddress:
		return ip + " daddr", true
	case sourcePort:
		return transport + " sport", !strings.Contains(transport, "icmp")
	case destinationPort:
		return transport + " dport", !strings.Contains(transport, "icmp")
	case ipProtocol:
		return "ip protocol", true
	case transportProtocol:
		return "meta l4proto", true
	case networkProtocol:
		return "meta nfproto", true
	case inName:
		return "iifname", true
	case outName:
		return "oifname", true
	case packetMark:
		return "meta mark", true
	case sourceType:
		return "fib saddr type", true
	case destinationType:
		return "fib daddr type", true
	case tcpFlags:
		return "tcp flags", w.protocol == "tcp"
	case timeToLive:
		return "ip ttl", true
	case linkIn:
		return "iif", true
	case linkOut:
		return "oif", true
	case flowState:
		return "ct state", true
	case flowStatus:
		return "ct status", true
	case flowDirection:
		return "ct direction", true
	case flowMark:
		return "ct mark", true
	case flowSource:
		return direction + ip + " saddr", true
	case flowDestination:
		return direction + ip + " daddr", true
	case flowSourcePort:
		return direction + "proto-src", true
	case flowDestinationPort:
		return direction + "proto-dst", true
	case packetType:
		return "meta pkttype", true
	case nextHeader:
		return "ip6 nexthdr", true
	case icmpType:
		switch w.protocol {
		case "icmp":
			return "icmp type", true
		case "ipv6-icmp":
			return "icmpv6 type", true
		}
	}
	if name := frameFieldNames[f.kind]; name != "" {
		return name, true
	}
	return w.numberName(f)
}

// routeTypeNames are nft's words for RTN_*.
var routeTypeNames = [...]string{
	"unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw", "nat", "xresolve",
}

var icmpTypeNames = map[string]map[byte]string{
	"icmp": {
		0: "echo-reply", 3: "destination-unreachable", 4: "source-quench", 5: "redirect", 8: "echo-request", 9: "router-advertisement",
		10: "router-solicitation", 11: "time-exceeded", 12: "parameter-problem", 13: "timestamp-request", 14: "timestamp-reply",
		15: "info-request", 16: "info-reply", 17: "address-mask-request", 18: "address-mask-reply",
	},
	"ipv6-icmp": {
		1: "destination-unreachable", 2: "packet-too-big", 3: "time-exceeded", 4: "parameter-problem", 128: "echo-request", 129: "echo-reply",
		130: "mld-listener-query", 131: "mld-listener-report", 132: "mld-listener-done", 133: "nd-router-solicit", 134: "nd-router-advert",
		135: "nd-neighbor-solicit", 136: "nd-neighbor-advert", 137: "nd-redirect", 138: "router-renumbering", 143: "mld2-listener-report",
	},
}

// value writes a field's value.
func (w *nftWriter) value(f field, b []byte) (string, bool) {
	switch f.kind {
	case sourceAddress, destinationAddress, flowSource, flowDestination, arpSender, arpTarget:
		s, ok := xtablesAddress(f, b)
		s = strings.TrimSuffix(s, map[bool]string{false: "/32", true: "/128"}[f.inet6])
		return s, ok
	case sourcePort, destinationPort, flowSourcePort, flowDestinationPort:
		if len(b) == 2 {
			return strconv.Itoa(int(binary.BigEndian.Uint16(b))), true
		}
	case ipProtocol, transportProtocol, nextHeader:
		if len(b) == 1 {
			return xtablesProtocol(b[0]), true
		}
	case networkProtocol:
		if len(b) == 1 {
			name := map[byte]string{familyIPv4: "ipv4", familyIPv6: "ipv6"}[b[0]]
			return name, name != ""
		}
	case inName, outName, bridgeIn, bridgeOut:
		return `"` + linkPattern(b, "*") + `"`, true
	case linkIn, linkOut:
		if v, ok := nativeMark(b); ok && w.links[int32(v)] != "" {
			return `"` + w.links[int32(v)] + `"`, true
		}
	case flowState, flowStatus:
		v, ok := nativeMark(b)
		words, known := bitNames(v, flagWords[f.kind], "")
		return words, ok && known && words != "" && !strings.Contains(words, ",")
	case flowDirection:
		if len(b) == 1 && b[0] < 2 {
			return [...]string{"original", "reply"}[b[0]], true
		}
	case timeToLive:
		if len(b) == 1 {
			return strconv.Itoa(int(b[0])), true
		}
	case packetType:
		if len(b) == 1 {
			name := map[byte]string{0: "host", 1: "broadcast", 2: "multicast", 3: "other"}[b[0]]
			return name, name != ""
		}
	case packetMark, flowMark:
		if v, ok := nativeMark(b); ok {
			return fmt.Sprintf("0x%08x", v), true
		}
	case sourceType, destinationType:
		if v, ok := nativeMark(b); ok && int(v) < len(routeTypeNames) {
			return routeTypeNames[v], true
		}
	case icmpType:
		if len(b) == 1 {
			name := icmpTypeNames[w.protocol][b[0]]
			return name, name != ""
		}
	}
	if s, ok := frameValue(f, b); ok {
		return s, true
	}
	return numberValue(f, b)
}

// setText writes a named set by its name and another one by its elements.
func (w *nftWriter) setText(t *term) string {
	s := t.set
	if s.flags&setAnonymous == 0 {
		return "@" + s.name
	}
	var list []string
	for i := 0; i < len(s.elements); i++ {
		e := &s.elements[i]
		if e.flags&elementIntervalEnd != 0 {
			continue
		}
		var end *element
		if i+1 < len(s.elements) {
			end = &s.elements[i+1]
		}
		key, ok := w.elementKey(t, e, end)
		if !ok {
			return notDecoded("set")
		}
		switch {
		case t.verdictMap:
			key += " : " + nftVerdict(e.verdict)
		case t.mapped:
			value, ok := mappedEnd(e.data)
			if !ok {
				return notDecoded("map")
			}
			key += " : " + value
		}
		list = append(list, key)
	}
	return "{ " + strings.Join(list, ", ") + " }"
}

func (w *nftWriter) elementKey(t *term, e, next *element) (string, bool) {
	if e.flags&elementCatchall != 0 {
		return "*", true
	}
	if t.set.flags&setInterval != 0 && t.set.flags&setConcat == 0 && e.keyEnd == nil {
		return w.interval(t.fields[0], e, next)
	}
	var parts []string
	at := 0
	for _, f := range t.fields {
		if at+f.length > len(e.key) {
			return "", false
		}
		part, ok := w.value(f, e.key[at:at+f.length])
		if ok && e.keyEnd != nil {
			if at+f.length > len(e.keyEnd) {
				return "", false
			}
			part, ok = w.rangeText(f, e.key[at:at+f.length], e.keyEnd[at:at+f.length])
		}
		if !ok {
			return "", false
		}
		parts = append(parts, part)
		at += (f.length + 3) &^ 3
	}
	return strings.Join(parts, " . "), true
}

// interval writes the interval that e begins; next begins what comes after it.
func (w *nftWriter) interval(f field, e, next *element) (string, bool) {
	last := make([]byte, len(e.key))
	if next != nil && len(next.key) == len(last) {
		copy(last, next.key)
	}
	for i := len(last) - 1; i >= 0; i-- { // one less; from 0 to the greatest
		last[i]--
		if last[i] != 0xff {
			break
		}
	}
	return w.rangeText(f, e.key, last)
}

// rangeText writes a range: as one value, as a prefix, or as from-to.
func (w *nftWriter) rangeText(f field, from, to []byte) (string, bool) {
	first, ok := w.value(f, from)
	if !ok || string(from) == string(to) {
		return first, ok
	}
	if f.isAddress() {
		mask := make([]byte, len(from))
		whole := true
		for i := range from {
			mask[i] = ^(from[i] ^ to[i])
			whole = whole && from[i]&^mask[i] == 0 && to[i]|mask[i] == 0xff
		}
		if bits, prefix := maskBits(mask); prefix && whole {
			return first + "/" + strconv.Itoa(bits), true
		}
	}
	last, ok := w.value(f, to)
	return first + "-" + last, ok
}

func nftVerdict(v verdict) string {
	switch v.code {
	case verdictAccept:
		return "accept"
	case verdictDrop:
		return "drop"
	case verdictReturn:
		return "return"
	case verdictJump:
		return "jump " + v.chain
	case verdictGoto:
		return "goto " + v.chain
	case verdictContinue:
		return "continue"
	}
	return notDecoded("verdict " + strconv.Itoa(int(v.code)))
}

func (w *nftWriter) statement(t *term) string {
	e := t.action
	switch e.name {
	case "counter":
		return "counter"
	case "log":
		return logStatement(e)
	case "limit":
		return limitStatement(e)
	case "reject":
		return w.reject(e)
	case "notrack":
		return "notrack"
	case "objref":
		if name := map[uint32]string{objectCounter: "counter", objectQuota: "quota", objectLimit: "limit"}[e.key]; name != "" {
			return name + " name " + strconv.Quote(e.set)
		}
	case "ct":
		f, ok := t.operandValues.at(e.source)
		if e.key == ctZone && ok && f.kind == constant && len(f.value) == 2 {
			return zoneStatement(e, binary.NativeEndian.Uint16(f.value))
		}
		if e.key != ctMark || !ok {
			break
		}
		switch value, good := w.value(field{kind: packetMark}, f.value); {
		case f.kind == constant && good:
			return "ct mark set " + value
		case f.kind == packetMark && f.mask == nil:
			return "ct mark set meta mark"
		}
	case "immediate":
		return nftVerdict(e.verdict)
	case "meta":
		f, ok := t.operandValues.at(e.source)
		if e.key == metaTrace && f.kind == constant && len(f.value) == 1 {
			return "meta nftrace set " + strconv.Itoa(int(f.value[0]))
		}
		if value, good := w.value(field{kind: packetMark}, f.value); ok && good && e.key == metaMark && f.kind == constant {
			return "meta mark set " + value
		} else if e.key == metaMark && f.kind == flowMark && f.mask == nil {
			return "meta mark set ct mark"
		} else if change, good := changedBits(f); good && e.key == metaMark && f.kind == packetMark {
			return "meta mark set meta mark" + change
		}
	case "masq":
		return w.translated("masquerade", "", t)
	case "redir":
		return w.translated("redirect", "", t)
	case "nat":
		return w.nat(t)
	case "match":
		if s, ok := ebtablesText(e); ok {
			return s
		}
	case "payload":
		return w.rewrite(t)
	case "fwd", "dup":
		return w.sentBy(t)
	case "tproxy":
		return w.tproxy(t)
	case "synproxy":
		return synproxyStatement(e)
	}
	return notDecoded(e.what())
}

func (w *nftWriter) nat(t *term) string {
	e := t.action
	word := map[uint32]string{natSource: "snat", natDestination: "dnat"}[e.key]
	if word == "" || e.flags&(rangeNetmap|rangePortOffset) != 0 {
		return notDecoded(e.what())
	}
	if w.family == "inet" {
		word += map[uint32]string{familyIPv4: " ip", familyIPv6: " ip6"}[e.family]
	}
	if !e.address.there {
		return w.translated(word, "", t)
	}
	if f, ok := t.operandValues.at(e.address.number); ok && f.lookup != nil {
		return w.natByMap(word, f.lookup, t)
	}
	from, ok := t.constantAddress(e.address)
	to, good := from, true
	if e.addressTo.there {
		to, good = t.constantAddress(e.addressTo)
	}
	if !ok || !good {
		return word + " to " + notDecoded("mapped address")
	}
	address := from.String()
	if from != to {
		address += "-" + to.String()
	}
	if e.port.there && from.Is6() {
		address = "[" + address + "]"
	}
	return w.translated(word, address, t)
}

func (t *term) constantAddress(r register) (netip.Addr, bool) {
	f, ok := t.operandValues.at(r.number)
	if !ok || f.kind != constant {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(f.value)
}

// translated writes ports and flags behind a NAT statement.
func (w *nftWriter) translated(word, address string, t *term) string {
	e := t.action
	s := word
	if address != "" || e.port.there {
		s += " to " + address
	}
	if e.port.there {
		from, ok := t.constantPort(e.port)
		to, good := from, true
		if e.portTo.there {
			to, good = t.constantPort(e.portTo)
		}
		if !ok || !good {
			return s + notDecoded("mapped port")
		}
		s += ":" + portRange([2]uint16{from, to}, "-")
	}
	return s + natFlags(e.flags)
}

func natFlags(bits uint32) string {
	var flags []string
	for _, f := range []struct {
		bit  uint32
		name string
	}{{rangeRandom, "random"}, {rangeRandomFully, "fully-random"}, {rangePersistent, "persistent"}} {
		if bits&f.bit != 0 {
			flags = append(flags, f.name)
		}
	}
	if len(flags) > 0 {
		return " " + strings.Join(flags, ",")
	}
	return ""
}

func (t *term) constantPort(r register) (uint16, bool) {
	f, ok := t.operandValues.at(r.number)
	if !ok || f.kind != constant || len(f.value) < 2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(f.value), true
}

// changedBits writes what a rule does to the bits of a mark: it sets some, flips
// some or takes some out.
func changedBits(f field) (string, bool) {
	keep, isMark := nativeMark(f.mask)
	flip, good := nativeMark(f.xor)
	switch {
	case !isMark || !good:
		return "", false
	case flip == 0:
		return fmt.Sprintf(" & 0x%08x", keep), true
	case keep == ^flip:
		return fmt.Sprintf(" | 0x%08x", flip), true
	case keep == allBits:
		return fmt.Sprintf(" ^ 0x%08x", flip), true
	}
	return "", false
}

// zoneStatement writes what chooses a zone, for one direction or for both.
func zoneStatement(e *expression, zone uint16) string {
	direction := ""
	switch {
	case e.hasOperation && e.operation == ctOriginal:
		direction = "original "
	case e.hasOperation:
		direction = "reply "
	}
	return "ct " + direction + "zone set " + strconv.Itoa(int(zone))
}
