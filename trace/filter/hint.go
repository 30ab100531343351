package filter

import (
	"regexp"
	"slices"
	"strings"
)

// Hint says what a word by itself may mean instead of a container: the name of a
// service or of a protocol; empty where it has no such meaning.
func Hint(name string) string {
	if _, ok := services[name]; ok {
		return "for a port say port " + name
	}
	if _, ok := protocolNames[name]; ok {
		return "for a protocol say proto " + name
	}
	return ""
}

// containerName is how Docker lets containers be called
// (moby, daemon/names, RestrictedNameChars).
var containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// doubt refuses a word that is nobody's name yet and that hardly will be one: taken
// for a container to come it would quietly match nothing.
func (p *parser) doubt(t token, q qualifiers) error {
	if !containerName.MatchString(t.text) {
		return p.fail(t, "%q is no word of this language, and no container can be called so; for another namespace say container %[1]s", t.text)
	}
	if q.what == isContainer {
		return nil // one of several names
	}
	if lower := strings.ToLower(t.text); lower != t.text && isOurs(lower) {
		return p.fail(t, "say %s; for a container of that name say container %s", lower, t.text)
	}
	if hint := Hint(t.text); hint != "" {
		return p.fail(t, "no container %q is known: %s; for a container to come say container %[1]s", t.text, hint)
	}
	return nil
}

// isOurs reports whether a word means something in this language.
func isOurs(word string) bool {
	_, isConstant := constants[word]
	return isConstant || refused[word] != "" || slices.Contains(vocabulary(), word)
}

// comparisons are what Wireshark's display filters compare with, and our word for it.
var comparisons = map[string]string{
	"==": "=", "=": "=", "eq": "=", "===": "=", "!=": "!=", "ne": "!=",
	"<": "<", "lt": "<", "<=": "<=", "le": "<=", ">": ">", "gt": ">", ">=": ">=", "ge": ">=",
}

// displayFields are Wireshark's fields that people know, and how their equality is
// asked for here, before the value; those that end in = can be compared otherwise,
// too.
var displayFields = map[string]string{
	"ip.addr": "host ", "ip.src": "src host ", "ip.dst": "dst host ", "ip.host": "host ",
	"ipv6.addr": "host ", "ipv6.src": "src host ", "ipv6.dst": "dst host ",
	"tcp.port": "tcp port ", "tcp.srcport": "tcp src port ", "tcp.dstport": "tcp dst port ",
	"udp.port": "udp port ", "udp.srcport": "udp src port ", "udp.dstport": "udp dst port ",
	"sctp.port": "sctp port ", "sctp.srcport": "sctp src port ", "sctp.dstport": "sctp dst port ",
	"eth.addr": "ether host ", "eth.src": "ether src ", "eth.dst": "ether dst ", "vlan.id": "vlan ",
	"ip.proto": "ip proto ", "ipv6.nxt": "ip6 proto ",
	"icmp.type": "icmp[icmptype] =", "icmp.code": "icmp[icmpcode] =",
	"icmpv6.type": "icmp6[icmp6type] =", "icmpv6.code": "icmp6[icmp6code] =",
	"frame.len": "len =", "ip.len": "ip[2:2] =", "ip.ttl": "ip[8] =", "ip.id": "ip[4:2] =", "ipv6.hlim": "ip6[7] =",
	"tcp.flags": "tcp[tcpflags] =", "tcp.seq_raw": "tcp[4:4] =", "tcp.ack_raw": "tcp[8:4] =",
	"tcp.flags.syn": "tcp[tcpflags] & tcp-syn", "tcp.flags.ack": "tcp[tcpflags] & tcp-ack", "tcp.flags.fin": "tcp[tcpflags] & tcp-fin",
	"tcp.flags.reset": "tcp[tcpflags] & tcp-rst", "tcp.flags.push": "tcp[tcpflags] & tcp-push",
}

// display is a comparison of Wireshark's, or a field alone.
var display = regexp.MustCompile(`^([a-z][a-z0-9]*(?:\.[a-z0-9_]+)+)(?:\s*(===?|!=|<=|>=|=|<|>|\b(?:eq|ne|lt|le|gt|ge)\b)\s*([^\s()&|]+))?`)

// displayFilter refuses what is Wireshark's language of display filters, and says the
// same in ours where it can.
func (p *parser) displayFilter(t token) error {
	m := display.FindStringSubmatch(p.expr[t.offset:])
	if m == nil {
		return nil
	}
	ours, known := displayFields[m[1]]
	layer, _, _ := strings.Cut(m[1], ".")
	if !known && (m[2] == "" || !isOurs(layer) && layer != "frame" && layer != "eth" && layer != "ipv6") {
		return nil
	}
	at := token{word, m[0], t.offset}
	if said := translated(ours, m[2], m[3]); said != "" {
		return p.fail(at, "this is of Wireshark's display filters: say %s", said)
	}
	return p.fail(at, "this is of Wireshark's display filters, not of pcap-filter(7)")
}

// translated says a comparison of a display filter in this language; empty where it
// can't. ours is what displayFields has.
func translated(ours, operator, value string) string {
	operator = comparisons[operator]
	asked, isValue := strings.CutSuffix(ours, "=")
	var said string
	switch _, isFlag := strings.CutPrefix(ours, "tcp[tcpflags] & "); {
	case ours == "":
	case isFlag && (operator == "" || (value == "1" || strings.EqualFold(value, "true")) == (operator == "=")):
		said = ours + " != 0"
	case isFlag:
		said = ours + " = 0"
	case isValue && operator != "":
		said = asked + operator + " " + value
	case operator == "=":
		said = ours + value
	case operator == "!=":
		said = "not " + ours + value
	}
	if _, err := Parse(said, nil); err != nil {
		return ""
	}
	return said
}
