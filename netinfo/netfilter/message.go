package netfilter

import (
	"encoding/binary"
	"net/netip"

	"natlens/capture/packet"
)

// Netlink headers (include/uapi/linux/netlink.h, nfnetlink.h).
const (
	messageHeaderLength  = 16 // struct nlmsghdr
	nfgenMessageLength   = 4  // struct nfgenmsg
	messageError         = 2  // NLMSG_ERROR
	messageDone          = 3  // NLMSG_DONE
	messageFirstSubtype  = 16 // NLMSG_MIN_TYPE: below are control messages
	flagExclusiveCreate  = 0x400 | 0x200
	flagRequest          = 0x1
	flagDump             = 0x300
	subsystemConntrack   = 1
	subsystemNFTables    = 10
	conntrackNew         = 0
	conntrackGet         = 1
	conntrackDelete      = 2
	conntrackGetStatsCPU = 4 // IPCTNL_MSG_CT_GET_STATS_CPU: of each processor
	conntrackGetStatsAll = 5 // IPCTNL_MSG_CT_GET_STATS: of the whole namespace
)

// message is one netlink message. Its payload shares memory with the buffer it
// was read into.
type message struct {
	kind     uint16 // for nfnetlink: subsystem<<8 | message
	flags    uint16
	sequence uint32
	payload  []byte
}

// nextMessage returns the first message of b and what comes after it.
func nextMessage(b []byte) (m message, rest []byte, ok bool) {
	if len(b) < messageHeaderLength {
		return message{}, nil, false
	}
	n := binary.NativeEndian.Uint32(b)
	if n < messageHeaderLength || uint64(n) > uint64(len(b)) {
		return message{}, nil, false
	}
	m = message{
		kind:     binary.NativeEndian.Uint16(b[4:]),
		flags:    binary.NativeEndian.Uint16(b[6:]),
		sequence: binary.NativeEndian.Uint32(b[8:]),
		payload:  b[messageHeaderLength:n],
	}
	return m, b[min(int(n+3)&^3, len(b)):], true
}

// subsystem returns the nfnetlink subsystem and the message within it.
func (m message) subsystem() (subsystem, sub uint8) { return uint8(m.kind >> 8), uint8(m.kind) }

// attributes returns what follows the nfgenmsg, and the family it names.
func (m message) attributes() (family uint8, a attributes, ok bool) {
	if len(m.payload) < nfgenMessageLength {
		return 0, nil, false
	}
	return m.payload[0], attributes(m.payload[nfgenMessageLength:]), true
}

// appendRequest appends a request with an nfgenmsg and the given attributes.
func appendRequest(b []byte, subsystem, sub uint8, flags uint16, sequence uint32, family uint8, attrs []byte) []byte {
	n := messageHeaderLength + nfgenMessageLength + len(attrs)
	b = binary.NativeEndian.AppendUint32(b, uint32(n))
	b = binary.NativeEndian.AppendUint16(b, uint16(subsystem)<<8|uint16(sub))
	b = binary.NativeEndian.AppendUint16(b, flagRequest|flags)
	b = binary.NativeEndian.AppendUint32(b, sequence)
	b = binary.NativeEndian.AppendUint32(b, 0) // to the kernel
	b = append(b, family, 0, 0, 0)
	return append(b, attrs...)
}

// Attributes of a conntrack message (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
const (
	ctaTupleOrig      = 1
	ctaTupleReply     = 2
	ctaStatus         = 3
	ctaProtoinfo      = 4
	ctaTimeout        = 7
	ctaMark           = 8
	ctaCountersOrig   = 9
	ctaCountersReply  = 10
	ctaID             = 12
	ctaSeqAdjOrig     = 15
	ctaSeqAdjReply    = 16
	ctaZone           = 18
	ctaTimestamp      = 20
	ctaTimestampEvent = 27

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaTupleZone  = 3

	ctaIPv4Source      = 1
	ctaIPv4Destination = 2
	ctaIPv6Source      = 3
	ctaIPv6Destination = 4

	ctaProtoNum        = 1
	ctaProtoSourcePort = 2
	ctaProtoDestPort   = 3
	ctaProtoICMPID     = 4
	ctaProtoICMPType   = 5
	ctaProtoICMPCode   = 6
	ctaProtoICMPv6ID   = 7
	ctaProtoICMPv6Type = 8
	ctaProtoICMPv6Code = 9

	ctaProtoinfoTCP      = 1
	ctaProtoinfoTCPState = 1

	ctaCountersPackets = 1
	ctaCountersBytes   = 2

	ctaSeqAdjPosition = 1
	ctaSeqAdjBefore   = 2
	ctaSeqAdjAfter    = 3

	ctaTimestampStart = 1
	ctaTimestampStop  = 2
)

