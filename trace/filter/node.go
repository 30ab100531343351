package filter

// node is a part of an expression.
type node interface {
	match(sighting) bool
	bounds() bounds
	String() string
}

// negation is true at a place when what it negates is true at no place of the
// journey.
type negation struct {
	of    node
	index int // of its truth in sighting.negations
}

func (n negation) match(s sighting) bool { return s.negations.has(n.index) }

func (n negation) bounds() bounds {
	b := n.of.bounds()
	return bounds{some: b.every.anywhere().complement(), every: b.some.anywhere().complement()}
}

func (n negation) String() string { return "not " + operand(n.of) }

// combination is and and or.
type combination struct {
	and         bool
	left, right node
}

func (c combination) match(s sighting) bool {
	if c.and {
		return c.left.match(s) && c.right.match(s)
	}
	return c.left.match(s) || c.right.match(s)
}

func (c combination) bounds() bounds {
	return c.combine(c.left.bounds(), c.right.bounds())
}

// combine makes its bounds of those of its sides.
func (c combination) combine(l, r bounds) bounds {
	if c.and {
		return bounds{some: l.some.intersection(r.some), every: l.every.intersection(r.every)}
	}
	return bounds{some: l.some.union(r.some), every: l.every.union(r.every)}
}

func (c combination) String() string {
	word := " or "
	if c.and {
		word = " and "
	}
	return c.left.String() + word + operand(c.right)
}

// operand is n as it stands where a combination needs parentheses.
func operand(n node) string {
	if _, ok := n.(combination); ok {
		return "(" + n.String() + ")"
	}
	return n.String()
}

// anyKind bounds what says nothing of the protocol.
func anyKind() bounds { return bounds{some: everyKind} }
