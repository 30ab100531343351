package netfilter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"natlens/capture/packet"
)

// iptablesText writes a rule as iptables-save does: addresses, links and
// protocol first, then the matches in their order, then the target. What it
// has no words for stands in brackets, where it is in the rule.
func iptablesText(r *rule) string {
	w := iptablesWriter{ports: -1}
	for _, t := range r.terms(&table{}) {
		w.term(&t)
	}
	words := []string{"-A " + quoteXtables(r.ref.Chain)}
	for _, part := range append(append([]string{w.source, w.destination, w.in, w.out, w.protocol}, w.matches...), w.target) {
		if part != "" {
			words = append(words, part)
		}
	}
	return strings.Join(words, " ")
}

type iptablesWriter struct {
	source, destination, in, out, protocol string
	matches                                []string
	target                                 string
	ports                                  int // index of the native port match; -1: none yet
	protocolName                           string
}

func notDecoded(what string) string { return "[not decoded: " + what + "]" }

func (w *iptablesWriter) term(t *term) {
	switch {
	case t.undecoded != "":
		w.matches = append(w.matches, notDecoded(t.undecoded))
	case t.action != nil:
		w.action(t.action)
	case !w.condition(t):
		w.matches = append(w.matches, notDecoded("comparison"))
	}
}

// negated returns "! " for a comparison that is.
func negated(t *term) string {
	if t.operation == cmpNotEqual {
		return "! "
	}
	return ""
}

// condition writes a comparison; false when it is none that iptables makes.
func (w *iptablesWriter) condition(t *term) bool {
	f := t.fields[0]
	if len(t.fields) != 1 || t.set != nil || t.operation > cmpNotEqual {
		return false
	}
	not := negated(t)
	switch f.kind {
	case sourceAddress, destinationAddress:
		text, ok := xtablesAddress(f, t.value)
		if !ok || t.ranged {
			return false
		}
		if f.kind == sourceAddress {
			w.source = not + "-s " + text
		} else {
			w.destination = not + "-d " + text
		}
	case inName, outName:
		if f.mask != nil || t.ranged {
			return false
		}
		if name := linkPattern(t.value, "+"); f.kind == inName {
			w.in = not + "-i " + name
		} else {
			w.out = not + "-o " + name
		}
	case transportProtocol, ipProtocol:
		if f.mask != nil || t.ranged || len(t.value) != 1 {
			return false
		}
		w.protocolName = xtablesProtocol(t.value[0])
		w.protocol = not + "-p " + w.protocolName
	case sourcePort, destinationPort:
		return w.port(t, f, not)
	case tcpFlags:
		return w.tcpFlags(t, f)
	case packetMark:
		return w.mark(t, f, not)
	default:
		return false
	}
	return true
}

func (w *iptablesWriter) port(t *term, f field, not string) bool {
	if f.mask != nil || len(t.value) != 2 || w.protocolName == "" {
		return false
	}
	text := strconv.Itoa(int(binary.BigEndian.Uint16(t.value)))
	if t.ranged {
		text += ":" + strconv.Itoa(int(binary.BigEndian.Uint16(t.upper)))
	}
	option := "--dport "
	if f.kind == sourcePort {
		option = "--sport "
	}
	if w.ports < 0 {
		w.ports = len(w.matches)
		w.matches = append(w.matches, "-m "+w.protocolName)
	}
	// iptables prints the source port first, whatever the order of the rule.
	match := &w.matches[w.ports]
	if head, rest, found := strings.Cut(*match, " --dport "); found && f.kind == sourcePort {
		bang := ""
		if h, ok := strings.CutSuffix(head, " !"); ok {
			head, bang = h, " !"
		}
		*match = head + " " + not + option + text + bang + " --dport " + rest
		return true
	}
	*match += " " + not + option + text
	return true
}

func (w *iptablesWriter) tcpFlags(t *term, f field) bool {
	if len(t.value) != 1 || len(f.mask) != 1 || t.ranged || w.protocolName != "tcp" || !zero(f.xor) {
		return false
	}
	text, ok := tcpFlagsText(f.mask[0], t.value[0], t.operation == cmpNotEqual)
	if w.ports < 0 {
		w.ports = len(w.matches)
		w.matches = append(w.matches, "-m "+w.protocolName)
	}
	w.matches[w.ports] += text
	return ok
}