const protocolGRE packet.Protocol = 47

// tcpStates are the kernel's states in its order (enum tcp_conntrack), in
// conntrack(8)'s words.
var tcpStates = [...]string{
	"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT",
	"LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2",
}

// flowTimes is when the kernel says that something happened to a flow,
// nanoseconds since the Unix epoch; 0 where it does not say
// (nf_conntrack_timestamp is off, or the kernel is older).
type flowTimes struct {
	event int64
	stop  int64
}

// decodeFlow reads the payload of one conntrack message, from the nfgenmsg on.
// It reports false when the bytes are malformed or lack a tuple; attributes it
// does not know are stepped over. f.Namespace is left alone. It does not
// allocate and keeps nothing of b.
func decodeFlow(b []byte, f *Flow) (t flowTimes, ok bool) {
	if len(b) < nfgenMessageLength {
		return t, false
	}
	a := attributes(b[nfgenMessageLength:])
	ok = true
	for {
		kind, data, more := a.next()
		if !more {
			return t, ok && a.spent() && f.Original.Valid() && f.Reply.Valid()
		}
		good := true
		switch kind {
		case ctaTupleOrig:
			var zone uint16
			f.Original, zone, good = decodeTuple(data)
			f.Zone |= zone
		case ctaTupleReply:
			var zone uint16
			f.Reply, zone, good = decodeTuple(data)
			f.ReplyZone |= zone
		case ctaStatus:
			var v uint32
			v, good = be32(data)
			f.Status = Status(v)
		case ctaProtoinfo:
			f.TCPState, good = decodeTCPState(data)
		case ctaTimeout:
			f.Timeout, good = be32(data)
		case ctaMark:
			f.Mark, good = be32(data)
		case ctaCountersOrig:
			good = decodeCounters(data, f, 0)
		case ctaCountersReply:
			good = decodeCounters(data, f, 1)
		case ctaID:
			f.ID, good = be32(data)
		case ctaSeqAdjOrig:
			f.Renumberings[0], good = decodeRenumbering(data)
		case ctaSeqAdjReply:
			f.Renumberings[1], good = decodeRenumbering(data)
		case ctaZone:
			f.Zone, good = be16(data) // of both: else it stands in one of the tuples
			f.ReplyZone = f.Zone
		case ctaTimestamp:
			f.Start, t.stop, good = decodeTimestamp(data)
		case ctaTimestampEvent:
			var v uint64
			v, good = be64(data)
			t.event = int64(v)
		}
		ok = ok && good
	}
}

// decodeTuple reads a nested tuple. The zone is 0 unless it belongs to this
// direction alone.
func decodeTuple(b []byte) (t packet.Tuple, zone uint16, ok bool) {
	var source, destination netip.Addr
	var proto tupleProtocol
	ok = true
	a := attributes(b)
	for {
		kind, data, more := a.next()
		if !more {
			break
		}
		good := true
		switch kind {
		case ctaTupleIP:
			source, destination, good = decodeAddresses(data)
		case ctaTupleProto:
			proto, good = decodeProtocol(data)
		case ctaTupleZone:
			zone, good = be16(data)
		}
		ok = ok && good
	}
	if !ok || !a.spent() || !source.IsValid() || !destination.IsValid() || source.Is4() != destination.Is4() {
		return packet.Tuple{}, 0, false
	}
	return packet.NewTuple(proto.number, source, destination, proto.source, proto.destination), zone, true
}

