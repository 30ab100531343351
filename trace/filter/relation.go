package filter

import (
	"strconv"

	"natlens/capture/packet"
)

// value is a part of an arithmetic expression: a number of 32 bits, without
// sign. It has none (false) where the packet lacks a header that it asks for.
type value interface {
	value(sighting) (uint32, bool)
	// kinds are those of the places that can have a value.
	kinds() kindSet
	String() string
}

// relation compares two values; false when one has none.
type relation struct {
	operator    string // as relations has it
	left, right value
}

// relations are the operators by what people write.
var relations = map[string]string{
	"=": "=", "==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=",
}

func (r relation) match(s sighting) bool {
	a, ok := r.left.value(s)
	if !ok {
		return false
	}
	b, ok := r.right.value(s)
	if !ok {
		return false
	}
	switch r.operator {
	case "=":
		return a == b
	case "!=":
		return a != b
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	}
	return a >= b
}

func (r relation) bounds() bounds {
	return bounds{some: r.left.kinds().intersection(r.right.kinds())}
}

func (r relation) String() string {
	return r.left.String() + " " + r.operator + " " + r.right.String()
}

// constant is a number.
type constant uint32

func (c constant) value(sighting) (uint32, bool) { return uint32(c), true }

func (c constant) kinds() kindSet { return everyKind }

func (c constant) String() string { return strconv.FormatUint(uint64(c), 10) }

// length is len: bytes of the frame, its link header included as in
// pcap-filter(7), but not what the link added to make it long enough.
type length struct{}

func (length) value(s sighting) (uint32, bool) {
	if s.headers == nil || !s.headers.IsIP() {
		return 0, false
	}
	return uint32(s.headers.NetworkOffset) + s.headers.Length, true
}

func (length) kinds() kindSet { return everyKind }

func (length) String() string { return "len" }

// operation joins two values. Its result is cut to 32 bits; there is none when
// something is divided by 0.
type operation struct {
	operator    string
	left, right value
}

func (o operation) value(s sighting) (uint32, bool) {
	a, ok := o.left.value(s)
	if !ok {
		return 0, false
	}
	b, ok := o.right.value(s)
	if !ok {
		return 0, false
	}
	return calculate(o.operator, a, b)
}

func (o operation) kinds() kindSet {
	return o.left.kinds().intersection(o.right.kinds())
}

func (o operation) String() string {
	return inParentheses(o.left) + " " + o.operator + " " + inParentheses(o.right)
}

func inParentheses(v value) string {
	if _, ok := v.(operation); ok {
		return "(" + v.String() + ")"
	}
	return v.String()
}

// calculate returns a operator b.
func calculate(operator string, a, b uint32) (uint32, bool) {
	switch operator {
	case "+":
		return a + b, true
	case "-":
		return a - b, true
	case "*":
		return a * b, true
	case "&":
		return a & b, true
	case "|":
		return a | b, true
	case "^":
		return a ^ b, true
	case "<<":
		return a << b, true
	case ">>":
		return a >> b, true
	}
	if b == 0 {
		return 0, false
	}
	if operator == "%" {
		return a % b, true
	}
	return a / b, true
}

// constants are the names that pcap-filter(7) has for offsets and values.
var constants = map[string]uint32{
	"tcpflags": 13,
	"tcp-fin":  uint32(packet.FIN), "tcp-syn": uint32(packet.SYN), "tcp-rst": uint32(packet.RST), "tcp-push": uint32(packet.PSH),
	"tcp-ack": uint32(packet.ACK), "tcp-urg": uint32(packet.URG), "tcp-ece": uint32(packet.ECE), "tcp-cwr": uint32(packet.CWR),

	"icmptype": 0, "icmpcode": 1,
	"icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4, "icmp-redirect": 5, "icmp-echo": 8,
	"icmp-routeradvert": 9, "icmp-routersolicit": 10, "icmp-timxceed": 11, "icmp-paramprob": 12,
	"icmp-tstamp": 13, "icmp-tstampreply": 14, "icmp-ireq": 15, "icmp-ireqreply": 16,
	"icmp-maskreq": 17, "icmp-maskreply": 18,

	"icmp6type": 0, "icmp6code": 1,
	"icmp6-destinationunreach": 1, "icmp6-packettoobig": 2, "icmp6-timeexceeded": 3, "icmp6-parameterproblem": 4,
	"icmp6-echo": 128, "icmp6-echoreply": 129,
	"icmp6-multicastlistenerquery": 130, "icmp6-multicastlistenerreportv1": 131, "icmp6-multicastlistenerdone": 132,
	"icmp6-routersolicit": 133, "icmp6-routeradvert": 134, "icmp6-neighborsolicit": 135, "icmp6-neighboradvert": 136,
	"icmp6-redirect": 137, "icmp6-routerrenum": 138,
	"icmp6-nodeinformationquery": 139, "icmp6-nodeinformationresponse": 140,
	"icmp6-ineighbordiscoverysolicit": 141, "icmp6-ineighbordiscoveryadvert": 142,
	"icmp6-multicastlistenerreportv2": 143,
	"icmp6-homeagentdiscoveryrequest": 144, "icmp6-homeagentdiscoveryreply": 145,
	"icmp6-mobileprefixsolicit": 146, "icmp6-mobileprefixadvert": 147,
	"icmp6-certpathsolicit": 148, "icmp6-certpathadvert": 149,
	"icmp6-multicastrouteradvert": 151, "icmp6-multicastroutersolicit": 152, "icmp6-multicastrouterterm": 153,
}
