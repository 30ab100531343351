package packet

import "encoding/binary"

const (
	icmpHeader = 8
	tcpHeader  = 20 // without options
	udpHeader  = 8
	sctpHeader = 12
)

// parseTransport reads the header of Tuple.Protocol at data[at]. data ends
// where the IP packet does, or before. A header of which not even the fields in
// Headers were captured leaves no layer.
func (h *Headers) parseTransport(data []byte, at int) {
	switch h.Tuple.Protocol {
	case TCP:
		h.parseTCP(data, at)
	case UDP:
		h.parseUDP(data, at)
	case ICMP:
		// ICMP inside IPv6, and the reverse, is not defined: the kernel
		// takes it as an unknown protocol, and so do we.
		if h.Layers&LayerIPv4 != 0 {
			h.parseICMP(data, at)
		}
	case ICMPv6:
		if h.Layers&LayerIPv6 != 0 {
			h.parseICMP(data, at)
		}
	case SCTP:
		if len(data)-at < sctpHeader {
			h.packetEnds(data)
			return
		}
		h.Layers |= LayerSCTP
		h.setPorts(data[at : at+4])
		h.setPayload(data, at+sctpHeader)
	}
}

func (h *Headers) setPorts(b []byte) {
	h.Tuple.SourcePort = binary.BigEndian.Uint16(b)
	h.Tuple.DestinationPort = binary.BigEndian.Uint16(b[2:])
}

// parseTCP reads RFC 9293's header.
func (h *Headers) parseTCP(data []byte, at int) {
	if len(data)-at < tcpHeader {
		h.packetEnds(data)
		return
	}
	b := data[at : at+tcpHeader]
	h.Layers |= LayerTCP
	h.setPorts(b)
	h.TCPSeq = binary.BigEndian.Uint32(b[4:])
	h.TCPAck = binary.BigEndian.Uint32(b[8:])
	h.TCPFlags = b[13]
	h.TCPWindow = binary.BigEndian.Uint16(b[14:])
	header := int(b[12]>>4) * 4
	if header < tcpHeader {
		h.Layers |= Malformed
		header = tcpHeader
	}
	h.setPayload(data, at+header)
	if at+header > len(data) {
		h.packetEnds(data)
	}
}

// parseUDP reads RFC 768's header. Its length may be less than IP leaves room
// for (RFC 9868), but not more, unless the rest is in later fragments.
func (h *Headers) parseUDP(data []byte, at int) {
	if len(data)-at < udpHeader {
		h.packetEnds(data)
		return
	}
	b := data[at : at+udpHeader]
	h.Layers |= LayerUDP
	h.setPorts(b)
	h.setPayload(data, at+udpHeader)
	length := uint32(binary.BigEndian.Uint16(b[4:]))
	tooLong := length > h.PayloadLength+udpHeader && h.Layers&LayerFragment == 0
	if tooLong || length != 0 && length < udpHeader {
		h.Layers |= Malformed
	}
}

// parseICMP reads the header of RFC 792 or RFC 4443, and the packet that an
// error quotes.
func (h *Headers) parseICMP(data []byte, at int) {
	if len(data)-at < 4 {
		h.packetEnds(data)
		return
	}
	h.Layers |= LayerICMP
	h.ICMPType, h.ICMPCode = data[at], data[at+1]
	h.Tuple.DestinationPort = uint16(h.ICMPType)<<8 | uint16(h.ICMPCode)
	if len(data)-at < icmpHeader {
		h.setPayload(data, len(data))
		h.packetEnds(data)
		return
	}
	b := data[at : at+icmpHeader]
	h.setPayload(data, at+icmpHeader)
	p := h.Tuple.Protocol
	switch {
	case isEcho(p, h.ICMPType):
		h.ICMPID = binary.BigEndian.Uint16(b[4:])
		h.ICMPSeq = binary.BigEndian.Uint16(b[6:])
		h.Tuple.SourcePort = h.ICMPID
	case isQuery(p, h.ICMPType):
		h.Tuple.SourcePort = binary.BigEndian.Uint16(b[4:])
	case isError(p, h.ICMPType):
		h.parseQuoted(data, at+icmpHeader)
	}
}

// isQuery reports whether connection tracking takes the type for a question or
// its answer, with an identifier in bytes 4 and 5. See Tuple.Inverse.
func isQuery(p Protocol, icmpType uint8) bool {
	if p == ICMP {
		return icmpType == 8 || icmpType == 0 || icmpType >= 13 && icmpType <= 18
	}
	return icmpType == 128 || icmpType == 129 || icmpType == 139 || icmpType == 140
}

// isError reports whether the type quotes the packet it is about.
func isError(p Protocol, icmpType uint8) bool {
	if p == ICMP {
		switch icmpType {
		case 3, 4, 5, 11, 12:
			return true
		}
		return false
	}
	return icmpType >= 1 && icmpType <= 4
}

// parseQuoted reads the packet that an ICMP error quotes at data[at]. The
// sender need not quote more than 8 bytes behind the IP header.
func (h *Headers) parseQuoted(data []byte, at int) {
	q := &h.Quoted
	var transport int
	if h.Layers&LayerIPv4 != 0 {
		if len(data)-at < ipv4Header {
			h.packetEnds(data)
			return
		}
		b := data[at : at+ipv4Header]
		header := int(b[0]&0xf) * 4
		if b[0]>>4 != 4 || header < ipv4Header {
			h.Layers |= Malformed
			return
		}
		h.Layers |= LayerQuoted
		q.Protocol = Protocol(b[9])
		q.setIPv4(b[12:16], b[16:20])
		h.QuotedID = binary.BigEndian.Uint16(b[4:])
		if binary.BigEndian.Uint16(b[6:])&ipv4OffsetMask != 0 {
			return
		}
		transport = at + header
	} else {
		if len(data)-at < ipv6Header {
			h.packetEnds(data)
			return
		}
		b := data[at : at+ipv6Header]
		if b[0]>>4 != 6 {
			h.Layers |= Malformed
			return
		}
		h.Layers |= LayerQuoted
		q.setIPv6(b[8:24], b[24:40])
		e := walkExtensions(data, at+ipv6Header, b[6])
		q.Protocol = e.next
		switch {
		case e.short:
			h.packetEnds(data)
			return
		case e.endless:
			h.Layers |= Malformed
			return
		case e.offset != 0:
			return
		}
		transport = e.at
	}
	need := 4
	if q.Protocol == ICMP || q.Protocol == ICMPv6 {
		need = icmpHeader
	}
	if q.HasPorts() || need == icmpHeader {
		if len(data)-transport < need {
			h.packetEnds(data)
			return
		}
		q.setQuotedPorts(data[transport:])
	}
}

// setQuotedPorts fills in the ports, or what stands for them with ICMP.
func (t *Tuple) setQuotedPorts(b []byte) {
	if t.HasPorts() {
		t.SourcePort = binary.BigEndian.Uint16(b)
		t.DestinationPort = binary.BigEndian.Uint16(b[2:])
		return
	}
	t.DestinationPort = binary.BigEndian.Uint16(b)
	if isQuery(t.Protocol, b[0]) {
		t.SourcePort = binary.BigEndian.Uint16(b[4:])
	}
}
