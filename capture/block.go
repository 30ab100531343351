package capture

import (
	"encoding/binary"

	"natlens/capture/packet"
)

// The layout of TPACKET_V3 (include/uapi/linux/if_packet.h). A block begins
// with struct tpacket_block_desc; each frame in it with struct tpacket3_hdr,
// then struct sockaddr_ll, then, at tp_mac, the packet. Numbers are in the
// byte order of the host except sll_protocol.
const (
	blockStatus      = 8
	blockPackets     = 12
	blockFirst       = 16
	blockOpenSeconds = 32
	blockOpenNanos   = 36
	blockHeader      = 48

	frameNext      = 0
	frameSeconds   = 4
	frameNanos     = 8
	frameSnap      = 12
	frameLength    = 16
	frameStatus    = 20
	frameMAC       = 24
	frameVLANTCI   = 32
	frameVLANTPID  = 36
	frameAddress   = 48 // sockaddr_ll, at TPACKET_ALIGN(sizeof(struct tpacket3_hdr))
	frameIfindex   = frameAddress + 4
	frameLinkType  = frameAddress + 8
	framePktType   = frameAddress + 10
	frameHeader    = frameAddress + 20
	statusUser     = 1 << 0
	statusLosing   = 1 << 2
	statusVLAN     = 1 << 4
	statusVLANTPID = 1 << 6
)

const tagLength = 4 // an 802.1Q tag: TPID and TCI

// frame is one packet in a block, before it is parsed. Its bytes lie in the
// ring and are valid until the block is released.
type frame struct {
	time     int64 // nanoseconds since the Unix epoch
	bytes    []byte
	length   uint32 // on the link, without the tag below
	ifindex  int32
	linkType uint16 // ARPHRD_…
	pktType  PacketType
	tagged   bool // the kernel moved an 802.1Q or 802.1ad tag out of the bytes
	tpid     uint16
	tci      uint16
}

// frames walks over the frames of one block, in the order the kernel put them
// there. It believes nothing: offsets that leave the block end the walk.
type frames struct {
	block []byte
	at    uint64
	// left is how many frames the block still promises. After next has
	// returned false it is the number of those that could not be read.
	left uint32
}

// framesOf begins a walk. A block too short for its own header has no frames.
func framesOf(block []byte) frames {
	if len(block) < blockHeader {
		return frames{}
	}
	return frames{
		block: block,
		at:    uint64(native.Uint32(block[blockFirst:])),
		left:  native.Uint32(block[blockPackets:]),
	}
}

var native = binary.NativeEndian

// next reads the next frame into f. It returns false at the end, and leaves f
// as it was.
func (w *frames) next(f *frame) bool {
	if w.left == 0 || w.at+frameHeader > uint64(len(w.block)) {
		return false
	}
	h := w.block[w.at:]
	begin := w.at + uint64(native.Uint16(h[frameMAC:]))
	end := begin + uint64(native.Uint32(h[frameSnap:]))
	if end > uint64(len(w.block)) {
		return false
	}
	status := native.Uint32(h[frameStatus:])
	*f = frame{
		time:     int64(native.Uint32(h[frameSeconds:]))*1e9 + int64(native.Uint32(h[frameNanos:])),
		bytes:    w.block[begin:end:end],
		length:   native.Uint32(h[frameLength:]),
		ifindex:  int32(native.Uint32(h[frameIfindex:])),
		linkType: native.Uint16(h[frameLinkType:]),
		pktType:  PacketType(h[framePktType]),
	}
	// Tags are told of on Ethernet only: elsewhere there is no place for one.
	if status&statusVLAN != 0 && f.link() == packet.Ethernet && len(f.bytes) >= 2*6 {
		f.tagged = true
		f.tci = native.Uint16(h[frameVLANTCI:])
		f.tpid = 0x8100
		if status&statusVLANTPID != 0 { // since Linux 3.14
			f.tpid = native.Uint16(h[frameVLANTPID:])
		}
	}
	w.left--
	if next := uint64(native.Uint32(h[frameNext:])); next >= frameHeader {
		w.at += next
	} else {
		w.at = uint64(len(w.block)) // the last frame; or a chain in knots, which ends here
	}
	return true
}

// link says how to parse the bytes. Links that natlens does not know are taken
// for bare IP: parsing then finds it or finds nothing.
func (f *frame) link() packet.LinkType {
	if f.linkType == arphrdEther || f.linkType == arphrdLoopback {
		return packet.Ethernet
	}
	return packet.RawIP
}

// size is the length of the bytes with their tag back in place.
func (f *frame) size() int {
	if f.tagged {
		return len(f.bytes) + tagLength
	}
	return len(f.bytes)
}

// wireLength is the packet's length on the link, tag included.
func (f *frame) wireLength() uint32 {
	if f.tagged {
		return f.length + tagLength
	}
	return f.length
}

// appendTo appends the packet as it was on the link: a tag that the kernel took
// out is put back, as libpcap does, so that offsets into the bytes are true.
func (f *frame) appendTo(b []byte) []byte {
	if !f.tagged {
		return append(b, f.bytes...)
	}
	const addresses = 2 * 6
	b = append(b, f.bytes[:addresses]...)
	b = binary.BigEndian.AppendUint16(b, f.tpid)
	b = binary.BigEndian.AppendUint16(b, f.tci)
	return append(b, f.bytes[addresses:]...)
}
