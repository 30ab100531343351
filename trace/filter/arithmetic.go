package filter

import (
	"errors"
	"strings"
)

// arithmetic reads "tcp[tcpflags] & tcp-syn != 0" and its like. It works on the
// expression rather than on tokens, because here - / : and % part words.
type arithmetic struct {
	p     *parser
	at    int
	depth int
	named bool // a constant's name was read
}

// errNotArithmetic: what stands there is something else, or nothing.
var errNotArithmetic = errors.New("no arithmetic")

// levels are the operators that bind more and more tightly (libpcap's grammar.y).
// ^ and % have no level there: what they take depends on what follows, so they
// stand alone here.
var levels = map[string]int{"|": 1, "&": 2, "<<": 3, ">>": 3, "+": 4, "-": 4, "*": 5, "/": 5, "^": 0, "%": 0}

// relation reads a comparison at the next token, if there is one; false when
// there is none.
func (p *parser) relation() (node, bool, error) {
	start := p.peek()
	a := arithmetic{p: p, at: start.offset, depth: p.depth}
	left, err := a.value()
	if errors.Is(err, errNotArithmetic) {
		return nil, false, nil
	}
	if err != nil {
		return nil, true, err
	}
	operator, ok := relations[a.take("==", "!=", "<=", ">=", "=", "<", ">")]
	if !ok {
		if _, isNumber := left.(constant); start.kind == open || isNumber && !a.named {
			return nil, false, nil // perhaps a port, said to be one before
		}
		return nil, true, p.fail(a.word(start.offset), "%s needs a comparison, such as %s", p.expr[start.offset:a.at], comparison(left))
	}
	behind := a.word(a.at)
	right, err := a.value()
	if errors.Is(err, errNotArithmetic) {
		return nil, true, p.fail(behind, "a number, len or a header's field such as tcp[13] is expected here")
	}
	if err != nil {
		return nil, true, err
	}
	return relation{operator, left, right}, true, a.done()
}

// comparison is what a person could mean who wrote v alone.
func comparison(v value) string {
	switch v := v.(type) {
	case length:
		return "len > 100"
	case constant:
		return "tcp[tcpflags] & tcp-syn != 0"
	default:
		return v.String() + " != 0"
	}
}

// done goes on with the tokens behind what was read.
func (a *arithmetic) done() error {
	for t := a.p.peek(); t.kind != end && t.offset < a.at; t = a.p.peek() {
		if t.offset+len(t.text) > a.at {
			return a.p.needOperator(token{word, a.p.expr[a.at : t.offset+len(t.text)], a.at})
		}
		a.p.next()
	}
	return nil
}

// value reads operands with operators in between.
func (a *arithmetic) value() (value, error) {
	a.depth++
	if a.depth > maxDepth {
		return nil, a.p.fail(a.word(a.at), "this is nested too deeply")
	}
	defer func() { a.depth-- }()
	first, err := a.operand()
	if err != nil {
		return nil, err
	}
	operands, operators := []value{first}, []string{}
	for {
		at := a.at
		operator := a.operator()
		if operator == "" {
			break
		}
		operators = append(operators, operator)
		if len(operators) > 1 && (levels[operator] == 0 || levels[operators[0]] == 0) {
			return nil, a.p.fail(a.word(at), "put parentheses around what ^ and %% are about")
		}
		next, err := a.operand()
		if err != nil {
			return nil, err
		}
		operands = append(operands, next)
	}
	return a.join(operands, operators)
}

// join makes one value: tighter operators first, equal ones from left to right.
func (a *arithmetic) join(operands []value, operators []string) (value, error) {
	for level := 5; level >= 0; level-- {
		for i := 0; i < len(operators); {
			if levels[operators[i]] != level {
				i++
				continue
			}
			v, err := a.operation(operators[i], operands[i], operands[i+1])
			if err != nil {
				return nil, err
			}
			operands[i] = v
			operands = append(operands[:i+1], operands[i+2:]...)
			operators = append(operators[:i], operators[i+1:]...)
		}
	}
	return operands[0], nil
}

