package netfilter

// expression is one step of an nf_tables rule: the kernel's own instruction,
// decoded (include/uapi/linux/netfilter/nf_tables.h). Which fields mean
// something depends on name. An expression whose attributes are not understood
// in full has opaque set, and nothing may be concluded from it but its name.
type expression struct {
	name   string
	opaque bool

	source, destination uint32 // registers; hasSource, hasDestination: which are there
	hasSource           bool
	hasDestination      bool

	operation uint32 // cmp, range, bitwise; ct: direction; reject: code; log: level; synproxy: window scale
	// hasOperation is of ct, reject and synproxy; of log it means that it has a group.
	hasOperation bool
	key          uint32 // meta and ct key, fib result, nat type, reject type, limit type, objref type, log group
	flags        uint32 // fib, lookup, nat, masq, redir, limit, log, synproxy
	family       uint32 // nat, fwd, tproxy
	base         uint32 // payload; log: threshold
	offset       uint32 // payload
	length       uint32 // payload, bitwise; log: bytes; synproxy: the MSS

	data  []byte // cmp, immediate: value; range: from; bitwise: mask; match, target: the extension's own structure
	data2 []byte // range: to; bitwise: xor
	set   string // lookup, dynset; objref: the object

	counter Counter // counter
	limit   limit   // limit

	address, port   register // nat: the lowest address and port; redir, masq: the port; fwd, dup: the next hop; tproxy: the socket
	addressTo       register
	portTo          register
	device          register // fwd, dup: the index of a link
	verdict         verdict
	extension       string // match, target: name of the xtables extension
	extensionFamily uint8  // of the table: decides the shape of data
	revision        uint32
	prefix          string // log
}

// register is a register that may be absent.
type register struct {
	number uint32
	there  bool
}

// verdict is what an immediate puts into the verdict register.
type verdict struct {
	there bool
	code  int32
	chain string
}

// Verdict codes (include/uapi/linux/netfilter.h, nf_tables.h).
const (
	verdictDrop   int32 = 0
	verdictAccept int32 = 1
	verdictBreak  int32 = -2
	verdictJump   int32 = -3
	verdictGoto   int32 = -4
	verdictReturn int32 = -5

	verdictContinue int32 = -1
)

// Kinds of objects (NFT_OBJECT_*).
const (
	objectCounter   = 1
	objectQuota     = 2
	objectLimit     = 4
	objectConnlimit = 5
	objectSynproxy  = 10
)

// Numbers that expressions hold.
const (
	cmpEqual        = 0
	cmpNotEqual     = 1
	cmpLess         = 2
	cmpLessEqual    = 3
	cmpGreater      = 4
	cmpGreaterEqual = 5

	payloadLink      = 0
	payloadNetwork   = 1
	payloadTransport = 2

	metaLength   = 0
	metaProtocol = 1
	metaMark     = 3
	metaIIF      = 4
	metaOIF      = 5
	metaIIFName  = 6
	metaOIFName  = 7
	metaIIFType  = 8
	metaOIFType  = 9
	metaNFProto  = 15
	metaL4Proto  = 16

	metaSocketUser  = 10
	metaSocketGroup = 11
	metaBridgeIn    = 17
	metaBridgeOut   = 18
	metaPacketType  = 19
	metaTrace       = 12
	metaGroupIn     = 21
	metaGroupOut    = 22
	metaCgroup      = 23
	metaBroute      = 35

	fibResultType = 3
	fibSource     = 1
	fibDest       = 2

	lookupInvert = 1

	natSource      = 0
	natDestination = 1

	rangeMapAddresses = 1 << 0 // NF_NAT_RANGE_MAP_IPS
	rangePorts        = 1 << 1
	rangeRandom       = 1 << 2
	rangePersistent   = 1 << 3
	rangeRandomFully  = 1 << 4
	rangePortOffset   = 1 << 5
	rangeNetmap       = 1 << 6
)

// decodeExpressions reads NFTA_RULE_EXPRESSIONS. It reports false when the list
// itself is malformed.
func decodeExpressions(b []byte, family uint8) (list []expression, ok bool) {
	a := attributes(b)
	for {
		_, element, more := a.next()
		if !more {
			return list, a.spent()
		}
		list = append(list, decodeExpression(element, family))
	}
}

