package oracletest

import (
	"fmt"
	"strings"
	"time"
)

// Sighting is one packet at one point as tcpdump recorded and tshark read it.
type Sighting struct {
	Space    uint64 // inode of the namespace
	Ifindex  int
	Out      bool
	Type     int   // as in packet(7)
	Time     int64 // ns
	Protocol int
	// Source and Dest have no ports in a later fragment.
	Source, Dest Address
	IPID         uint16 // 0 in IPv6, which has none
	fragmentID   uint32
	Length       int // of the IP packet
	Offset       int // of a fragment, bytes
	More         bool
	ICMPType     int
	ICMPID       int // of an echo
	ICMPSeq      int
	TCPSeq       uint32
	TCPAck       uint32
	TCPFlags     int
	TCPLength    uint32 // bytes of data
	unrecorded   bool   // it is in no file; its twin is
	payload      string // as much as was captured

	quoted   *tuple // of the packet that an ICMP error is about
	quotedID uint16 // its identification; 0 in IPv6
	// whole is the packet's tuple; for a later fragment, its first one's, as is
	// beginning, what a datagram's payload begins with.
	whole     tuple
	beginning string
}

// tuple is what conntrack tells flows apart by.
type tuple struct {
	protocol     int
	source, dest Address
	icmpID       int
}

// is6 reports whether it is IPv6.
func (s *Sighting) is6() bool { return strings.Contains(s.Source.IP, ":") }

// Payload is the data behind the last header, as much of it as was captured.
func (s *Sighting) Payload() string { return s.payload }

// piece reports whether it is a fragment.
func (s *Sighting) piece() bool { return s.Offset > 0 || s.More }

// String says where and when, and by what its like are told apart.
func (s Sighting) String() string {
	way := map[bool]string{false: "in", true: "out"}[s.Out]
	return fmt.Sprintf("{%d if%d %s %s protocol %d %v > %v id %d length %d offset %d icmp %d/%d/%d tcp %d/%d/%#x %.20q}", s.Space, s.Ifindex, way,
		time.Unix(0, s.Time).UTC().Format("15:04:05.000000000"), s.Protocol, s.whole.source, s.whole.dest, s.IPID, s.Length, s.Offset,
		s.ICMPType, s.ICMPID, s.ICMPSeq, s.TCPSeq, s.TCPAck, s.TCPFlags, s.payload)
}

// loopback reports whether it never leaves its host.
func (s *Sighting) loopback() bool {
	return strings.HasPrefix(s.Dest.IP, "127.") || s.Ifindex == loopback
}

// place is where and which way a packet was seen.
type place struct {
	space   uint64
	ifindex int
	out     bool
}

func (s *Sighting) place() place { return place{s.Space, s.Ifindex, s.Out} }

// point is what a hop of a journey and a sighting have in common: where, which
// way, and what the headers said.
type point struct {
	place
	source, dest Address
	ipID         uint16
	length       int
	offset       int // of a later fragment, bytes
	icmpID       int
	icmpSeq      int
	tcpSeq       uint32
	tcpAck       uint32
}

func (s *Sighting) point() point {
	return point{s.place(), s.Source, s.Dest, s.IPID, s.Length, s.Offset, s.ICMPID, s.ICMPSeq, s.TCPSeq, s.TCPAck}
}

func (h *Hop) point() point {
	p := point{place: place{h.NamespaceInode, h.Ifindex, h.Direction == "out"}, source: h.Source, dest: h.Destination,
		ipID: h.IPID, length: h.Length}
	if h.Part != nil && h.ICMP == nil && h.TCP == nil && h.Source.Port == 0 {
		p.offset = h.Part.Offset // elsewhere it is what was cut otherwise
	}
	if h.ICMP != nil {
		p.icmpID, p.icmpSeq = h.ICMP.ID, h.ICMP.Seq
	}
	if h.TCP != nil {
		p.tcpSeq, p.tcpAck = h.TCP.Seq, h.TCP.Ack
	}
	return p
}

// apart is the time between a hop and its sighting; two sockets stamp one packet
// some microseconds apart.
func apart(h *Hop, s *Sighting) time.Duration {
	return time.Duration(h.Time.UnixNano() - s.Time).Abs()
}

// Conversation returns the protocol and the ends of what a packet belongs to;
// for an ICMP error that is what it is about. An echo's id stands in the ports.
func (s *Sighting) Conversation() (protocol int, ends [2]Address) {
	t := s.whole
	if s.quoted != nil {
		t = *s.quoted
	}
	if t.protocol == icmp || t.protocol == icmp6 {
		t.source.Port, t.dest.Port = uint16(t.icmpID), uint16(t.icmpID)
	}
	return t.protocol, [2]Address{t.source, t.dest}
}
