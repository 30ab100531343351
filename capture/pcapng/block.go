// Package pcapng reads and writes capture files: it reads pcapng and pcap in all
// their forms, and writes pcapng with what a person wants to see next to a
// packet. It is pure: bytes come from an io.Reader and go to an io.Writer.
//
// The format is that of draft-ietf-opsawg-pcapng (PCAP Next Generation Capture
// File Format); pcap is draft-ietf-opsawg-pcap. Block and option names in
// comments are those of the drafts.
package pcapng

import (
	"net/netip"
)

// Block is one piece of a capture file: *Section, *Interface, *Packet, *Names,
// *Statistics or *Local. A pcap file is read as a Section, one Interface and its
// Packets.
type Block interface{ block() }

// Section says who wrote what follows (Section Header Block). Interfaces of an
// earlier section get no more packets.
type Section struct {
	// Offset is where it begins, in bytes from the beginning of the file. It is read,
	// never written.
	Offset int64

	Hardware, OS, Application string
	Comments                  []string
}

// Interface is a place where packets were captured (Interface Description
// Block).
type Interface struct {
	// ID counts the interfaces of a file from 0, across its sections. The
	// Writer gives it out.
	ID          int
	LinkType    LinkType
	Snaplen     uint32 // 0: no limit
	Name        string
	Description string
	MAC         [6]byte // all zero: none, or not told
	Comments    []string
}

// Direction is which way a packet went (epb_flags, bits 0 and 1).
type Direction uint8

const (
	UnknownDirection Direction = iota
	Inbound
	Outbound
)

// Reception says to whom a packet was addressed on its link (epb_flags, bits 2
// to 4).
type Reception uint8

const (
	UnknownReception Reception = iota
	Unicast                    // to this link's own address
	Multicast
	Broadcast
	Promiscuous // to somebody else's address
)

// Packet is one packet (Enhanced Packet Block; when read also a Simple or an
// obsolete Packet Block, or a record of a pcap file).
type Packet struct {
	Interface int   // Interface.ID
	Time      int64 // nanoseconds since the Unix epoch
	// WireLength is how long the packet was on its link; at least len(Data).
	WireLength uint32
	// Data are the captured bytes, link header first. The Reader gives each
	// Packet bytes of its own.
	Data      []byte
	Direction Direction
	Reception Reception
	// ID is shared by the packets of several interfaces that are one and the
	// same packet (epb_packetid); 0: not told.
	ID uint64
	// Drops counts packets lost between this one and the one before of the
	// same interface (epb_dropcount).
	Drops    uint64
	Comments []string
	// Ifindex is the index of the link that a capture of all links names (the
	// SLL2 header); 0: not told. It is read, never written.
	Ifindex int32
}

// Names says how addresses are called (Name Resolution Block). The order is that
// of the file.
type Names struct{ Entries []Name }

// Name is an address and what it is called.
type Name struct {
	Address netip.Addr // without a zone
	Names   []string
}

// Statistics counts what one interface got and lost so far (Interface Statistics
// Block).
type Statistics struct {
	Interface  int
	Time       int64 // of counting, nanoseconds since the Unix epoch
	Start, End int64 // of the capture; 0: not told
	// Received and Dropped are isb_ifrecv and isb_ifdrop: the packets that
	// reached the capture, and those that the kernel had no room for, as
	// dumpcap writes them; Wireshark shows no other. When read, isb_osdrop is
	// added to Dropped.
	Received, Dropped uint64
	HasReceived       bool
	HasDropped        bool
	Comments          []string
}

// Local is natlens's own knowledge. The draft reserves block types with the most
// significant bit for local use; programs that don't know one skip it. Blocks of
// that type without natlens's mark in front are skipped by the Reader, too.
type Local struct {
	Kind uint32
	Data []byte
}

func (*Section) block()    {}
func (*Interface) block()  {}
func (*Packet) block()     {}
func (*Names) block()      {}
func (*Statistics) block() {}
func (*Local) block()      {}

// Block types.
const (
	typeSection    = 0x0A0D0D0A
	typeInterface  = 1
	typeObsolete   = 2 // Packet Block
	typeSimple     = 3
	typeNames      = 4
	typeStatistics = 5
	typeEnhanced   = 6
	typeLocal      = 0x806E6C73
)

// localMark begins the body of a Local block.
const localMark = "natlens\x00"

// byteOrderMagic is the first field of a Section Header Block.
const byteOrderMagic = 0x1A2B3C4D

// Options.
const (
	optEnd     = 0
	optComment = 1

	shbHardware    = 2
	shbOS          = 3
	shbApplication = 4

	ifName        = 2
	ifDescription = 3
	ifMACaddr     = 6
	ifTsresol     = 9
	ifTsoffset    = 14

	epbFlags     = 2
	epbDropcount = 4
	epbPacketID  = 5

	isbStartTime = 2
	isbEndTime   = 3
	isbIfRecv    = 4
	isbIfDrop    = 5
	isbOSDrop    = 7
)

// Records of a Name Resolution Block.
const (
	nrbEnd  = 0
	nrbIPv4 = 1
	nrbIPv6 = 2
)

// maxBlock is the largest block that is written or read. The draft sets no
// limit; a Local block with all of a large host is a few MiB.
const maxBlock = 64 << 20

// maxPacket is the largest packet that is read, libpcap's MAXIMUM_SNAPLEN.
const maxPacket = 256 << 10

// MaxInterfaces is how many interfaces a section has at most (see Writer.Full). It bounds
// what a hostile file can make the Reader remember.
const MaxInterfaces = 1 << 16
