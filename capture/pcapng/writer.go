package pcapng

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Writer writes a pcapng file, of one section or several. Blocks are gathered in memory and
// handed on whole: each Write on the underlying writer begins and ends at the
// border of a block, so that a file is valid to its last whole block whenever
// the program ends. It is not safe for concurrent use.
//
// After an error of the underlying writer every method returns that error.
type Writer struct {
	w          io.Writer
	pending    []byte
	begin      int // of the block being built
	section    int // ID of its first interface
	interfaces int // of all sections
	written    int64
	err        error
}

// flushAt is how many bytes are gathered at most before they are written.
const flushAt = 256 << 10

// NewWriter begins a section. Nothing is written before the first Flush.
func NewWriter(w io.Writer, s Section) (*Writer, error) {
	e := &Writer{w: w}
	return e, e.Section(s)
}

// Section begins a section behind those before, whose interfaces get no more packets.
func (e *Writer) Section(s Section) error {
	e.section = e.interfaces
	e.open(typeSection)
	e.u32(byteOrderMagic)
	e.u16(1) // version 1.0
	e.u16(0)
	e.u64(math.MaxUint64) // the section's length is not told
	e.text(shbHardware, s.Hardware)
	e.text(shbOS, s.OS)
	e.text(shbApplication, s.Application)
	e.comments(s.Comments)
	return e.close()
}

// Interface adds a place where packets come from and returns its ID; the ID in i
// is not looked at. Times of its packets have a resolution of a nanosecond. A section
// that is Full takes none.
func (e *Writer) Interface(i Interface) (id int, err error) {
	if e.Full() {
		return 0, fmt.Errorf("more than %d interfaces in a section", MaxInterfaces)
	}
	e.open(typeInterface)
	e.u16(uint16(i.LinkType))
	e.u16(0)
	e.u32(i.Snaplen)
	e.text(ifName, i.Name)
	e.text(ifDescription, i.Description)
	if i.MAC != [6]byte{} {
		e.option(ifMACaddr, i.MAC[:])
	}
	e.option(ifTsresol, []byte{9})
	e.comments(i.Comments)
	if err := e.close(); err != nil {
		return 0, err
	}
	e.interfaces++
	return e.interfaces - 1, nil
}

// Full reports whether the section has as many interfaces as are read of one.
func (e *Writer) Full() bool { return e.interfaces-e.section == MaxInterfaces }

// Packet writes a packet of an interface that was added before to this section.
func (e *Writer) Packet(p *Packet) error {
	if err := e.known(p.Interface); err != nil {
		return err
	}
	e.open(typeEnhanced)
	e.u32(uint32(p.Interface - e.section))
	e.time(p.Time)
	e.u32(uint32(len(p.Data)))
	e.u32(max(p.WireLength, uint32(len(p.Data))))
	e.padded(p.Data)
	if flags := uint32(p.Direction) | uint32(p.Reception)<<2; flags != 0 {
		e.option(epbFlags, binary.LittleEndian.AppendUint32(nil, flags))
	}
	if p.Drops != 0 {
		e.option(epbDropcount, binary.LittleEndian.AppendUint64(nil, p.Drops))
	}
	if p.ID != 0 {
		e.option(epbPacketID, binary.LittleEndian.AppendUint64(nil, p.ID))
	}
	e.comments(p.Comments)
	return e.close()
}

// Names writes names of addresses. Names can't hold a zero byte: what follows
// one is not written.
func (e *Writer) Names(n Names) error {
	e.open(typeNames)
	for _, entry := range n.Entries {
		kind, address := uint16(nrbIPv6), entry.Address.AsSlice()
		if len(address) == 4 {
			kind = nrbIPv4
		}
		record := address
		for _, name := range entry.Names {
			record = append(append(record, untilZero(name)...), 0)
		}
		if len(entry.Names) == 0 || len(address) == 0 || len(record) > math.MaxUint16 {
			continue
		}
		e.option(kind, record)
	}
	e.u32(nrbEnd)
	return e.close()
}

