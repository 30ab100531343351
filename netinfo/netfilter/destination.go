package netfilter

import (
	"encoding/binary"
	"net/netip"
)

// destinationOf returns where a rule that translates destinations sends a packet:
// an invalid address when the rule names none or several, port 0 when it leaves
// the port as it is. ok is false when the port is the kernel's to choose.
func (m *machine) destinationOf(e *expression) (to netip.AddrPort, ok bool) {
	if e.name == "target" {
		t, ok := decodeTranslation(e)
		if !ok || t.flags&(rangeRandom|rangeRandomFully|rangePortOffset|rangeNetmap) != 0 {
			return to, false
		}
		return fixed(t.from, t.to, t.flags&rangeMapAddresses != 0, t.ports, t.flags&rangePorts != 0)
	}
	if e.flags&(rangeRandom|rangeRandomFully|rangePortOffset|rangeNetmap) != 0 {
		return to, false
	}
	var ends [2]netip.Addr
	var ports [2]uint16
	if e.address.there {
		if ends[0], ok = m.addressIn(e.address); !ok {
			return to, false
		}
		if ends[1] = ends[0]; e.addressTo.there {
			if ends[1], ok = m.addressIn(e.addressTo); !ok {
				return to, false
			}
		}
	}
	if e.port.there {
		if ports[0], ok = m.portIn(e.port); !ok {
			return to, false
		}
		if ports[1] = ports[0]; e.portTo.there {
			if ports[1], ok = m.portIn(e.portTo); !ok {
				return to, false
			}
		}
	}
	return fixed(ends[0], ends[1], e.address.there, ports, e.port.there)
}

// fixed is the one destination in a range, if it is one.
func fixed(from, to netip.Addr, named bool, ports [2]uint16, numbered bool) (netip.AddrPort, bool) {
	if !named || from != to {
		from = netip.Addr{}
	}
	if !numbered {
		return netip.AddrPortFrom(from, 0), true
	}
	return netip.AddrPortFrom(from, ports[0]), ports[0] == ports[1]
}

func (m *machine) addressIn(r register) (netip.Addr, bool) {
	n := 16
	if m.packet.Tuple.Is4() {
		n = 4
	}
	b, k := m.load(r.number, n)
	a, ok := netip.AddrFromSlice(b)
	return a, ok && k == knownValue
}

func (m *machine) portIn(r register) (uint16, bool) {
	b, k := m.load(r.number, 2)
	if k != knownValue {
		return 0, false
	}
	return binary.BigEndian.Uint16(b), true
}
