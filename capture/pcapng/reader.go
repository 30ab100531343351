package pcapng

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// BreakError says where a file stops being a capture file. Everything before
// Offset was read.
type BreakError struct {
	Offset int64 // bytes from the beginning: where the block or record begins that can't be read
	Reason string
}

func (e *BreakError) Error() string {
	return fmt.Sprintf("broken at byte %d: %s", e.Offset, e.Reason)
}

// Reader reads a capture file from its beginning to its end, or to the first
// place where it is broken. It trusts nothing in it: what a file makes it
// allocate is bounded by the size of the file, and by a constant for what it
// keeps. It reads ahead, but never waits for more than the block it returns. It
// is not safe for concurrent use.
type Reader struct {
	in     *bufio.Reader
	offset int64 // of the byte that is read next
	body   bytes.Buffer
	order  binary.ByteOrder
	next   func() (Block, error) // of the format; nil, nil for a block that nobody needs
	pcap   bool
	queue  []Block // of a pcap file: what its header stands for
	err    error   // what ended it

	interfaces []source // of this section
	section    int      // ID of the first of them
	last       int64
}

// source is what is kept of an Interface.
type source struct {
	link    LinkType
	snaplen uint32
	clock   clock
}

const (
	magicMicro = 0xA1B2C3D4
	magicNano  = 0xA1B23C4D
)

// compressors are the programs that unpack what begins so.
var compressors = []struct{ magic, program string }{
	{"\x1f\x8b", "gzip"}, {"\xfd7zX", "xz"}, {"\x28\xb5\x2f\xfd", "zstd"}, {"BZh", "bzip2"}, {"\x04\x22\x4d\x18", "lz4"},
}

// NewReader looks at the beginning of a file and tells its format. The error is
// a *BreakError when it is neither pcap nor pcapng.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, 64<<10)}
	magic, err := r.in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read: %w", err)
	}
	switch {
	case len(magic) == 0:
		return nil, &BreakError{Reason: "the file is empty"}
	case len(magic) < 4:
		return nil, &BreakError{Reason: "neither pcap nor pcapng"}
	case binary.BigEndian.Uint32(magic) == typeSection:
		r.next = r.nextBlock
		return r, nil
	}
	for _, c := range compressors {
		if strings.HasPrefix(string(magic), c.magic) {
			return nil, &BreakError{Reason: fmt.Sprintf("compressed by %s; unpack it first (%[1]s -dc FILE | natlens read -)", c.program)}
		}
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(magic) {
		case magicMicro:
			return r, r.beginPcap(order, 6)
		case magicNano:
			return r, r.beginPcap(order, 9)
		}
	}
	return nil, &BreakError{Reason: "neither pcap nor pcapng"}
}

// Next returns the next block. At the end of the file the error is io.EOF; where
// the file is broken it is a *BreakError; else it is that of the underlying
// reader. After an error every call returns it again.
func (r *Reader) Next() (Block, error) {
	for r.err == nil {
		if len(r.queue) > 0 {
			b := r.queue[0]
			r.queue = r.queue[1:]
			return b, nil
		}
		b, err := r.next()
		if b != nil {
			return b, nil
		}
		r.err = err
	}
	return nil, r.err
}

// IsPcap reports whether the file is pcap, which holds packets of one interface, and
// nothing else.
func (r *Reader) IsPcap() bool { return r.pcap }

// Offset returns how many bytes were read as whole blocks.
func (r *Reader) Offset() int64 { return r.offset }

// read fills body with the next n bytes. It grows with what is really there, not
// with what a length field claims.
func (r *Reader) read(n int64) error {
	if r.body.Reset(); r.body.Cap() > 1<<20 {
		r.body = bytes.Buffer{}
	}
	_, err := io.CopyN(&r.body, r.in, n)
	return err
}

// ended tells a file that ends where a block begins from one that ends within.
func (r *Reader) ended(err error, what string) error {
	switch {
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("read: %w", err)
	case r.body.Len() == 0 && what == "":
		return io.EOF
	case what == "":
		what = "a block"
	}
	return r.broken("the file ends within %s", what)
}

func (r *Reader) broken(format string, args ...any) error {
	return &BreakError{Offset: r.offset, Reason: fmt.Sprintf(format, args...)}
}

// newInterface remembers an interface, or says that there are too many.
func (r *Reader) newInterface(s source) (id int, err error) {
	if len(r.interfaces) == MaxInterfaces {
		return 0, r.broken("more than %d interfaces in a section", MaxInterfaces)
	}
	r.interfaces = append(r.interfaces, s)
	return r.section + len(r.interfaces) - 1, nil
}

// finish completes a packet whose bytes and length are known.
func (r *Reader) finish(p *Packet, data []byte) *Packet {
	p.Data = bytes.Clone(data)
	p.WireLength = max(p.WireLength, uint32(len(data)))
	p.readCooked(r.interfaces[p.Interface-r.section].link)
	r.last = p.Time
	return p
}