// Statistics writes the counters of an interface that was added before to this section.
func (e *Writer) Statistics(s *Statistics) error {
	if err := e.known(s.Interface); err != nil {
		return err
	}
	e.open(typeStatistics)
	e.u32(uint32(s.Interface - e.section))
	e.time(s.Time)
	for _, t := range []struct {
		code uint16
		at   int64
	}{{isbStartTime, s.Start}, {isbEndTime, s.End}} {
		if t.at != 0 {
			v := binary.LittleEndian.AppendUint32(nil, uint32(uint64(t.at)>>32))
			e.option(t.code, binary.LittleEndian.AppendUint32(v, uint32(t.at)))
		}
	}
	if s.HasReceived {
		e.option(isbIfRecv, binary.LittleEndian.AppendUint64(nil, s.Received))
	}
	if s.HasDropped {
		e.option(isbIfDrop, binary.LittleEndian.AppendUint64(nil, s.Dropped))
	}
	e.comments(s.Comments)
	return e.close()
}

// Local writes knowledge that only natlens reads.
func (e *Writer) Local(l Local) error {
	e.open(typeLocal)
	e.pending = append(e.pending, localMark...)
	e.u32(l.Kind)
	e.u32(uint32(len(l.Data)))
	e.padded(l.Data)
	return e.close()
}

// Flush writes what was gathered.
func (e *Writer) Flush() error {
	if e.err != nil || len(e.pending) == 0 {
		return e.err
	}
	_, e.err = e.w.Write(e.pending)
	e.pending = e.pending[:0]
	return e.err
}

// Written returns how many bytes all blocks so far have, those gathered
// included.
func (e *Writer) Written() int64 { return e.written }

func (e *Writer) known(id int) error {
	if id < e.section || id >= e.interfaces {
		return fmt.Errorf("interface %d is not one of the section's, %d to %d", id, e.section, e.interfaces-1)
	}
	return e.err
}

// open begins a block; close puts its length in both places.
func (e *Writer) open(kind uint32) {
	e.begin = len(e.pending)
	e.u32(kind)
	e.u32(0)
}

func (e *Writer) close() error {
	if e.err != nil {
		e.pending = e.pending[:0]
		return e.err
	}
	length := len(e.pending) - e.begin + 4
	if length > maxBlock {
		e.pending = e.pending[:e.begin]
		return fmt.Errorf("block of %d bytes is longer than %d", length, maxBlock)
	}
	e.u32(uint32(length))
	binary.LittleEndian.PutUint32(e.pending[e.begin+4:], uint32(length))
	e.written += int64(length)
	if len(e.pending) >= flushAt {
		return e.Flush()
	}
	return nil
}

func (e *Writer) u16(v uint16) { e.pending = binary.LittleEndian.AppendUint16(e.pending, v) }
func (e *Writer) u32(v uint32) { e.pending = binary.LittleEndian.AppendUint32(e.pending, v) }
func (e *Writer) u64(v uint64) { e.pending = binary.LittleEndian.AppendUint64(e.pending, v) }

// time writes a timestamp: the upper half comes first, whatever the byte order.
func (e *Writer) time(ns int64) {
	e.u32(uint32(uint64(ns) >> 32))
	e.u32(uint32(ns))
}

// padded writes bytes up to a border of 32 bits.
func (e *Writer) padded(b []byte) {
	e.pending = append(e.pending, b...)
	for n := len(b); n%4 != 0; n++ {
		e.pending = append(e.pending, 0)
	}
}

func (e *Writer) option(code uint16, value []byte) {
	e.u16(code)
	e.u16(uint16(len(value)))
	e.padded(value)
}

// text writes an option unless it is empty; an option is at most 64 KiB long.
func (e *Writer) text(code uint16, s string) {
	if s != "" {
		e.option(code, []byte(atMost(s, math.MaxUint16)))
	}
}

// comments writes the last options of a block and ends them.
func (e *Writer) comments(comments []string) {
	for _, c := range comments {
		e.text(optComment, c)
	}
	e.u32(optEnd)
}
