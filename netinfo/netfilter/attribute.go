package netfilter

import "encoding/binary"

// Masks of an attribute's type (include/uapi/linux/netlink.h).
const attributeTypeMask = 0x3fff

// attributes walks netlink attributes in place: length and type in the host's
// byte order, then the data, padded to four bytes. It never allocates. A walk
// over well-formed bytes ends with the slice empty; what is left over after
// next has said no is the malformed rest.
type attributes []byte

// next returns the first attribute and steps over it. Flag bits are taken off
// the type. The data shares memory with the message.
func (a *attributes) next() (kind uint16, data []byte, ok bool) {
	b := *a
	if len(b) < 4 {
		return 0, nil, false
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < 4 || n > len(b) {
		return 0, nil, false
	}
	*a = b[min((n+3)&^3, len(b)):]
	return binary.NativeEndian.Uint16(b[2:]) & attributeTypeMask, b[4:n], true
}

// spent reports whether the walk met nothing malformed.
func (a attributes) spent() bool { return len(a) == 0 }

// Payloads of netfilter attributes are in network byte order. A value of the
// wrong size reads as zero and not ok.

func be8(b []byte) (uint8, bool) {
	if len(b) != 1 {
		return 0, false
	}
	return b[0], true
}

func be16(b []byte) (uint16, bool) {
	if len(b) != 2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(b), true
}

func be32(b []byte) (uint32, bool) {
	if len(b) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}

func be64(b []byte) (uint64, bool) {
	if len(b) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

func putNative16(b []byte, v uint16) { binary.NativeEndian.PutUint16(b, v) }