func decodeExpression(b []byte, family uint8) expression {
	const nameAttribute, dataAttribute = 1, 2
	var e expression
	var data []byte
	a := attributes(b)
	for {
		kind, value, more := a.next()
		if !more {
			break
		}
		switch kind {
		case nameAttribute:
			e.name = text(value)
		case dataAttribute:
			data = value
		}
	}
	e.extensionFamily = family
	known := e.decode(data)
	e.opaque = !known || !a.spent()
	return e
}

// decode reads the attributes of an expression whose name is known, and
// reports whether it understood them all.
func (e *expression) decode(b []byte) bool {
	shape, known := expressionShapes[e.name]
	if !known {
		if e.name == "dynset" {
			e.set = dynamicSet(b)
		}
		return false
	}
	a := attributes(b)
	for {
		kind, value, more := a.next()
		if !more {
			return a.spent()
		}
		read := shape[kind]
		if read == nil || !read(e, value) {
			return false
		}
	}
}

// dynamicSet finds in a dynset expression, which is not understood beyond that, the set
// that packets change (NFTA_DYNSET_SET_NAME).
func dynamicSet(b []byte) string {
	for a := attributes(b); ; {
		kind, value, more := a.next()
		if !more {
			return ""
		}
		if kind == 1 {
			return text(value)
		}
	}
}

// limit is how often a limit expression matches.
type limit struct {
	rate, unit uint64 // so many in so many seconds
	burst      uint32
}

type attributeReader func(e *expression, value []byte) bool

// expressionShapes says, for each expression and attribute, where the value
// goes. Counters and logs keep nothing that decides.
var expressionShapes = map[string]map[uint16]attributeReader{
	"payload": {
		1: readDestination, 2: number(func(e *expression) *uint32 { return &e.base }), 3: number(func(e *expression) *uint32 { return &e.offset }), 4: readLength,
		5: readSource, 6: ignore, 7: ignore, 8: ignore,
	},
	"meta":      {1: readDestination, 2: readKey, 3: readSource},
	"cmp":       {1: readSource, 2: readOperation, 3: readData},
	"range":     {1: readSource, 2: readOperation, 3: readData, 4: readData2},
	"bitwise":   {1: readSource, 2: readDestination, 3: readLength, 4: readData, 5: readData2, 6: readOperation},
	"lookup":    {1: readSet, 2: readSource, 3: readDestination, 4: ignore, 5: readFlags},
	"immediate": {1: readDestination, 2: readImmediate},
	"fib":       {1: readDestination, 2: readKey, 3: readFlags},
	"nat": {
		1: readKey, 2: number(func(e *expression) *uint32 { return &e.family }),
		3: readAddress, 4: readRegister(func(e *expression) *register { return &e.addressTo }),
		5: readPort, 6: readPortTo, 7: readFlags,
	},
	"masq":    {1: readFlags, 2: readPort, 3: readPortTo},
	"redir":   {1: readPort, 2: readPortTo, 3: readFlags},
	"match":   {1: readExtension, 2: readRevision, 3: readRaw},
	"target":  {1: readExtension, 2: readRevision, 3: readRaw},
	"counter": {1: readCount(func(c *Counter) *uint64 { return &c.Bytes }), 2: readCount(func(c *Counter) *uint64 { return &c.Packets }), 3: ignore},
	"ct":      {1: readDestination, 2: readKey, 3: readOneByte, 4: readSource},
	"notrack": {},
	"limit": {
		1: readLimit(func(l *limit) *uint64 { return &l.rate }), 2: readLimit(func(l *limit) *uint64 { return &l.unit }),
		3: number(func(e *expression) *uint32 { return &e.limit.burst }), 4: readKey, 5: readFlags, 6: ignore,
	},
	"reject": {1: readKey, 2: readOneByte},
	"fwd":    {1: readDevice, 2: readAddress, 3: number(func(e *expression) *uint32 { return &e.family })},
	"dup":    {1: readAddress, 2: readDevice},
	"tproxy": {1: number(func(e *expression) *uint32 { return &e.family }), 2: readAddress, 3: readPort},
	"synproxy": {
		1: readShort(func(e *expression) *uint32 { return &e.length }), 2: readOneByte, 3: readFlags,
	},
	"objref": {1: readKey, 2: readSet},
	"log": {
		1: readGroup, 2: readPrefix, 3: number(func(e *expression) *uint32 { return &e.length }), 4: readShort(func(e *expression) *uint32 { return &e.base }),
		5: number(func(e *expression) *uint32 { return &e.operation }), 6: readFlags,
	},
}

