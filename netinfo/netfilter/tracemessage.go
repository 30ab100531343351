package netfilter

import (
	"math"

	"natlens/capture/packet"
)

// Attributes of NFT_MSG_TRACE (enum nft_trace_attributes).
const (
	traceAttrTable           = 1
	traceAttrChain           = 2
	traceAttrRuleHandle      = 3
	traceAttrType            = 4
	traceAttrVerdict         = 5
	traceAttrID              = 6
	traceAttrNetworkHeader   = 8
	traceAttrTransportHeader = 9
	traceAttrInLink          = 10
	traceAttrOutLink         = 12
	traceAttrMark            = 14
	traceAttrPolicy          = 16
	traceAttrFlowID          = 18
	traceAttrFlowDirection   = 19
	traceAttrFlowStatus      = 20
)

// template is the status of what a rule ("CT --zone") puts in an entry's place
// until connection tracking has looked at the packet (IPS_TEMPLATE).
const template Status = 1 << 11

// What the kernel copies at most (NFT_TRACETYPE_NETWORK_HSIZE, _TRANSPORT_HSIZE).
const (
	tracedNetwork   = 40
	tracedTransport = 20
)

// hitKinds are the kernel's, in its order (enum nft_trace_types).
var hitKinds = [...]HitKind{1: PolicyHit, 2: ReturnHit, 3: RuleHit}

// names keeps one copy of each name that messages repeat.
type names map[string]string

// maxNames bounds what is kept: names come from whoever writes rules.
const maxNames = 4096

func (n names) of(b []byte) string {
	for i, c := range b { // as text does
		if c == 0 {
			b = b[:i]
			break
		}
	}
	if s, ok := n[string(b)]; ok {
		return s
	}
	if len(n) >= maxNames {
		clear(n)
	}
	s := string(b)
	n[s] = s
	return s
}

// decodeTrace reads the payload of one NFT_MSG_TRACE, from the nfgenmsg on. It
// reports false when the bytes are malformed or lack what every trace has.
// Attributes that it does not know are stepped over; nothing of b is kept.
func decodeTrace(b []byte, n names, h *Hit) bool {
	if len(b) < nfgenMessageLength {
		return false
	}
	h.Family = familyText(b[0])
	t := traced{hit: h, names: n}
	a := attributes(b[nfgenMessageLength:])
	ok := true
	for {
		kind, data, more := a.next()
		if !more {
			break
		}
		ok = t.attribute(kind, data) && ok
	}
	if !ok || !a.spent() || h.Kind == "" || h.Table == "" || h.Chain == "" {
		return false
	}
	if h.Kind == RuleHit && h.Handle == 0 {
		h.Kind = ReturnHit // newer kernels end each chain with a rule of their own
	}
	if len(t.network) > 0 {
		kept := t.packet
		if kept.Status&template != 0 {
			kept.Tracked, kept.FlowID, kept.Reply, kept.Status = false, 0, false, 0
		}
		kept.SetData(t.whole())
		h.Packet = &kept
	}
	return true
}

// traced is a trace message that is being read.
type traced struct {
	hit                *Hit
	names              names
	packet             TracedPacket
	network, transport []byte
}

func (t *traced) attribute(kind uint16, data []byte) (ok bool) {
	h, p := t.hit, &t.packet
	ok = true
	var v uint32
	switch kind {
	case traceAttrTable:
		h.Table = t.names.of(data)
	case traceAttrChain:
		h.Chain = t.names.of(data)
	case traceAttrRuleHandle:
		h.Handle, ok = be64(data)
	case traceAttrType:
		if v, ok = be32(data); ok && v < uint32(len(hitKinds)) {
			h.Kind = hitKinds[v]
		}
	case traceAttrVerdict:
		h.Verdict, h.Target, ok = t.verdict(data)
	case traceAttrID:
		h.Trace, ok = be32(data)
	case traceAttrNetworkHeader:
		t.network, ok = data, len(data) <= tracedNetwork
	case traceAttrTransportHeader:
		t.transport, ok = data, len(data) <= tracedTransport
	case traceAttrInLink:
		v, ok = be32(data)
		p.In = int32(v)
	case traceAttrOutLink:
		v, ok = be32(data)
		p.Out = int32(v)
	case traceAttrMark:
		h.Mark, ok = be32(data)
	case traceAttrPolicy:
		v, ok = be32(data)
		h.Verdict = hitVerdict(int32(v))
	case traceAttrFlowID:
		p.FlowID, ok = be32(data)
		p.Tracked = true
	case traceAttrFlowDirection:
		var direction uint8
		direction, ok = be8(data)
		p.Reply = direction == 1
	case traceAttrFlowStatus:
		v, ok = be32(data)
		p.Status = Status(v)
	}
	return ok
}

func (t *traced) verdict(b []byte) (v HitVerdict, target string, ok bool) {
	a := attributes(b)
	ok = true
	for {
		kind, data, more := a.next()
		if !more {
			return v, target, ok && a.spent()
		}
		switch kind {
		case 1: // NFTA_VERDICT_CODE
			code, good := be32(data)
			v, ok = hitVerdict(int32(code)), ok && good
		case 2: // NFTA_VERDICT_CHAIN
			target = t.names.of(data)
		}
	}
}

// whole puts the copies of the headers one behind the other, as they were in the
// packet. Where the first one was cut they are no neighbours: then it is all.
func (t *traced) whole() []byte {
	b := make([]byte, 0, tracedNetwork+tracedTransport)
	b = append(b, t.network...)
	if !cut(t.network) {
		b = append(b, t.transport...)
	}
	return b
}

// SetData sets Data and the Headers that it holds.
func (p *TracedPacket) SetData(b []byte) {
	p.Data, p.Headers = b, packet.Headers{}
	p.Headers.Parse(packet.RawIP, b, math.MaxInt32)
}

// cut reports whether the copy of a network header is shorter than the header:
// IPv4 options and IPv6 extension headers have no room.
func cut(network []byte) bool {
	switch network[0] >> 4 {
	case 4:
		return int(network[0]&0xf)*4 != len(network)
	case 6:
		if len(network) < tracedNetwork {
			return true
		}
		switch network[6] { // RFC 8200, section 4: what is no extension stands right behind
		case 0, 43, 44, 51, 60, 135, 139, 140:
			return true
		}
	}
	return false
}

// verdictText names a verdict code (NF_VERDICT_MASK: a queue's number or an
// errno stand above it).
func hitVerdict(code int32) HitVerdict {
	switch code {
	case verdictBreak, -1: // NFT_BREAK, NFT_CONTINUE
		return Continue
	case verdictJump:
		return Jump
	case verdictGoto:
		return Goto
	case verdictReturn:
		return Return
	}
	switch code & 0xff {
	case verdictDrop:
		return Drop
	case verdictAccept:
		return Accept
	case 2:
		return Stolen
	case 3:
		return Queue
	}
	return ""
}

// familyText names an address family as nft(8) does.
func familyText(number uint8) string {
	switch number {
	case 1:
		return "inet"
	case 2:
		return "ip"
	case 3:
		return "arp"
	case 5:
		return "netdev"
	case 7:
		return "bridge"
	case 10:
		return "ip6"
	}
	return ""
}
