package netfilter

import (
	"bytes"
	"strconv"
)

// Attributes of NFULNL_MSG_PACKET (include/uapi/linux/netfilter/nfnetlink_log.h).
const (
	logPacketHeader = 1
	logMark         = 2
	logInLink       = 4
	logOutLink      = 5
	logPayload      = 9
	logPrefix       = 10
)

// decodeLegacyTrace reads the payload of one NFULNL_MSG_PACKET, from the
// nfgenmsg on: what a rule of iptables-legacy logs of a packet that is traced
// (iptables(8), TRACE; net/ipv4/netfilter/ip_tables.c, trace_packet). ok is false
// when the bytes are malformed; traced is false when they are another rule's LOG.
func decodeLegacyTrace(b []byte, n names, h *Hit) (traced, ok bool) {
	if len(b) < nfgenMessageLength {
		return false, false
	}
	h.Family = familyText(b[0])
	var p TracedPacket
	var payload, prefix []byte
	a := attributes(b[nfgenMessageLength:])
	ok = true
	for {
		kind, data, more := a.next()
		if !more {
			break
		}
		good := true
		var v uint32
		switch kind {
		case logPacketHeader:
			if good = len(data) == 4; good && int(data[2]) < len(hooks) {
				p.Hook = hooks[data[2]]
			}
		case logMark:
			h.Mark, good = be32(data)
		case logInLink:
			v, good = be32(data)
			p.In = int32(v)
		case logOutLink:
			v, good = be32(data)
			p.Out = int32(v)
		case logPayload:
			payload = data
		case logPrefix:
			prefix = data
		}
		ok = ok && good
	}
	if !ok || !a.spent() {
		return false, false
	}
	if !legacyPrefix(prefix, n, h) {
		return false, true
	}
	p.SetData(bytes.Clone(payload))
	h.Packet = &p
	return true, true
}

// legacyPrefix reads "TRACE: table:chain:type:number ". Names of chains may hold
// colons.
func legacyPrefix(b []byte, n names, h *Hit) bool {
	b = bytes.TrimRight(b, "\x00")
	rest, ok := bytes.CutPrefix(b, []byte("TRACE: "))
	if !ok {
		return false
	}
	rest = bytes.TrimRight(rest, " ")
	table, rest, okTable := bytes.Cut(rest, []byte(":"))
	last := bytes.LastIndexByte(rest, ':')
	if !okTable || last < 0 {
		return false
	}
	position, err := strconv.Atoi(string(rest[last+1:]))
	rest = rest[:last]
	kind := bytes.LastIndexByte(rest, ':')
	if err != nil || kind < 0 {
		return false
	}
	h.Table, h.Chain = n.of(table), n.of(rest[:kind])
	switch string(rest[kind+1:]) {
	case "rule":
		h.Kind, h.Position = RuleHit, position
	case "return":
		h.Kind, h.Verdict = ReturnHit, Return
	case "policy":
		h.Kind = PolicyHit
	default:
		return false
	}
	return h.Table != "" && h.Chain != "" && position > 0
}
