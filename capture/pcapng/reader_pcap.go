package pcapng

import (
	"encoding/binary"
	"math"
)

const (
	pcapHeader       = 24
	pcapRecordHeader = 16
)

// beginPcap reads the header of a pcap file whose times have so many decimal
// places.
func (r *Reader) beginPcap(order binary.ByteOrder, places uint8) error {
	r.order, r.next, r.pcap = order, r.nextRecord, true
	if err := r.read(pcapHeader); err != nil {
		return r.ended(err, "its header")
	}
	h := r.body.Bytes()
	if major, minor := order.Uint16(h[4:]), order.Uint16(h[6:]); major != 2 {
		return r.broken("pcap version %d.%d is not known", major, minor)
	}
	i := &Interface{
		// The upper bits tell of frame check sequences (LINKTYPE field of the
		// draft), which lie behind what is parsed.
		LinkType: LinkType(order.Uint32(h[20:])),
		Snaplen:  order.Uint32(h[16:]),
	}
	if _, err := r.newInterface(source{link: i.LinkType, snaplen: i.Snaplen, clock: clock{places: places}}); err != nil {
		return err
	}
	r.queue = []Block{&Section{}, i}
	r.offset += pcapHeader
	return nil
}

// nextRecord reads one packet of a pcap file.
func (r *Reader) nextRecord() (Block, error) {
	if err := r.read(pcapRecordHeader); err != nil {
		if r.body.Len() > 0 {
			return nil, r.ended(err, "a record's header")
		}
		return nil, r.ended(err, "")
	}
	h := r.body.Bytes()
	seconds, fraction := r.order.Uint32(h), r.order.Uint32(h[4:])
	captured, wire := r.order.Uint32(h[8:]), r.order.Uint32(h[12:])
	if captured > maxPacket {
		return nil, r.broken("a packet of %d bytes is longer than %d", captured, maxPacket)
	}
	if err := r.read(int64(captured)); err != nil {
		return nil, r.ended(err, "a packet")
	}
	p := &Packet{
		Time:       int64(seconds)*1e9 + r.interfaces[0].clock.ns(uint64(fraction)),
		WireLength: min(wire, math.MaxInt32),
	}
	r.finish(p, r.body.Bytes())
	r.offset += pcapRecordHeader + int64(captured)
	return p, nil
}
