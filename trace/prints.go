package trace

// prints finds the entries of a fingerprint: a hash table with open addressing
// (linear probing, deletion by moving back). A fingerprint is a hash already, so
// its lowest bits say where it stands; all of it has the entry.
type prints struct {
	slab  *slab
	slots []print // a power of two; at most three in four of them are used
	used  int
}

// print is a fingerprint and the chain of its entries, oldest first.
type print struct {
	low  uint32 // the lowest bits of the fingerprint
	head int32  // index of the oldest entry, plus 1; 0 in a free slot
}

// chain is what an entry has of the chain that it is in.
type chain struct {
	next int32 // index of the next younger; -1 in the youngest
	// The oldest knows the youngest, and how many there are.
	tail, alike int32
}

func newPrints(s *slab) prints { return prints{slab: s, slots: make([]print, 1024)} }

// slot returns that of the fingerprint, or the free one where it would stand, with
// the oldest entry.
func (p *prints) slot(fingerprint uint64) (int, *entry) {
	mask := len(p.slots) - 1
	for i := int(fingerprint) & mask; ; i = (i + 1) & mask {
		s := p.slots[i]
		if s.head == 0 {
			return i, nil
		}
		if s.low == uint32(fingerprint) {
			if e := p.slab.at(s.head - 1); e.fingerprint == fingerprint {
				return i, e
			}
		}
	}
}

// oldest returns the oldest entry of a fingerprint and its index; -1 and nil when there
// is none.
func (p *prints) oldest(fingerprint uint64) (int32, *entry) {
	i, e := p.slot(fingerprint)
	return p.slots[i].head - 1, e
}

// add makes the entry the youngest of its fingerprint.
func (p *prints) add(index int32) {
	e := p.slab.at(index)
	i, head := p.slot(e.fingerprint)
	e.chain = chain{next: -1, tail: index, alike: 1}
	if head != nil {
		p.slab.at(head.tail).next, head.tail = index, index
		head.alike++
		return
	}
	p.slots[i] = print{uint32(e.fingerprint), index + 1}
	if p.used++; 4*p.used > 3*len(p.slots) {
		p.grow()
	}
}

// remove takes the entry out.
func (p *prints) remove(index int32) {
	e := p.slab.at(index)
	i, head := p.slot(e.fingerprint)
	switch {
	case head != e:
		before := p.slots[i].head - 1
		for p.slab.at(before).next != index {
			before = p.slab.at(before).next
		}
		if p.slab.at(before).next = e.next; e.next < 0 {
			head.tail = before
		}
		head.alike--
	case e.next >= 0:
		heir := p.slab.at(e.next)
		heir.tail, heir.alike = e.tail, e.alike-1
		p.slots[i].head = e.next + 1
	default:
		p.used--
		p.free(i)
	}
}

// free empties a slot and moves what stands behind it for lack of room closer to
// its own place.
func (p *prints) free(gap int) {
	mask := len(p.slots) - 1
	for i := (gap + 1) & mask; p.slots[i].head != 0; i = (i + 1) & mask {
		home := int(p.slots[i].low) & mask
		if (i-home)&mask >= (i-gap)&mask {
			p.slots[gap] = p.slots[i]
			gap = i
		}
	}
	p.slots[gap] = print{}
}

func (p *prints) grow() {
	old := p.slots
	p.slots = make([]print, 2*len(old))
	mask := len(p.slots) - 1
	for _, s := range old {
		if s.head == 0 {
			continue
		}
		i := int(s.low) & mask
		for p.slots[i].head != 0 {
			i = (i + 1) & mask
		}
		p.slots[i] = s
	}
}