func ignore(*expression, []byte) bool { return true }

func readCount(field func(*Counter) *uint64) attributeReader {
	return func(e *expression, value []byte) (ok bool) {
		*field(&e.counter), ok = be64(value)
		return ok
	}
}

func readLimit(field func(*limit) *uint64) attributeReader {
	return func(e *expression, value []byte) (ok bool) {
		*field(&e.limit), ok = be64(value)
		return ok
	}
}

// readOneByte reads a ct expression's direction, and a reject's code.
func readOneByte(e *expression, value []byte) bool {
	v, ok := be8(value)
	e.operation, e.hasOperation = uint32(v), ok
	return ok
}

// readGroup reads the group to which a log goes; the kernel's own has none.
func readGroup(e *expression, value []byte) bool {
	v, ok := be16(value)
	e.key, e.hasOperation = uint32(v), ok
	return ok
}

func readShort(field func(*expression) *uint32) attributeReader {
	return func(e *expression, value []byte) bool {
		v, ok := be16(value)
		*field(e) = uint32(v)
		return ok
	}
}

func number(field func(*expression) *uint32) attributeReader {
	return func(e *expression, value []byte) (ok bool) {
		*field(e), ok = be32(value)
		return ok
	}
}

func readRegister(field func(*expression) *register) attributeReader {
	return func(e *expression, value []byte) (ok bool) {
		r := field(e)
		r.number, ok = be32(value)
		r.there = ok
		return ok
	}
}

var (
	readOperation = number(func(e *expression) *uint32 { return &e.operation })
	readKey       = number(func(e *expression) *uint32 { return &e.key })
	readFlags     = number(func(e *expression) *uint32 { return &e.flags })
	readLength    = number(func(e *expression) *uint32 { return &e.length })
	readRevision  = number(func(e *expression) *uint32 { return &e.revision })
	readAddress   = readRegister(func(e *expression) *register { return &e.address })
	readDevice    = readRegister(func(e *expression) *register { return &e.device })
	readPort      = readRegister(func(e *expression) *register { return &e.port })
	readPortTo    = readRegister(func(e *expression) *register { return &e.portTo })
)

func readSource(e *expression, value []byte) (ok bool) {
	e.source, ok = be32(value)
	e.hasSource = ok
	return ok
}

func readDestination(e *expression, value []byte) (ok bool) {
	e.destination, ok = be32(value)
	e.hasDestination = ok
	return ok
}

func readData(e *expression, value []byte) (ok bool) {
	e.data, ok = dataValue(value)
	return ok
}

func readData2(e *expression, value []byte) (ok bool) {
	e.data2, ok = dataValue(value)
	return ok
}

func readImmediate(e *expression, value []byte) (ok bool) {
	if e.verdict, ok = dataVerdict(value); ok {
		return true
	}
	e.data, ok = dataValue(value)
	return ok
}

func readSet(e *expression, value []byte) bool {
	e.set = text(value)
	return true
}

func readExtension(e *expression, value []byte) bool {
	e.extension = text(value)
	return true
}

func readPrefix(e *expression, value []byte) bool {
	e.prefix = text(value)
	return true
}

func readRaw(e *expression, value []byte) bool {
	e.data = append([]byte(nil), value...)
	return true
}

// dataValue reads NFTA_DATA_VALUE, copying it out of the message.
func dataValue(b []byte) ([]byte, bool) {
	a := attributes(b)
	kind, value, ok := a.next()
	if !ok || kind != 1 || !a.spent() {
		return nil, false
	}
	return append([]byte{}, value...), true
}

// dataVerdict reads NFTA_DATA_VERDICT.
func dataVerdict(b []byte) (v verdict, ok bool) {
	a := attributes(b)
	kind, value, more := a.next()
	if !more || kind != 2 {
		return v, false
	}
	for nested := attributes(value); ; {
		kind, value, more := nested.next()
		if !more {
			return v, v.there && nested.spent()
		}
		switch kind {
		case 1:
			code, good := be32(value)
			if !good {
				return v, false
			}
			v.there, v.code = true, int32(code)
		case 2:
			v.chain = text(value)
		}
	}
}

// text returns a NUL-terminated string without its end.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
