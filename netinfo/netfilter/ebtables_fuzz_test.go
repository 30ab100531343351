package netfilter

import (
	"net/netip"
	"testing"

	"natlens/capture/packet"
)

// A match of ebtables that is understood is decided and written.
func FuzzEbtablesIP(f *testing.F) {
	ip := make([]byte, 32)
	copy(ip, []byte{172, 17, 0, 2, 198, 51, 100, 7, 255, 255, 0, 0, 255, 255, 255, 255})
	ip[17], ip[18] = 6, ebtSource|ebtDestination|ebtProtocol|ebtSourcePort|ebtDestPort
	f.Add(ip)
	inverted := append([]byte{}, ip...)
	inverted[19] = ip[18]
	f.Add(inverted)
	f.Add(ip[:20])
	p := Packet{Tuple: packet.NewTuple(packet.TCP, netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("198.51.100.7"), 1, 80), Frame: Frame{Known: true}}
	f.Fuzz(func(t *testing.T, data []byte) {
		e := expression{name: "match", extension: "ip", extensionFamily: familyNumbers["bridge"], data: data}
		if m, ok := decodeEbtablesIP(&e); ok && (m.source.IsValid() && !m.source.Addr().Is4() || m.asksDstPort && !m.asksProtocol) {
			t.Errorf("%+v of %x", m, data)
		}
		evaluateFrame("bridge", []expression{e}, p)
		iptablesText(&rule{expressions: []expression{e}})
	})
}