// operation calculates at once what is known at once.
func (a *arithmetic) operation(operator string, left, right value) (value, error) {
	l, isL := left.(constant)
	r, isR := right.(constant)
	switch {
	case isR && r == 0 && (operator == "/" || operator == "%"):
		return nil, a.p.fail(a.word(a.at), "before this something is divided by 0")
	case isR && r > 31 && (operator == "<<" || operator == ">>"):
		return nil, a.p.fail(a.word(a.at), "before this something is shifted by more than the 31 bits that a number can be")
	}
	if isL && isR {
		result, _ := calculate(operator, uint32(l), uint32(r))
		return constant(result), nil
	}
	return operation{operator, left, right}, nil
}

// operand reads a number, a name, a field, or a value in parentheses.
func (a *arithmetic) operand() (value, error) {
	switch a.take("(", "-") {
	case "(":
		v, err := a.value()
		if err == nil && a.take(")") == "" {
			err = errNotArithmetic
		}
		return v, err
	case "-":
		a.depth++
		if a.depth > maxDepth {
			return nil, a.p.fail(a.word(a.at), "this is nested too deeply")
		}
		defer func() { a.depth-- }()
		v, err := a.operand()
		if err != nil {
			return nil, err
		}
		return a.operation("-", constant(0), v)
	}
	name := a.word(a.at)
	a.at = name.offset + len(name.text)
	_, isHeader := headerNamed(name.text)
	joined := name.text != "" && strings.HasPrefix(a.p.expr[a.at:], "[")
	if (isHeader || joined) && a.take("[") != "" {
		return a.field(name)
	}
	if n, ok := number(name.text); ok {
		return constant(n), nil
	}
	if n, ok := constants[name.text]; ok {
		a.named = true
		return constant(n), nil
	}
	if name.text == "len" || name.text == "length" {
		return length{}, nil
	}
	return nil, errNotArithmetic
}

// field reads what stands in the brackets behind a header's name.
func (a *arithmetic) field(name token) (value, error) {
	h, ok := headerNamed(name.text)
	if !ok {
		names := make([]string, len(kept))
		for i := range kept {
			names[i] = kept[i].name
		}
		return nil, a.p.fail(name, "only bytes of %s can be asked for", strings.Join(names, ", "))
	}
	at := a.word(a.at)
	offset, err := a.value()
	if err != nil && !errors.Is(err, errNotArithmetic) {
		return nil, err
	}
	if err != nil {
		return nil, a.p.fail(at, "a number is expected in [ ], such as %s[0]", name.text)
	}
	size := uint8(1)
	if a.take(":") != "" {
		w := a.word(a.at)
		switch w.text {
		case "1", "2", "4":
			size = w.text[0] - '0'
		default:
			return nil, a.p.fail(w, "a size is 1, 2 or 4 bytes")
		}
		a.at = w.offset + len(w.text)
	}
	if a.take("]") == "" {
		return nil, a.p.fail(a.word(a.at), "a ] is missing here")
	}
	return bytesOf(h, offset, size), nil
}

// operator reads an operator between two values; && and || are none.
func (a *arithmetic) operator() string {
	before := a.at
	if a.take("&&", "||") != "" {
		a.at = before
		return ""
	}
	return a.take("<<", ">>", "+", "-", "*", "/", "&", "|", "^", "%")
}

// take reads the first of the marks that is next; "" when none is.
func (a *arithmetic) take(marks ...string) string {
	a.space()
	for _, m := range marks {
		if strings.HasPrefix(a.p.expr[a.at:], m) {
			a.at += len(m)
			return m
		}
	}
	return ""
}

func (a *arithmetic) space() {
	for a.at < len(a.p.expr) && isSpace(a.p.expr[a.at]) {
		a.at++
	}
}

// word returns the letters, digits, dots and hyphens at a place, behind spaces,
// or the one mark there; it does not move on. As in pcap-filter(7) a hyphen
// between letters or digits is part of the word: tcp-syn.
func (a *arithmetic) word(at int) token {
	for at < len(a.p.expr) && isSpace(a.p.expr[at]) {
		at++
	}
	rest := a.p.expr[at:]
	n := 0
	for n < len(rest) && (isWord(rest[n]) || n > 0 && rest[n] == '-' && n+1 < len(rest) && isWord(rest[n+1])) {
		n++
	}
	return token{word, rest[:n], at}
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_'
}
