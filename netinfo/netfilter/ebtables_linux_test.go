package netfilter

import (
	"strings"
	"testing"
)

// ebtablesRules are evaluated; undecodedEbtables are named as what they are.
const ebtablesRules = `*filter
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
-A FORWARD -p ARP -j ACCEPT
-A FORWARD -p IPv4 --ip-src 10.9.0.0/24 --ip-proto udp --ip-dport 7001 -j DROP
-A FORWARD -p IPv4 --ip-src ! 10.9.0.2 -j DROP
-A FORWARD -p IPv4 --ip-dst 10.9.0.3 --ip-proto udp --ip-sport 1:9000 -j CONTINUE
-A FORWARD -p IPv4 --ip-proto tcp -j DROP
-A FORWARD -p IPv4 --ip-proto udp --ip-dport ! 7000:7002 -j DROP
-A FORWARD -p IPv6 -j DROP
-A FORWARD -i vfront -o v+ -j ACCEPT
`

const undecodedEbtables = `-A FORWARD -p IPv4 --ip-tos 4 -j DROP
-A FORWARD -p IPv4 --ip-proto icmp --ip-icmp-type 8/0 -j DROP
-A FORWARD -p IPv6 --ip6-src fd00::/64 -j DROP
-A FORWARD -p ARP --arp-op Request -j DROP
`

func TestRulesOfEbtables(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "bridge", "iptables-nft", "ebtables-nft-restore")
	w := newBridged(t)
	script(t, w.middle, ebtablesRules, "ebtables-nft-restore")
	verdicts := map[Verdict]int{}
	for _, port := range []uint16{7000, 7001, 7002, 7003} {
		verdicts[w.foretold(t, ebtablesRules, backAddress, port)]++
	}
	if verdicts[Accepted] != 2 || verdicts[Dropped] != 2 {
		t.Errorf("%v, want two of each", verdicts)
	}
	script(t, w.middle, ebtablesRules+undecodedEbtables, "ebtables-nft-restore")
	got, undecoded := nativeTexts(t, w.middle), 0
	for i, line := range nftRules(run(t, w.middle, "nft -s list table bridge filter"))["bridge filter FORWARD"] {
		ours := got["bridge filter FORWARD"][i]
		switch {
		case strings.Contains(ours, "[not decoded: xt match"):
			undecoded++
		case !strings.Contains(line, "xt match") && ours != line: // nft may be made without the words of ebtables
			t.Errorf("%s\n     want %s", ours, line)
		}
	}
	if want := strings.Count(undecodedEbtables, "\n"); undecoded != want {
		t.Errorf("%d rules are not decoded, want %d", undecoded, want)
	}
}
