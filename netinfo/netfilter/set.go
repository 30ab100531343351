package netfilter

import (
	"bytes"
	"sort"
)

// Flags of sets and elements.
const (
	setAnonymous = 0x1
	setInterval  = 0x4
	setMap       = 0x8
	setTimeout   = 0x10
	setDynamic   = 0x20
	setConcat    = 0x80

	elementIntervalEnd = 0x1
	elementCatchall    = 0x2
)

// set is a set, map or verdict map of one table.
type set struct {
	name     string
	flags    uint32
	keyBytes int
	keyType  uint32 // nft's own number of the datatype; the kernel does not interpret it
	dataType uint32
	fields   []int // lengths of the parts of a concatenated key
	elements []element
	// unreadable: its elements are not known, or change without notice.
	unreadable bool
	// undecoded: not all of its elements are here.
	undecoded bool
}

// element is one element of a set. In an interval set without concatenation it
// is one end of an interval: from key on, up to the next element.
type element struct {
	key, keyEnd []byte // keyEnd: inclusive; nil when the key is one value
	flags       uint32
	data        []byte
	verdict     verdict
}

// seal sorts what lookup needs sorted.
func (s *set) seal() {
	if s.flags&(setTimeout|setDynamic) != 0 {
		s.unreadable = true
	}
	s.undecoded = s.unreadable
	sort.SliceStable(s.elements, func(i, j int) bool {
		a, b := s.elements[i], s.elements[j]
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c < 0
		}
		// Where one interval ends and the next begins, the beginning counts.
		return a.flags&elementIntervalEnd > b.flags&elementIntervalEnd
	})
}

// lookup finds the element that holds the key; nil when there is none.
func (s *set) lookup(key []byte) *element {
	var catchall, found *element
	for i := range s.elements {
		e := &s.elements[i]
		switch {
		case e.flags&elementCatchall != 0:
			catchall = e
		case e.keyEnd != nil:
			if s.within(key, e) {
				return e
			}
		case s.flags&setInterval != 0 && s.flags&setConcat == 0:
			if bytes.Compare(e.key, key) <= 0 {
				found = e
			}
		case bytes.Equal(e.key, key):
			return e
		}
	}
	if found != nil && found.flags&elementIntervalEnd == 0 {
		return found
	}
	return catchall
}

// within compares a key part by part with a concatenation of ranges.
func (s *set) within(key []byte, e *element) bool {
	fields := s.fields
	if len(fields) == 0 {
		fields = []int{len(key)}
	}
	at := 0
	for _, n := range fields {
		if at+n > len(key) || at+n > len(e.key) || at+n > len(e.keyEnd) {
			return false
		}
		part := key[at : at+n]
		if bytes.Compare(part, e.key[at:at+n]) < 0 || bytes.Compare(part, e.keyEnd[at:at+n]) > 0 {
			return false
		}
		at += (n + 3) &^ 3
	}
	return true
}

// decodeSet reads the attributes of NFT_MSG_NEWSET.
func decodeSet(a attributes) (table string, s *set, ok bool) {
	s = &set{}
	ok = true
	for {
		kind, value, more := a.next()
		if !more {
			return table, s, ok && a.spent() && s.name != ""
		}
		good := true
		switch kind {
		case 1:
			table = text(value)
		case 2:
			s.name = text(value)
		case 3:
			s.flags, good = be32(value)
		case 4:
			s.keyType, good = be32(value)
		case 5:
			var n uint32
			n, good = be32(value)
			s.keyBytes = int(min(n, 64))
		case 6:
			s.dataType, good = be32(value)
		case 9:
			s.fields = decodeFields(value)
		}
		ok = ok && good
	}
}

// decodeFields reads the lengths of a concatenated key from NFTA_SET_DESC.
func decodeFields(b []byte) (fields []int) {
	for a := attributes(b); ; {
		kind, value, more := a.next()
		if !more {
			return fields
		}
		if kind != 2 {
			continue
		}
		for list := attributes(value); ; {
			_, field, more := list.next()
			if !more {
				break
			}
			nested := attributes(field)
			if _, length, more := nested.next(); more {
				n, _ := be32(length)
				fields = append(fields, int(n))
			}
		}
	}
}

// decodeElements reads the attributes of NFT_MSG_NEWSETELEM.
func decodeElements(a attributes) (list []element, ok bool) {
	ok = true
	for {
		kind, value, more := a.next()
		if !more {
			return list, ok && a.spent()
		}
		if kind != 3 {
			continue
		}
		elements := attributes(value)
		for {
			_, one, more := elements.next()
			if !more {
				break
			}
			e, good := decodeElement(one)
			list, ok = append(list, e), ok && good
		}
		ok = ok && elements.spent()
	}
}

func decodeElement(b []byte) (e element, ok bool) {
	ok = true
	a := attributes(b)
	for {
		kind, value, more := a.next()
		if !more {
			return e, ok && a.spent()
		}
		good := true
		switch kind {
		case 1:
			e.key, good = dataValue(value)
		case 2:
			if e.verdict, good = dataVerdict(value); !good {
				e.data, good = dataValue(value)
			}
		case 3:
			e.flags, good = be32(value)
		case 10:
			e.keyEnd, good = dataValue(value)
		case 7, 8, 11: // an expression of its own (a limit, a counter), padding
			good = kind == 8
		}
		ok = ok && good
	}
}
