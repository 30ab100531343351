package netfilter

// physdev is struct xt_physdev_info.
type physdev struct {
	in, inMask, out, outMask [16]byte
	invert, match            uint8
}

// Bits of physdev's match and invert (xt_physdev.h).
const (
	physdevIn      = 1
	physdevOut     = 2
	physdevBridged = 4
	physdevIsIn    = 8
	physdevIsOut   = 16
)

func decodePhysdev(b []byte) (p physdev, ok bool) {
	if len(b) < 66 {
		return p, false
	}
	p.in, p.inMask, p.out, p.outMask = [16]byte(b), [16]byte(b[16:]), [16]byte(b[32:]), [16]byte(b[48:])
	p.invert, p.match = b[64], b[65]
	return p, true
}

// physdev evaluates -m physdev: by which ports of a bridge the packet came and goes. The
// kernel knows of ports only where bridge netfilter is on; elsewhere only what all
// options negate is true (physdev_mt).
func (m *machine) physdev(e *expression) truth {
	p, ok := decodePhysdev(e.data)
	m.why = "by which ports of a bridge it came and goes"
	if !ok || m.bridged == NotKnown {
		return maybe
	}
	if m.bridged == False {
		return truthOf(p.match&^p.invert == 0)
	}
	in, out := m.packet.InPort, m.packet.OutPort
	// A packet that is routed has left the bridge by which it came.
	goes := FactOf(out != "")
	if out == "" && m.packet.InLink == m.packet.OutLink && m.hook != Prerouting && m.hook != Input {
		goes = NotKnown
	}
	if in == "" {
		return maybe
	}
	result := yes
	for _, one := range []struct {
		bit   uint8
		there Fact
	}{{physdevBridged, goes}, {physdevIsIn, True}, {physdevIsOut, goes}} {
		if p.match&one.bit == 0 {
			continue
		}
		if one.there == NotKnown {
			result = both(result, maybe)
			continue
		}
		result = both(result, truthOf((one.there == True) != (p.invert&one.bit != 0)))
	}
	if p.match&physdevIn != 0 {
		result = both(result, truthOf(isPort(in, p.in, p.inMask) != (p.invert&physdevIn != 0)))
	}
	switch {
	case p.match&physdevOut == 0:
	case goes == False:
		result = no // negated or not
	case goes == NotKnown:
		result = both(result, maybe)
	default:
		result = both(result, truthOf(isPort(out, p.out, p.outMask) != (p.invert&physdevOut != 0)))
	}
	return result
}

// isPort compares a port's name as the kernel does, which pads it with NUL.
func isPort(port string, name, mask [16]byte) bool {
	for i := range name {
		var c byte
		if i < len(port) {
			c = port[i]
		}
		if (c^name[i])&mask[i] != 0 {
			return false
		}
	}
	return true
}
