package netfilter

import (
	"testing"

	"natlens/capture/packet"
)

// What rules ask of the status of a packet's flow is known as far as NAT and the packet's
// state tell; a packet outside of any flow has none.
func TestStatusOfAFlow(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "iptables-nft")
	h := newNamespace(t)
	script(t, h, `*nat
-A PREROUTING -p udp -m udp --dport 1:9 -j DNAT --to-destination 172.17.0.2
-A PREROUTING -p udp -m udp --dport 21:29 -m statistic --mode random --probability 0.5 -j DNAT --to-destination 172.17.0.2
COMMIT
*filter
-A FORWARD -p udp -m udp --dport 2 -m conntrack ! --ctstatus SEEN_REPLY -j DROP
-A FORWARD -p udp -m udp --dport 3 -m conntrack --ctstate SNAT -j DROP
-A FORWARD -p udp -m udp --dport 13 -m conntrack --ctstate DNAT -j DROP
-A FORWARD -p udp -m udp --dport 14 -m conntrack ! --ctstate DNAT -j DROP
-A FORWARD -p udp -m udp --dport 15 -m conntrack --ctstatus ASSURED,SEEN_REPLY -j DROP
-A FORWARD -p udp -m udp --dport 16 -m conntrack --ctproto udp -j DROP
COMMIT
`, "iptables-nft-restore")
	script(t, h, `
table inet own {
	chain fw {
		type filter hook forward priority 10; policy drop;
		ct status dnat accept
		udp dport 12 ct status ! snat accept
		udp dport 13-16 accept
		udp dport 17 ct status assured,confirmed accept
	}
}
`, "nft", "-f", "-")
	r := readRules(t, h)
	for _, c := range []struct {
		port  uint16
		state State
		want  string // the chain that drops it, "accept" or "unsure"
	}{
		{1, StateNew, "accept"},
		{2, StateNew, "FORWARD"},
		{3, StateNew, "accept"},
		{11, StateNew, "fw"},
		{12, StateNew, "accept"},
		{13, StateNew, "accept"},
		{14, StateNew, "FORWARD"},
		{15, StateNew, "accept"},
		{15, StateEstablished, "FORWARD"},
		{16, StateNew, "FORWARD"},
		{17, StateNew, "fw"},
		{17, StateEstablished, "accept"},
		{21, StateNew, "unsure"},
		{11, StateInvalid, "fw"},
		{12, StateInvalid, "fw"},
		{13, StateInvalid, "accept"},
		{14, StateInvalid, "FORWARD"},
		{16, StateInvalid, "accept"},
	} {
		p := Packet{Tuple: tuple(packet.UDP, "198.51.100.7", "192.0.2.10", 4000, c.port), InLink: "eth0", OutLink: "docker0", State: c.state}
		if c.state == StateEstablished {
			p.Bound, p.DestinationTranslated, p.SourceTranslated = true, False, False
		}
		w := r.Walk(ThroughHost, p)
		got := map[Verdict]string{Accepted: "accept", "": "unsure"}[w.Verdict]
		switch {
		case w.Decisive != nil:
			got = w.Decisive.Chain
		case w.Policy != nil:
			got = w.Policy.Name
		}
		if got != c.want {
			t.Errorf("port %d, state %d: %s (%s), want %s", c.port, c.state, got, w.Unsure, c.want)
		}
	}
}