func decodeAddresses(b []byte) (source, destination netip.Addr, ok bool) {
	a := attributes(b)
	for {
		kind, data, more := a.next()
		if !more {
			return source, destination, a.spent()
		}
		var into *netip.Addr
		length := 4
		switch kind {
		case ctaIPv4Source:
			into = &source
		case ctaIPv4Destination:
			into = &destination
		case ctaIPv6Source:
			into, length = &source, 16
		case ctaIPv6Destination:
			into, length = &destination, 16
		default:
			continue
		}
		if len(data) != length {
			return source, destination, false
		}
		*into, _ = netip.AddrFromSlice(data)
	}
}

// tupleProtocol is the transport part of a tuple, in packet.Tuple's form.
type tupleProtocol struct {
	number              packet.Protocol
	source, destination uint16
}

func decodeProtocol(b []byte) (p tupleProtocol, ok bool) {
	ok = true
	a := attributes(b)
	var icmpType, icmpCode uint8
	for {
		kind, data, more := a.next()
		if !more {
			break
		}
		good := true
		switch kind {
		case ctaProtoNum:
			var v uint8
			v, good = be8(data)
			p.number = packet.Protocol(v)
		case ctaProtoSourcePort, ctaProtoICMPID, ctaProtoICMPv6ID:
			p.source, good = be16(data)
		case ctaProtoDestPort:
			p.destination, good = be16(data)
		case ctaProtoICMPType, ctaProtoICMPv6Type:
			icmpType, good = be8(data)
		case ctaProtoICMPCode, ctaProtoICMPv6Code:
			icmpCode, good = be8(data)
		}
		ok = ok && good
	}
	switch p.number {
	case packet.ICMP, packet.ICMPv6:
		p.destination = uint16(icmpType)<<8 | uint16(icmpCode)
	case protocolGRE:
		// The kernel puts the call id of PPTP where ports are. It is in no
		// packet's header at a fixed place, so a tuple has none.
		p.source, p.destination = 0, 0
	}
	return p, ok && a.spent()
}

// decodeTCPState returns the state's name; empty for other protocols.
func decodeTCPState(b []byte) (state string, ok bool) {
	a := attributes(b)
	for {
		kind, data, more := a.next()
		if !more {
			return state, a.spent()
		}
		if kind != ctaProtoinfoTCP {
			continue
		}
		tcp := attributes(data)
		for {
			kind, data, more := tcp.next()
			if !more {
				break
			}
			if kind != ctaProtoinfoTCPState {
				continue
			}
			v, good := be8(data)
			if !good {
				return "", false
			}
			if int(v) < len(tcpStates) {
				state = tcpStates[v]
			}
		}
		if !tcp.spent() {
			return "", false
		}
	}
}

func decodeCounters(b []byte, f *Flow, direction int) (ok bool) {
	ok = true
	a := attributes(b)
	for {
		kind, data, more := a.next()
		if !more {
			return ok && a.spent()
		}
		good := true
		switch kind {
		case ctaCountersPackets:
			f.Packets[direction], good = be64(data)
		case ctaCountersBytes:
			f.Bytes[direction], good = be64(data)
		}
		ok = ok && good
	}
}

func decodeRenumbering(b []byte) (r Renumbering, ok bool) {
	ok = true
	a := attributes(b)
	for {
		kind, data, more := a.next()
		if !more {
			return r, ok && a.spent()
		}
		var v uint32
		good := true
		switch kind {
		case ctaSeqAdjPosition:
			r.Position, good = be32(data)
		case ctaSeqAdjBefore:
			v, good = be32(data)
			r.Before = int32(v)
		case ctaSeqAdjAfter:
			v, good = be32(data)
			r.After = int32(v)
		}
		ok = ok && good
	}
}

func decodeTimestamp(b []byte) (start, stop int64, ok bool) {
	ok = true
	a := attributes(b)
	for {
		kind, data, more := a.next()
		if !more {
			return start, stop, ok && a.spent()
		}
		var v uint64
		good := true
		switch kind {
		case ctaTimestampStart:
			v, good = be64(data)
			start = int64(v)
		case ctaTimestampStop:
			v, good = be64(data)
			stop = int64(v)
		}
		ok = ok && good
	}
}

// of returns when an event of that kind happened; 0 when the kernel did not say.
func (t flowTimes) of(kind EventKind) int64 {
	if t.event == 0 && kind == Destroy {
		return t.stop
	}
	return t.event
}
