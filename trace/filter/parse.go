package filter

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Names returns the name of the known container that a word stands for: the word
// itself, or what the beginning of an id stands for; "" when there is none. It is
// asked while an expression is parsed and not kept; nil knows none.
type Names func(word string) string

// maxDepth bounds parentheses and negations within each other.
const maxDepth = 200

// Parse reads an expression. An empty one picks every journey. Whether a word by
// itself is a container's name or an address is settled here, with names; a word
// that is neither is taken for a container that may start later, unless it can't be
// one's name or has another meaning (see Hint). The error is always a *SyntaxError.
//
// What no packet can match is refused, too, where that can be told.
func Parse(expr string, names Names) (*Filter, error) {
	f, err := parse(expr, names)
	if err != nil {
		return nil, err
	}
	if f.root != nil {
		if err := refuseImpossible(expr, f.root); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// parse reads also what no packet can match.
func parse(expr string, names Names) (*Filter, error) {
	p := &parser{expr: expr, tokens: scan(expr), names: names}
	if p.peek().kind == end {
		return &Filter{}, nil
	}
	root, _, err := p.expression(qualifiers{})
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != end {
		if t.kind == closing {
			return nil, p.fail(t, "there is no ( for this )")
		}
		return nil, p.needOperator(t)
	}
	if never(root) {
		return nil, p.refuse(p.absentAt)
	}
	return &Filter{root: root, negations: p.negations, framed: framedIn(root)}, nil
}

type parser struct {
	expr      string
	tokens    []token
	names     Names
	depth     int
	negations []negation
	// absent is the first thing that makes no journeys, which is asked at.
	absent   node
	absentAt token
}

// negate makes a negation of n and remembers it.
func (p *parser) negate(n node) node {
	made := negation{n, len(p.negations)}
	p.negations = append(p.negations, made)
	return made
}

func (p *parser) peek() token { return p.tokens[0] }

func (p *parser) next() token {
	t := p.tokens[0]
	if t.kind != end {
		p.tokens = p.tokens[1:]
	}
	return t
}

// fail returns an error at the token.
func (p *parser) fail(at token, format string, arguments ...any) error {
	return &SyntaxError{Expr: p.expr, Offset: at.offset, Length: len(at.text), Message: fmt.Sprintf(format, arguments...)}
}

func (p *parser) needOperator(at token) error {
	switch at.kind {
	case open:
		return p.fail(at, `put "and" or "or" before (`)
	case not:
		return p.fail(at, `put "and" or "or" before %q`, at.text)
	}
	if at.text == "&" || at.text == "|" {
		return p.fail(at, "write %s%s", at.text, at.text)
	}
	if (refused[at.text] != "" || slices.Contains(absentWords, absent(at.text))) && !p.known(at.text) {
		return p.refuse(at)
	}
	switch lower := strings.ToLower(at.text); lower {
	case "and", "or", "not":
		return p.fail(at, "say %s", lower)
	}
	return p.fail(at, `put "and" or "or" before %q`, at.text)
}

// deeper counts one more level of recursion.
func (p *parser) deeper(at token) error {
	p.depth++
	if p.depth > maxDepth {
		return p.fail(at, "this is nested too deeply")
	}
	return nil
}

// expression reads terms with and and or between them. It returns the qualifiers
// that the last one had.
func (p *parser) expression(inherited qualifiers) (node, qualifiers, error) {
	return p.list(inherited, p.term)
}

// list reads what item reads, with and and or in between.
func (p *parser) list(q qualifiers, item func(qualifiers) (node, qualifiers, error)) (node, qualifiers, error) {
	left, q, err := item(q)
	if err != nil {
		return nil, q, err
	}
	for p.peek().kind == and || p.peek().kind == or {
		operator, first := p.next(), p.peek()
		var right node
		right, q, err = item(q)
		if err != nil {
			return nil, q, err
		}
		if operator.kind == and && needsTag(left) && needsTag(right) {
			return nil, q, p.fail(first, "of several tags only the outermost is known: say vlan once")
		}
		left = combination{and: operator.kind == and, left: left, right: right}
	}
	return left, q, nil
}

// nested reads what may stand around an item: a negation of other, or
// parentheses around a list of them. It reports false when there is neither.
func (p *parser) nested(q qualifiers, item func(qualifiers) (node, qualifiers, error)) (node, qualifiers, bool, error) {
	t := p.peek()
	if t.kind != not && t.kind != open {
		return nil, q, false, nil
	}
	p.next()
	if err := p.deeper(t); err != nil {
		return nil, q, true, err
	}
	defer func() { p.depth-- }()
	if t.kind == not {
		n, q, err := item(q)
		return p.negate(n), q, true, err
	}
	n, q, err := p.list(q, item)
	if err != nil {
		return nil, q, true, err
	}
	switch closer := p.peek(); closer.kind {
	case closing:
		p.next()
		return n, q, true, nil
	case end:
		return nil, q, true, p.fail(t, "this ( is never closed")
	default:
		return nil, q, true, p.needOperator(closer)
	}
}

// term reads a primitive, a comparison, their negation, or an expression in
// parentheses.
func (p *parser) term(inherited qualifiers) (node, qualifiers, error) {
	t := p.peek()
	n, q, err := p.anyTerm(inherited)
	if err == nil && p.absent == nil {
		if p.absent = absentIn(n); p.absent != nil {
			said := strings.TrimRightFunc(p.expr[t.offset:p.peek().offset], unicode.IsSpace)
			p.absentAt = token{word, said, t.offset}
		}
	}
	return n, q, err
}

func (p *parser) anyTerm(inherited qualifiers) (node, qualifiers, error) {
	if n, ok, err := p.relation(); ok {
		return n, qualifiers{}, err
	}
	if n, q, ok, err := p.nested(inherited, p.term); ok {
		return n, q, err
	}
	t := p.peek()
	if t.kind != word {
		return nil, inherited, p.missing(t)
	}
	if n, ok, err := p.complete(); ok {
		return n, qualifiers{}, err
	}
	if t.text == "ether" {
		return p.ether()
	}
	if beside := absent(t.text); slices.Contains(absentWords, beside) && !p.known(t.text) {
		p.next()
		if p.atQualifier() {
			return nil, inherited, p.refuse(t)
		}
		return beside, qualifiers{}, nil
	}
	var q qualifiers
	if leaf, ok := protocolWords[t.text]; ok {
		p.next()
		if version, ok := leaf.(family); ok {
			if n, ok, err := p.group(version); ok {
				return n, qualifiers{}, err
			}
		}
		if !p.atQualifier() {
			return leaf, qualifiers{}, nil
		}
		q = qualifiers{protocol: leaf, given: true}
	}
	if err := p.said(&q); err != nil {
		return nil, q, err
	}
	if q.what == isNAT && !p.atKind() {
		return nat{}, qualifiers{}, nil
	}
	if !q.given {
		q = inherited
		q.given = false // the identifier says nothing of itself
	}
	return p.identifier(q)
}

// said reads what is said of an identifier before it, behind a protocol.
func (p *parser) said(q *qualifiers) error {
	first := p.peek()
	p.direction(q)
	if w, ok := whats[p.peek().text]; ok {
		said := p.next()
		if _, ends := directions[first.text]; ends && !w.hasEnds() {
			return p.fail(first, "%s has neither src nor dst", said.text)
		}
		q.what, q.given = w, true
	}
	if q.protocol != nil && !q.fits() {
		return p.fail(first, `put "and" between %s and %s`, q.protocol, first.text)
	}
	return nil
}

// missing says what is expected where a term cannot begin.
func (p *parser) missing(t token) error {
	switch t.kind {
	case end:
		return p.fail(t, "the expression ends where a host, port, container or protocol is expected")
	case closing:
		return p.fail(t, "something is missing before )")
	}
	return p.fail(t, "something is missing before %q", t.text)
}

// atQualifier reports whether the next word tells a direction or what the
// identifier behind it is.
func (p *parser) atQualifier() bool {
	text := p.peek().text
	_, isWhat := whats[text]
	_, isDirection := directions[text]
	return isWhat || isDirection
}

// direction reads src, dst, "src or dst" or "src and dst", if it is there.
func (p *parser) direction(q *qualifiers) {
	d, ok := directions[p.peek().text]
	if !ok {
		return
	}
	p.next()
	q.direction, q.given = d, true
	if len(p.tokens) < 2 {
		return
	}
	second, ok := directions[p.tokens[1].text]
	if operator := p.peek().kind; ok && second != d && (operator == and || operator == or) {
		q.direction = eitherEnd
		if operator == and {
			q.direction = bothEnds
		}
		p.next()
		p.next()
	}
}

// identifier reads what the qualifiers are about: one word, or words with not,
// and, or and parentheses.
func (p *parser) identifier(q qualifiers) (node, qualifiers, error) {
	if n, q, ok, err := p.nested(q, p.identifier); ok {
		return n, q, err
	}
	t := p.peek()
	if t.kind != word {
		if q.given {
			return nil, q, p.needIdentifier(t, q)
		}
		return nil, q, p.missing(t)
	}
	p.next()
	n, err := p.primitive(t, q)
	return n, q, err
}

func (p *parser) needIdentifier(t token, q qualifiers) error {
	n := needs[q.what]
	if q.what == unsaid {
		n.who = strings.TrimSuffix(q.direction.prefix(), " ")
		if q.direction == eitherEnd {
			n.who = "src or dst"
		}
	}
	return p.expected(t, n.who, n.what)
}

// expected says what must follow a word and what is there instead.
func (p *parser) expected(t token, who, what string) error {
	if t.kind == end {
		return p.fail(t, "%s needs %s", who, what)
	}
	return p.fail(t, "%s needs %s, got %q", who, what, t.text)
}