func (w *iptablesWriter) mark(t *term, f field, not string) bool {
	if t.ranged || len(t.value) != 4 {
		return false
	}
	text := fmt.Sprintf("-m mark %s--mark %#x", not, binary.NativeEndian.Uint32(t.value))
	if f.mask != nil {
		if len(f.mask) != 4 || !zero(f.xor) {
			return false
		}
		text += fmt.Sprintf("/%#x", binary.NativeEndian.Uint32(f.mask))
	}
	w.matches = append(w.matches, text)
	return true
}

func zero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}

// linkPattern writes a link's name; one that does not end in NUL stands for all
// that begin so.
func linkPattern(b []byte, wildcard string) string {
	name := text(b)
	if len(name) == len(b) && len(b) < 16 {
		return name + wildcard
	}
	return name
}

// xtablesAddress writes an address and its mask. Masks on byte borders are made
// by loading fewer bytes.
func xtablesAddress(f field, value []byte) (string, bool) {
	full := 4
	if f.inet6 {
		full = 16
	}
	if len(value) > full || len(value) != f.length && f.mask == nil {
		return "", false
	}
	a, ok := netip.AddrFromSlice(append(append([]byte{}, value...), make([]byte, full-len(value))...))
	if !ok {
		return "", false
	}
	bits := 8 * len(value)
	if f.mask != nil {
		if !zero(f.xor) {
			return "", false
		}
		mask := append(append([]byte{}, f.mask...), make([]byte, max(0, full-len(f.mask)))...)
		if bits, ok = maskBits(mask); !ok {
			m, _ := netip.AddrFromSlice(mask)
			return a.String() + "/" + m.String(), m.IsValid()
		}
	}
	return a.String() + "/" + strconv.Itoa(bits), true
}

// maskBits returns the length of a prefix's mask; false when it is no prefix.
func maskBits(mask []byte) (bits int, ok bool) {
	ended := false
	for _, b := range mask {
		for i := 7; i >= 0; i-- {
			set := b>>i&1 != 0
			if set && ended {
				return 0, false
			}
			if set {
				bits++
			} else {
				ended = true
			}
		}
	}
	return bits, true
}

// xtablesProtocol returns iptables-save's name for a protocol.
func xtablesProtocol(number byte) string {
	switch packet.Protocol(number) {
	case packet.ICMPv6:
		return "ipv6-icmp"
	case packet.ICMP, packet.TCP, packet.UDP:
		return packet.Protocol(number).String()
	}
	switch number {
	case 50:
		return "esp"
	case 51:
		return "ah"
	case 132:
		return "sctp"
	case 136:
		return "udplite"
	}
	return strconv.Itoa(int(number))
}

func (w *iptablesWriter) action(e *expression) {
	switch e.name {
	case "counter":
	case "limit":
		text, ok := nftLimitText(e.limit)
		if !ok || e.flags != 0 {
			text = notDecoded(e.what())
		}
		w.matches = append(w.matches, text)
	case "log":
		if !e.hasOperation {
			w.matches = append(w.matches, notDecoded(e.what()))
			return
		}
		w.target = "-j " + nflog(e.prefix, uint16(e.key), e.length, uint16(e.base))
	case "match":
		text, ok := xtablesMatchText(e)
		if !ok {
			text = notDecoded(e.what())
		}
		w.matches = append(w.matches, text)
	case "immediate":
		w.target = xtablesVerdict(e.verdict)
	case "target":
		text, ok := xtablesTargetText(e)
		if !ok {
			text = notDecoded(e.what())
		}
		w.target = "-j " + text
	default:
		w.matches = append(w.matches, notDecoded(e.what()))
	}
}

func xtablesVerdict(v verdict) string {
	switch v.code {
	case verdictAccept:
		return "-j ACCEPT"
	case verdictDrop:
		return "-j DROP"
	case verdictReturn:
		return "-j RETURN"
	case verdictJump:
		return "-j " + quoteXtables(v.chain)
	case verdictGoto:
		return "-g " + quoteXtables(v.chain)
	}
	return notDecoded("verdict " + strconv.Itoa(int(v.code)))
}

// quoteXtables quotes as iptables-save does: only where it is needed.
func quoteXtables(s string) string {
	plain := s != ""
	for _, c := range s {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			plain = false
		}
	}
	if plain {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		if c == '"' || c == '\'' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	b.WriteByte('"')
	return b.String()
}
