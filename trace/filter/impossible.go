package filter

import "fmt"

// maxConjuncts is how many conditions are compared with each other: more than anybody
// writes.
const maxConjuncts = 64

// refuseImpossible is the error that no packet can match an expression; nil when one
// can, or when that can't be told.
func refuseImpossible(expr string, root node) error {
	part, _ := impossible(root)
	if part == nil {
		return nil
	}
	message := fmt.Sprintf("no packet can match %q", part)
	if _, ok := part.(combination); ok {
		message += ": where either will do say or"
	}
	return &SyntaxError{Expr: expr, Length: len(expr), Message: message}
}

// impossible returns the part of n for which no packet can match it, and n's bounds.
// The part is nil when a packet can match, or when that can't be told.
func impossible(n node) (part node, b bounds) {
	if c, ok := n.(combination); ok {
		part, b = impossibleTogether(c)
	} else if b = n.bounds(); neverTrue(n) {
		part = n
	}
	if part == nil && b.some == (kindSet{}) {
		part = n
	}
	if part != nil {
		b.some = kindSet{}
	}
	return part, b
}

// impossibleTogether is impossible for and and or.
func impossibleTogether(c combination) (part node, b bounds) {
	left, l := impossible(c.left)
	right, r := impossible(c.right)
	b = c.combine(l, r)
	switch {
	case !c.and && right == nil:
		return nil, b
	case left != nil || !c.and:
		return left, b
	case right != nil || b.some == (kindSet{}):
		return right, b
	}
	return contradiction(c), b
}

// contradiction returns two conditions of c that are never true at one place, one from
// each side; nil when there are none.
func contradiction(c combination) node {
	lefts, rights := conjuncts(c.left, nil), conjuncts(c.right, nil)
	if len(lefts)+len(rights) > maxConjuncts {
		return nil
	}
	for _, a := range lefts {
		for _, b := range rights {
			if exclude(a, b) || exclude(b, a) {
				return combination{and: true, left: a, right: b}
			}
		}
	}
	return nil
}

// conjuncts lists what must be true at one place for n to be.
func conjuncts(n node, list []node) []node {
	if c, ok := n.(combination); ok && c.and {
		return conjuncts(c.right, conjuncts(c.left, list))
	}
	return append(list, n)
}

// neverTrue reports whether n compares numbers that are not so.
func neverTrue(n node) bool {
	r, ok := n.(relation)
	if !ok {
		return false
	}
	_, left := r.left.(constant)
	_, right := r.right.(constant)
	return left && right && !r.match(sighting{})
}

// exclude reports whether a and b are never both true at one place.
func exclude(a, b node) bool {
	switch a := a.(type) {
	case negation: // where b is true, it is true at some place
		return a.of.String() == b.String()
	case prefix:
		b, ok := b.(prefix)
		return ok && sameEnd(a.direction, b.direction) && !a.prefix.Overlaps(b.prefix)
	case ports:
		b, ok := b.(ports)
		return ok && sameEnd(a.direction, b.direction) && (a.high < b.low || b.high < a.low)
	case verdict:
		b, ok := b.(verdict)
		return ok && a != b
	case way:
		b, ok := b.(way)
		return ok && a != b
	}
	return false
}

// sameEnd reports whether there is an end of which both directions speak.
func sameEnd(a, b direction) bool {
	return a != eitherEnd && b != eitherEnd && (a == b || a == bothEnds || b == bothEnds)
}
