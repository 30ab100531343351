package capture

import "encoding/binary"

// fakeFrame is one packet as the kernel puts it into a block.
type fakeFrame struct {
	seconds, nanos uint32
	bytes          []byte
	length         uint32 // 0: that of bytes
	ifindex        int32
	hatype         uint16
	pktType        uint8
	status         uint32
	tci, tpid      uint16
}

// writeBlock lays frames out in a block the way tpacket_rcv and prb_fill_curr_block
// do (net/packet/af_packet.c): struct tpacket_block_desc; then for each packet
// struct tpacket3_hdr of 48 bytes, struct sockaddr_ll of 20, and the bytes so
// that the network header is aligned to 16; the whole aligned to 8.
func writeBlock(block []byte, status uint32, openedSeconds, openedNanos uint32, list ...fakeFrame) {
	le := binary.NativeEndian
	clear(block)
	le.PutUint32(block[0:], 3) // version
	le.PutUint32(block[4:], 48)
	le.PutUint32(block[8:], status)
	le.PutUint32(block[12:], uint32(len(list)))
	le.PutUint32(block[16:], 48)
	le.PutUint32(block[32:], openedSeconds)
	le.PutUint32(block[36:], openedNanos)
	at := 48
	for i, f := range list {
		h := block[at:]
		const network = 96 // TPACKET_ALIGN(68 + 14)
		mac := network - 14
		size := (mac + len(f.bytes) + 7) &^ 7
		if i < len(list)-1 {
			le.PutUint32(h[0:], uint32(size))
		}
		le.PutUint32(h[4:], f.seconds)
		le.PutUint32(h[8:], f.nanos)
		le.PutUint32(h[12:], uint32(len(f.bytes)))
		le.PutUint32(h[16:], max(f.length, uint32(len(f.bytes))))
		le.PutUint32(h[20:], f.status|1)
		le.PutUint16(h[24:], uint16(mac))
		le.PutUint16(h[26:], network)
		le.PutUint32(h[32:], uint32(f.tci))
		le.PutUint16(h[36:], f.tpid)
		le.PutUint16(h[48:], 17) // AF_PACKET
		le.PutUint32(h[52:], uint32(f.ifindex))
		le.PutUint16(h[56:], f.hatype)
		h[58] = f.pktType
		copy(h[mac:], f.bytes)
		at += size
	}
	le.PutUint32(block[20:], uint32(at))
}

// ethernetUDP is a frame that carries a datagram from 192.0.2.1:1000 to
// 192.0.2.2:2000, with optional tags (TPID and TCI in turn) and payload.
func ethernetUDP(payload []byte, tags ...uint16) []byte {
	b := []byte{
		0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, // destination, source
	}
	for _, tag := range tags {
		b = binary.BigEndian.AppendUint16(b, tag)
	}
	b = binary.BigEndian.AppendUint16(b, 0x0800)
	return append(b, ipv4UDP(payload)...)
}

func ipv4UDP(payload []byte) []byte {
	b := []byte{
		0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, 17, 0, 0, // total length below; no checksum
		192, 0, 2, 1, 192, 0, 2, 2,
		0x03, 0xe8, 0x07, 0xd0, 0, 0, 0, 0, // ports 1000, 2000
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(payload)))
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	return append(b, payload...)
}
