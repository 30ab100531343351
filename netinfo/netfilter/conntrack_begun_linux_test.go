package netfilter

import (
	"testing"

	"natlens/capture/packet"
)

// How a flow began is known of a packet that begins it, or goes the same way, when its
// walk starts where it came in.
func TestRulesThatAskHowAFlowBegan(t *testing.T) {
	needs(t, "nsenter", "ip", "nft")
	h := newNamespace(t)
	script(t, h, `
table ip t {
	chain pre { type nat hook prerouting priority -100; tcp dport { 8080, 8081 } dnat to 10.0.0.2:80; }
	chain forward {
		type filter hook forward priority 0; policy accept;
		ip daddr 10.0.0.2 tcp dport 80 ct original ip daddr != 10.0.0.2 ct original proto-dst 8080 counter accept
		ip daddr 10.0.0.2 ct original ip saddr 203.0.113.0/24 counter drop
		ip daddr 10.0.0.3 ct reply ip saddr 10.0.0.3 counter drop
	}
}
table ip6 t {
	chain forward {
		type filter hook forward priority 0; policy accept;
		meta l4proto tcp ct original ip6 daddr fd00::2 ct original proto-src 4000 drop
	}
}
`, "nft", "-f", "-")
	r := readRules(t, h)
	there := func(to string, port uint16) Packet {
		return packetOf(tuple(packet.TCP, "203.0.113.7", to, 4000, port), "eth0", "docker0")
	}
	established := there("203.0.113.1", 8081)
	established.State, established.Direction, established.Bound = StateEstablished, DirectionOriginal, true
	established.Translated = tuple(packet.TCP, "203.0.113.7", "10.0.0.2", 4000, 80)
	translated := established
	translated.Tuple, translated.Translated = established.Translated, packet.Tuple{}
	answer := there("10.0.0.2", 80)
	answer.State, answer.Direction = StateEstablished, DirectionReply
	answer.SourceTranslated, answer.DestinationTranslated = False, False
	for _, c := range []walkCase{
		{"asked for by its own address", ThroughHost, there("10.0.0.2", 80), "drop forward 2"},
		{"asked for by a published port", ThroughHost, there("203.0.113.1", 8080), "accept, dnat pre 1"},
		{"asked for by another port", ThroughHost, there("203.0.113.1", 8081), "drop forward 2, dnat pre 1"},
		{"established", ThroughHost, established, "drop forward 2"},
		{"established, and nobody saw it come in", Path{Forward}, translated, "unsure: what connection tracking says of the packet is not known"},
		{"answer", ThroughHost, answer, "unsure: what connection tracking says of the packet is not known"},
		{"the other direction", ThroughHost, there("10.0.0.3", 80), "unsure: what connection tracking says of the packet is not known"},
		{"six", ThroughHost, packetOf(tuple(packet.TCP, "fd00:7::7", "fd00::2", 4000, 80), "eth0", "docker0"), "drop forward 1"},
		{"six, of another", ThroughHost, packetOf(tuple(packet.TCP, "fd00:7::7", "fd00::3", 4000, 80), "eth0", "docker0"), "accept"},
	} {
		c.check(t, r)
	}
}
