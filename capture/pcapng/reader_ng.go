package pcapng

import (
	"encoding/binary"
	"io"
	"math"
	"net/netip"
	"slices"
	"strings"
)

// blockFrame is what every block has around its body: type and length before,
// the length again behind.
const blockFrame = 12

// nextBlock reads one block of a pcapng file.
func (r *Reader) nextBlock() (Block, error) {
	head, err := r.in.Peek(blockFrame)
	if len(head) < blockFrame {
		r.body.Reset()
		r.body.Write(head)
		return nil, r.ended(err, "")
	}
	// A section says in which byte order it is; its own type is the same in
	// both.
	if binary.BigEndian.Uint32(head) == typeSection {
		switch {
		case binary.LittleEndian.Uint32(head[8:]) == byteOrderMagic:
			r.order = binary.LittleEndian
		case binary.BigEndian.Uint32(head[8:]) == byteOrderMagic:
			r.order = binary.BigEndian
		default:
			return nil, r.broken("a section whose byte order can't be told")
		}
	}
	kind, length := r.order.Uint32(head), r.order.Uint32(head[4:])
	if length < blockFrame || length%4 != 0 {
		return nil, r.broken("a block of %d bytes can't be", length)
	}
	if !known(kind) {
		return nil, r.skip(length)
	}
	if length > maxBlock {
		return nil, r.broken("a block of %d bytes is longer than %d", length, maxBlock)
	}
	if err := r.read(int64(length)); err != nil {
		return nil, r.ended(err, "a block")
	}
	whole := r.body.Bytes()
	if again := r.order.Uint32(whole[length-4:]); again != length {
		return nil, r.broken("a block that begins with a length of %d bytes ends with %d", length, again)
	}
	b, err := r.parse(kind, whole[8:length-4])
	if err != nil {
		return nil, err
	}
	r.offset += int64(length)
	return b, nil
}

func known(kind uint32) bool {
	switch kind {
	case typeSection, typeInterface, typeObsolete, typeSimple, typeNames, typeStatistics, typeEnhanced, typeLocal:
		return true
	}
	return false
}

// skip passes over a block that nobody needs.
func (r *Reader) skip(length uint32) error {
	n, err := io.CopyN(io.Discard, r.in, int64(length))
	if n < int64(length) {
		return r.ended(err, "a block")
	}
	r.offset += n
	return nil
}

func (r *Reader) parse(kind uint32, body []byte) (Block, error) {
	switch kind {
	case typeSection:
		return r.parseSection(body)
	case typeInterface:
		return r.parseInterface(body)
	case typeEnhanced:
		return r.parseEnhanced(body)
	case typeSimple:
		return r.parseSimple(body)
	case typeObsolete:
		return r.parseObsolete(body)
	case typeNames:
		return r.parseNames(body)
	case typeStatistics:
		return r.parseStatistics(body)
	}
	return r.parseLocal(body)
}

func (r *Reader) tooShort(what string) (Block, error) {
	return nil, r.broken("%s that is too short", what)
}

func (r *Reader) parseSection(body []byte) (Block, error) {
	if len(body) < 16 {
		return r.tooShort("a section header")
	}
	if major, minor := r.order.Uint16(body[4:]), r.order.Uint16(body[6:]); major != 1 {
		return nil, r.broken("pcapng version %d.%d is not known", major, minor)
	}
	s := &Section{Offset: r.offset}
	r.section += len(r.interfaces)
	r.interfaces = nil
	return s, r.options(body[16:], func(code uint16, value []byte) {
		switch code {
		case optComment:
			s.Comments = append(s.Comments, readText(value))
		case shbHardware:
			s.Hardware = readText(value)
		case shbOS:
			s.OS = readText(value)
		case shbApplication:
			s.Application = readText(value)
		}
	})
}

func (r *Reader) parseInterface(body []byte) (Block, error) {
	if len(body) < 8 {
		return r.tooShort("an interface")
	}
	i := &Interface{LinkType: LinkType(r.order.Uint16(body)), Snaplen: r.order.Uint32(body[4:])}
	s := source{link: i.LinkType, snaplen: i.Snaplen, clock: clock{places: 6}}
	err := r.options(body[8:], func(code uint16, value []byte) {
		switch {
		case code == optComment:
			i.Comments = append(i.Comments, readText(value))
		case code == ifName:
			i.Name = readText(value)
		case code == ifDescription:
			i.Description = readText(value)
		case code == ifMACaddr && len(value) == 6:
			i.MAC = [6]byte(value)
		case code == ifTsresol && len(value) == 1:
			s.clock.places, s.clock.binary = value[0]&0x7f, value[0]&0x80 != 0
		case code == ifTsoffset && len(value) == 8:
			s.clock.offset = int64(r.order.Uint64(value))
		}
	})
	if err != nil {
		return nil, err
	}
	i.ID, err = r.newInterface(s)
	return i, err
}

// source returns the interface with that number in this section.
func (r *Reader) source(number uint32) (int, *source, error) {
	if int64(number) >= int64(len(r.interfaces)) {
		return 0, nil, r.broken("interface %d was not described", number)
	}
	return r.section + int(number), &r.interfaces[number], nil
}

func (r *Reader) parseEnhanced(body []byte) (Block, error) {
	if len(body) < 20 {
		return r.tooShort("a packet block")
	}
	return r.parsePacket(r.order.Uint32(body), body[4:], 0)
}

