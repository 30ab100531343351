package netfilter

import (
	"strings"
	"testing"

	"natlens/capture/packet"
)

// What rules ask for that changes with each packet can't be evaluated, by whatever name:
// no drop is claimed, and the rule is named as the doubt.
func TestRulesThatAskForWhatPacketsChange(t *testing.T) {
	needs(t, "nsenter", "ip", "nft")
	h := newNamespace(t)
	script(t, h, `
table ip native {
	set plain { type ipv4_addr; }
	set other { type ipv4_addr; }
	quota q { over 1000 bytes }
	limit l { rate 1/minute }
	counter k { }
	map chosen { type inet_service : quota; }
	chain fw {
		type filter hook forward priority 0;
		udp dport 1 ip saddr @plain drop
		udp dport 2 ip saddr @other drop
		udp dport 3 quota name q drop
		udp dport 4 limit name l drop
		udp dport 5 counter name k drop
		udp dport 6 quota over 10 bytes drop
		udp dport 7 ct count over 1 drop
		udp dport 8 limit rate over 1/minute drop
		udp dport 9 quota name udp sport map @chosen drop
	}
}
`, "nft", "-f", "-")
	script(t, h, "add rule ip native fw udp dport 10 add @plain { ip saddr } accept\n", "nft", "-f", "-")
	r := readRules(t, h)
	for port, want := range map[uint16]string{
		1: "what is in the set plain is not known", 2: "", 3: "how much of a quota is left is not known", 4: "how much of a rate limit is left is not known", 5: "drop",
		6: "how much of a quota is left is not known", 7: "how many connections there were is not known", 8: "how much of a rate limit is left is not known",
		9: "what it asks by nft expression \"objref\" is not known here", 10: "",
	} {
		w := r.Walk(Path{Forward}, Packet{Tuple: tuple(packet.UDP, "172.17.0.2", "198.51.100.7", 4000, port), InLink: "docker0", OutLink: "eth0", State: StateNew})
		switch {
		case want == "drop" && w.Verdict == Dropped, want == "" && w.Verdict == Accepted:
		case w.Verdict == "" && w.UnsureRule != nil && w.UnsureRule.Position == int(port) && strings.Contains(w.Unsure, want):
		default:
			t.Errorf("port %d: %q, unsure %q (%+v), want %q", port, w.Verdict, w.Unsure, w.UnsureRule, want)
		}
	}
}
