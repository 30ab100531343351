package netfilter

import (
	"encoding/binary"

	"natlens/capture/packet"
)

// action is what an expression does beyond matching.
type action uint8

const (
	noAction action = iota
	actionVerdict
	actionTranslates
	actionRejects
	actionLeaves // the packet leaves the rules for somewhere else
	actionGoesOn
	actionRewrites
	actionUnknown
)

// action tells what e does, and the kind of translation, or where the packet
// goes.
func (x *pass) action(e *expression) (action, string) {
	switch e.name {
	case "nat", "masq", "redir":
		if e.opaque {
			return actionUnknown, ""
		}
		return x.translation(e)
	case "immediate":
		if !e.opaque && e.verdict.there {
			return actionVerdict, ""
		}
	case "target":
		return x.target(e)
	case "reject":
		return actionRejects, ""
	case "queue", "tproxy", "synproxy", "fwd":
		return actionLeaves, e.name
	case "payload":
		if e.hasSource && !e.opaque {
			return actionRewrites, ""
		}
	case "meta":
		if e.hasSource && e.key == metaBroute {
			return actionLeaves, "broute"
		}
	case "dup", "flow_offload":
		return actionGoesOn, ""
	case "objref":
		return e.refers()
	}
	return noAction, ""
}

// refers tells what an object does that a rule names. Those that are not known, as a map
// chooses them, and those that match some packets only are conditions.
func (e *expression) refers() (action, string) {
	switch {
	case e.opaque, e.key == objectQuota, e.key == objectLimit, e.key == objectConnlimit:
		return noAction, ""
	case e.key == objectSynproxy:
		return actionLeaves, "synproxy"
	}
	return actionGoesOn, ""
}

func (x *pass) translation(e *expression) (action, string) {
	switch {
	case e.name == "masq":
		return actionTranslates, "masquerade"
	case e.name == "redir":
		return actionTranslates, "redirect"
	case e.family != familyInet && e.family != uint32(x.family()):
		return noAction, "" // nft_nat_inet_eval passes by
	case e.flags&rangeNetmap != 0:
		return actionTranslates, "netmap"
	case e.key == natSource:
		return actionTranslates, "snat"
	case e.key == natDestination:
		return actionTranslates, "dnat"
	}
	return actionUnknown, ""
}

// target tells what an xtables target does.
func (x *pass) target(e *expression) (action, string) {
	if e.opaque {
		return actionUnknown, ""
	}
	switch e.extension {
	case "MASQUERADE":
		return actionTranslates, "masquerade"
	case "SNAT":
		return actionTranslates, "snat"
	case "DNAT":
		return actionTranslates, "dnat"
	case "REDIRECT":
		return actionTranslates, "redirect"
	case "NETMAP":
		return actionTranslates, "netmap"
	case "REJECT":
		return actionRejects, ""
	case "NFQUEUE", "TPROXY", "SYNPROXY":
		return actionLeaves, e.extension
	case "LOG", "NFLOG", "TRACE", "TCPMSS", "CLASSIFY", "CHECKSUM", "DSCP", "TOS", "TTL", "HL", "AUDIT", "TEE", "SET", "SECMARK", "CONNSECMARK", "IDLETIMER", "LED", "RATEEST":
		return actionGoesOn, "" // these go on to the next rule, whatever they do
	case "log", "nflog": // of ebtables
		return actionGoesOn, ""
	case "NOTRACK":
		x.untrack()
		return actionGoesOn, ""
	case "CT":
		t, ok := decodeCTTarget(e)
		if !ok {
			return actionUnknown, ""
		}
		x.runCT(t)
		return actionGoesOn, ""
	case "MARK":
		mark, mask, ok := decodeMarkTarget(e)
		if !ok {
			x.markBits, x.marker = 0, nil
			return actionGoesOn, ""
		}
		x.setMark(mark, mask)
		return actionGoesOn, ""
	case "CONNMARK":
		x.connectionMark(e)
		return actionGoesOn, ""
	}
	return actionUnknown, ""
}

// connectionMark runs -j CONNMARK: struct xt_connmark_tginfo1, or 2, which can
// shift.
func (x *pass) connectionMark(e *expression) {
	const set, save, restore = 0, 1, 2
	if e.revision != 1 || len(e.data) < 13 {
		x.markBits, x.marker, x.connMarkKnown = 0, nil, false
		return
	}
	mark, mask, own := binary.NativeEndian.Uint32(e.data), binary.NativeEndian.Uint32(e.data[4:]), binary.NativeEndian.Uint32(e.data[8:])
	switch e.data[12] {
	case set:
		x.connMark = x.connMark&^mask ^ mark
		x.connMarkKnown = x.connMarkKnown || mask == 1<<32-1
	case save:
		x.connMark = x.connMark&^mask ^ x.mark&own
		x.connMarkKnown = x.connMarkKnown && own&^x.markBits == 0
	case restore:
		x.mark, x.marker = x.mark&^own^x.connMark&mask, x.machine.rule
		if x.markBits |= own; !x.connMarkKnown {
			x.markBits &^= own | mask
		}
	}
}

// translated changes the packet as a rule of NAT says. What the rule leaves to
// the kernel is not known then.
func (m *machine) translated(side int, n translated) {
	if side == sourceNAT {
		m.packet.SourceTranslated = True
		// The address may be the link's, and the port is kept only where no
		// other flow has it.
		m.addressKnown[sourceSide], m.portKnown[sourceSide] = false, false
		m.fill()
		return
	}
	m.packet.DestinationTranslated = True
	t := m.packet.Tuple
	to := n.to.Addr()
	if m.addressKnown[destinationSide] = n.toKnown && to.IsValid() && to.Is4() == t.Is4(); m.addressKnown[destinationSide] {
		m.packet.Tuple = packet.NewTuple(t.Protocol, t.Source(), to, t.SourcePort, t.DestinationPort)
	}
	switch {
	case !t.HasPorts():
	case !n.toKnown:
		m.portKnown[destinationSide] = false
	case n.to.Port() != 0:
		m.packet.Tuple.DestinationPort = n.to.Port()
	}
	m.fill()
}

// followFlow does to a packet what NAT does without asking the rules: what the
// caller knows of its flow.
func (m *machine) followFlow(hook Hook) {
	p := &m.packet
	if sideOf(hook) == destinationNAT {
		switch {
		case p.Translated.Valid() && p.Translated.Is4() == p.Tuple.Is4():
			p.Tuple = p.Translated
			m.addressKnown, m.portKnown = [2]bool{true, true}, [2]bool{true, true}
		case m.follows() && p.DestinationTranslated != False:
			m.addressKnown[destinationSide], m.portKnown[destinationSide] = false, false
		}
	} else if m.follows() && p.SourceTranslated != False {
		m.addressKnown[sourceSide], m.portKnown[sourceSide] = false, false
	}
	m.fill()
}

// follows reports whether a flow that is there may decide the translation.
func (m *machine) follows() bool {
	return m.state == StateNew && m.packet.Bound || m.state != StateNew && m.state != StateInvalid && m.state != StateUntracked
}
