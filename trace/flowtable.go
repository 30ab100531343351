package trace

import (
	"math/rand/v2"

	"natlens/capture/packet"
)

// flowTable finds flows by the tuples that their packets carry: a hash table whose
// chains run through the flows themselves. It is asked for every packet, and finds
// its answer in two lines of memory.
type flowTable struct {
	heads []*formNode // a power of two
	nodes int
	seed  uint64
}

// formNode is one form of one flow, in the chain of its hash.
type formNode struct {
	next  *formNode
	ref   flowRef
	tuple packet.Tuple
}

func newFlowTable() flowTable { return flowTable{heads: make([]*formNode, 16), seed: rand.Uint64()} }

func (x *flowTable) head(t *packet.Tuple) **formNode {
	return &x.heads[t.Hash(x.seed)&uint64(len(x.heads)-1)]
}

// add makes a form findable. Of equal tuples whole forms are found before halves,
// since what is a whole form of another flow is that flow's first; of whole ones
// the newest comes first.
func (x *flowTable) add(n *formNode) {
	if x.nodes++; x.nodes > len(x.heads) {
		x.grow()
	}
	at := x.head(&n.tuple)
	for other := (*at).first(&n.tuple); other != nil; other = other.next.first(&n.tuple) {
		other.ref.flow.share()
		n.ref.flow.share()
	}
	if n.ref.form == formHalf {
		for *at != nil {
			at = &(*at).next
		}
	}
	n.next, *at = *at, n
}

// grow doubles the table; the order within a chain is kept.
func (x *flowTable) grow() {
	old := x.heads
	x.heads = make([]*formNode, 2*len(old))
	for _, n := range old {
		for n != nil {
			next := n.next
			at := x.head(&n.tuple)
			for *at != nil {
				at = &(*at).next
			}
			n.next, *at = nil, n
			n = next
		}
	}
}

func (x *flowTable) remove(n *formNode) {
	for at := x.head(&n.tuple); *at != nil; at = &(*at).next {
		if *at == n {
			*at, n.next = n.next, nil
			x.nodes--
			return
		}
	}
}

// first returns the first node of that tuple at n or behind it; nil when there is
// none.
func (n *formNode) first(t *packet.Tuple) *formNode {
	for n != nil && n.tuple != *t {
		n = n.next
	}
	return n
}
