package netfilter

import (
	"testing"

	"natlens/capture/packet"
)

// By which ports a packet came and goes, from which addresses and from which MAC.
func TestPortsAddressesAndMACs(t *testing.T) {
	needs(t, "nsenter", "ip", "iptables-nft")
	h := newNamespace(t)
	script(t, h, `*filter
-A FORWARD -p udp -m udp --dport 1 -m physdev --physdev-is-bridged -j DROP
-A FORWARD -p udp -m udp --dport 2 -m physdev --physdev-in veth1 -j DROP
-A FORWARD -p udp -m udp --dport 3 -m physdev --physdev-is-in -j DROP
-A FORWARD -p udp -m udp --dport 4 -m physdev --physdev-is-out -j DROP
-A FORWARD -p udp -m udp --dport 5 -m physdev ! --physdev-is-bridged -j DROP
-A FORWARD -p udp -m udp --dport 6 -m physdev ! --physdev-in veth1 -j DROP
-A FORWARD -p udp -m udp --dport 7 -m physdev --physdev-in veth1 --physdev-out veth2 -j DROP
-A FORWARD -p udp -m udp --dport 11 -m iprange --src-range 172.17.0.2-172.17.0.9 -j DROP
-A FORWARD -p udp -m udp --dport 12 -m iprange ! --src-range 172.17.0.2-172.17.0.9 -j DROP
-A FORWARD -p udp -m udp --dport 13 -m iprange --src-range 172.17.0.1-172.17.0.9 --dst-range 172.17.0.1-172.17.0.2 -j DROP
-A FORWARD -p udp -m udp --dport 14 -m mac --mac-source 02:42:ac:11:00:02 -j DROP
-A FORWARD -p udp -m udp --dport 15 -m mac ! --mac-source 02:42:ac:11:00:02 -j DROP
COMMIT
`, "iptables-nft-restore")
	r := readRules(t, h)
	bridged := Packet{InLink: "docker0", OutLink: "docker0", InPort: "veth1", OutPort: "veth2"}
	routed := Packet{InLink: "docker0", OutLink: "eth0", InPort: "veth1"}
	for _, c := range []struct {
		name  string
		p     Packet
		seen  Fact
		drops string // a letter for each port
	}{
		{"bridged", bridged, True, "ddddaad"},
		{"routed", routed, True, "addadaa"},
		{"routed, and bridges pass IP by", routed, False, "aaaadda"},
		{"bridged, perhaps past IP", bridged, NotKnown, "???????"},
	} {
		r.bridged[0] = c.seen
		got := ""
		for port := range uint16(7) {
			c.p.Tuple, c.p.State = tuple(packet.UDP, "172.17.0.2", "172.17.0.3", 4000, port+1), StateNew
			got += map[Verdict]string{Dropped: "d", Accepted: "a", "": "?"}[r.Walk(Path{Forward}, c.p).Verdict]
		}
		if got != c.drops {
			t.Errorf("%s: %s, want %s", c.name, got, c.drops)
		}
	}
	bridged.Frame = Frame{Known: true, Source: [6]byte{2, 0x42, 0xac, 0x11, 0, 2}}
	for port, want := range map[uint16]Verdict{11: Dropped, 12: Accepted, 13: Accepted, 14: Dropped, 15: Accepted} {
		bridged.Tuple, bridged.State = tuple(packet.UDP, "172.17.0.2", "172.17.0.3", 4000, port), StateNew
		if w := r.Walk(Path{Forward}, bridged); w.Verdict != want {
			t.Errorf("port %d: %q (%s), want %q", port, w.Verdict, w.Unsure, want)
		}
	}
}