// parseObsolete reads a Packet Block, whose options are those of an enhanced one
// as far as they are read here.
func (r *Reader) parseObsolete(body []byte) (Block, error) {
	if len(body) < 20 {
		return r.tooShort("a packet block")
	}
	drops := r.order.Uint16(body[2:])
	if drops == math.MaxUint16 { // not told
		drops = 0
	}
	return r.parsePacket(uint32(r.order.Uint16(body)), body[4:], uint64(drops))
}

// parsePacket reads what follows the interface's number: time, lengths, bytes,
// options.
func (r *Reader) parsePacket(number uint32, body []byte, drops uint64) (Block, error) {
	id, s, err := r.source(number)
	if err != nil {
		return nil, err
	}
	captured := r.order.Uint32(body[8:])
	data := body[16:]
	if captured > maxPacket || captured > uint32(len(data)) {
		return nil, r.broken("a packet of %d bytes in a block that has room for %d", captured, min(len(data), maxPacket))
	}
	p := &Packet{Interface: id, Time: s.clock.ns(r.timestamp(body)), WireLength: min(r.order.Uint32(body[12:]), math.MaxInt32), Drops: drops}
	err = r.options(data[min(padded(int(captured)), len(data)):], func(code uint16, value []byte) {
		switch {
		case code == optComment:
			p.Comments = append(p.Comments, readText(value))
		case code == epbFlags && len(value) == 4:
			p.readFlags(r.order.Uint32(value))
		case code == epbDropcount && len(value) == 8:
			p.Drops = r.order.Uint64(value)
		case code == epbPacketID && len(value) == 8:
			p.ID = r.order.Uint64(value)
		}
	})
	if err != nil {
		return nil, err
	}
	return r.finish(p, data[:captured]), nil
}

func (p *Packet) readFlags(flags uint32) {
	if d := Direction(flags & 3); d <= Outbound {
		p.Direction = d
	}
	if t := Reception(flags >> 2 & 7); t <= Promiscuous {
		p.Reception = t
	}
}

// parseSimple reads a Simple Packet Block. It has no time: it gets that of the
// packet before.
func (r *Reader) parseSimple(body []byte) (Block, error) {
	if len(body) < 4 {
		return r.tooShort("a packet block")
	}
	id, s, err := r.source(0)
	if err != nil {
		return nil, err
	}
	p := &Packet{Interface: id, Time: r.last, WireLength: min(r.order.Uint32(body), math.MaxInt32)}
	captured := min(uint32(len(body)-4), p.WireLength, maxPacket)
	if s.snaplen != 0 {
		captured = min(captured, s.snaplen)
	}
	return r.finish(p, body[4:4+captured]), nil
}

func (r *Reader) parseNames(body []byte) (Block, error) {
	n := &Names{}
	return n, r.options(body, func(kind uint16, value []byte) {
		length := map[uint16]int{nrbIPv4: 4, nrbIPv6: 16}[kind]
		if length == 0 || len(value) <= length {
			return
		}
		address, _ := netip.AddrFromSlice(value[:length])
		names := strings.Split(strings.ToValidUTF8(string(value[length:]), "\uFFFD"), "\x00")
		n.Entries = append(n.Entries, Name{Address: address, Names: slices.DeleteFunc(names, func(s string) bool { return s == "" })})
	})
}

func (r *Reader) parseStatistics(body []byte) (Block, error) {
	if len(body) < 12 {
		return r.tooShort("a statistics block")
	}
	id, s, err := r.source(r.order.Uint32(body))
	if err != nil {
		return nil, err
	}
	t := &Statistics{Interface: id, Time: s.clock.ns(r.timestamp(body[4:]))}
	return t, r.options(body[12:], func(code uint16, value []byte) {
		if code == optComment {
			t.Comments = append(t.Comments, readText(value))
		}
		if len(value) != 8 {
			return
		}
		switch code {
		case isbStartTime:
			t.Start = s.clock.ns(r.timestamp(value))
		case isbEndTime:
			t.End = s.clock.ns(r.timestamp(value))
		case isbIfRecv:
			t.Received, t.HasReceived = r.order.Uint64(value), true
		case isbIfDrop, isbOSDrop:
			t.Dropped, t.HasDropped = t.Dropped+r.order.Uint64(value), true
		}
	})
}

// parseLocal reads natlens's own block. That of another program is skipped.
func (r *Reader) parseLocal(body []byte) (Block, error) {
	if len(body) < len(localMark)+8 || string(body[:len(localMark)]) != localMark {
		return nil, nil
	}
	head := body[len(localMark):]
	kind, length := r.order.Uint32(head), r.order.Uint32(head[4:])
	if uint64(length) > uint64(len(head)-8) {
		return nil, r.broken("%d bytes in a block that has room for %d", length, len(head)-8)
	}
	return &Local{Kind: kind, Data: slices.Clone(head[8 : 8+length])}, nil
}

// timestamp reads a time, whose upper half comes first whatever the byte order.
func (r *Reader) timestamp(b []byte) uint64 {
	return uint64(r.order.Uint32(b))<<32 | uint64(r.order.Uint32(b[4:]))
}

// options calls f for each option (or record of names) up to the one that ends
// them.
func (r *Reader) options(b []byte, f func(code uint16, value []byte)) error {
	for len(b) >= 4 {
		code, length := r.order.Uint16(b), int(r.order.Uint16(b[2:]))
		b = b[4:]
		if code == optEnd {
			return nil
		}
		if length > len(b) {
			return r.broken("an option of %d bytes where %d are left", length, len(b))
		}
		f(code, b[:length])
		b = b[min(padded(length), len(b)):]
	}
	return nil
}

// padded returns n rounded up to a border of 32 bits.
func padded(n int) int { return (n + 3) &^ 3 }
