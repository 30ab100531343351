package trace

// prints finds the entries of a fingerprint: a hash table with open addressing
// (linear probing, deletion by moving back). A fingerprint is a hash already, so
// its lowest bits say where it stands.
type prints struct {
	slots []print // a power of two; at most three in four of them are used
	used  int
}

// print is one fingerprint and its entries; an empty chain is a free slot.
type print struct {
	fingerprint uint64
	chain
}

// chain holds the entries with one fingerprint, oldest first.
type chain struct{ head, tail, length int32 }

func newPrints() prints { return prints{slots: make([]print, 1024)} }

// slot returns that of the fingerprint, or the free one where it would stand.
func (p *prints) slot(fingerprint uint64) int {
	mask := len(p.slots) - 1
	for i := int(fingerprint) & mask; ; i = (i + 1) & mask {
		if s := &p.slots[i]; s.length == 0 || s.fingerprint == fingerprint {
			return i
		}
	}
}

// of returns the entries of a fingerprint; head is -1 when there are none.
func (p *prints) of(fingerprint uint64) chain {
	if c := p.slots[p.slot(fingerprint)].chain; c.length > 0 {
		return c
	}
	return chain{head: -1, tail: -1}
}

// set says which entries a fingerprint has; none when ch is empty.
func (p *prints) set(fingerprint uint64, ch chain) {
	i := p.slot(fingerprint)
	s := &p.slots[i]
	switch was := s.length; {
	case ch.length == 0 && was > 0:
		p.used--
		p.free(i)
	case ch.length > 0:
		*s = print{fingerprint, ch}
		if was > 0 {
			return
		}
		if p.used++; 4*p.used > 3*len(p.slots) {
			p.grow()
		}
	}
}

// free empties a slot and moves what stands behind it for lack of room closer to
// its own place.
func (p *prints) free(gap int) {
	mask := len(p.slots) - 1
	for i := (gap + 1) & mask; p.slots[i].length > 0; i = (i + 1) & mask {
		home := int(p.slots[i].fingerprint) & mask
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
	for _, s := range old {
		if s.length > 0 {
			p.slots[p.slot(s.fingerprint)] = s
		}
	}
}
