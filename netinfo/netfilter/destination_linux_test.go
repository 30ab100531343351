package netfilter

import (
	"testing"

	"natlens/capture/packet"
)

// Where rules say that a packet goes is what is written in them, in either
// language, as far as one destination is.
func TestWhereRulesSendPackets(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "iptables-nft", "ip6tables-nft")
	h := newNamespace(t)
	script(t, h, `*nat
-A PREROUTING -p tcp -m tcp --dport 1 -j DNAT --to-destination 172.17.0.2:80
-A PREROUTING -p tcp -m tcp --dport 2 -j DNAT --to-destination 172.17.0.2
-A PREROUTING -p tcp -m tcp --dport 3 -j DNAT --to-destination 172.17.0.2-172.17.0.3:80
-A PREROUTING -p tcp -m tcp --dport 4 -j DNAT --to-destination 172.17.0.2:80-90
-A PREROUTING -p tcp -m tcp --dport 5 -j REDIRECT --to-ports 8080
-A PREROUTING -p tcp -m tcp --dport 6 -j REDIRECT --to-ports 8080-8090
-A PREROUTING -p tcp -m tcp --dport 7 -j DNAT --to-destination 172.17.0.2:80 --random
-A PREROUTING -p tcp -m tcp --dport 8 -j NETMAP --to 172.18.0.0/16
COMMIT
`, "iptables-nft-restore")
	script(t, h, `*nat
-A PREROUTING -p tcp -m tcp --dport 1 -j DNAT --to-destination [fd00:1::2]:80
COMMIT
`, "ip6tables-nft-restore")
	script(t, h, `
table ip native {
	chain pre {
		type nat hook prerouting priority -100;
		tcp dport 11 dnat to 172.17.0.2:80
		tcp dport 12 dnat to 172.17.0.2
		tcp dport 13 dnat to 172.17.0.2-172.17.0.9
		tcp dport 14 dnat to 172.17.0.2:80-90
		tcp dport 15 redirect to :8080
		tcp dport 16 redirect
		tcp dport 17 dnat to 172.17.0.2:80 random
		tcp dport 18 dnat to tcp sport map { 4000 : 10.0.0.2 }
	}
}
`, "nft", "-f", "-")
	r := readRules(t, h)
	for port, want := range map[uint16]string{
		1: "172.17.0.2:80", 2: "172.17.0.2:0", 3: "invalid AddrPort 80", 4: "unknown", 5: "invalid AddrPort 8080", 6: "unknown", 7: "unknown", 8: "unknown",
		11: "172.17.0.2:80", 12: "172.17.0.2:0", 13: "invalid AddrPort 0", 14: "unknown", 15: "invalid AddrPort 8080", 16: "invalid AddrPort 0",
		17: "unknown", 18: "10.0.0.2:0",
	} {
		m := r.NAT(Prerouting, Packet{Tuple: tuple(packet.TCP, "198.51.100.7", "192.0.2.10", 4000, port), InLink: "eth0"})
		got := "unknown"
		if m.ToKnown {
			if got = m.To.String(); !m.To.Addr().IsValid() {
				got = "invalid AddrPort " + itoa(uint64(m.To.Port()))
			}
		}
		if m.Certainty != Covered || got != want {
			t.Errorf("port %d: certainty %d, to %s, want %s (%s)", port, m.Certainty, got, want, m.Rule.Text)
		}
	}
	m := r.NAT(Prerouting, Packet{Tuple: tuple(packet.TCP, "fd02::1", "fd02::10", 4000, 1), InLink: "eth0"})
	if !m.ToKnown || m.To.String() != "[fd00:1::2]:80" {
		t.Errorf("IPv6: %+v", m)
	}
}
