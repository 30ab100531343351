package netfilter

import (
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// everyPlace are rules that count a datagram at each place where a frame meets some.
const everyPlace = `table netdev n {
	chain ingress-front { type filter hook ingress device "vfront" priority 0; udp dport 7 counter; }
	chain ingress-br0 { type filter hook ingress device "br0" priority 0; udp dport 7 counter; }
	chain egress-br0 { type filter hook egress device "br0" priority 0; udp dport 7 counter; }
	chain egress-back { type filter hook egress device "vback" priority 0; udp dport 7 counter; }
}
table bridge b {
	chain prerouting { type filter hook prerouting priority -300; udp dport 7 counter; }
	chain input { type filter hook input priority 0; udp dport 7 counter; }
	chain forward { type filter hook forward priority 0; udp dport 7 counter; }
	chain output { type filter hook output priority 0; udp dport 7 counter; }
	chain postrouting { type filter hook postrouting priority 0; udp dport 7 counter; }
}
`

var (
	listedTable = regexp.MustCompile(`(?m)^table (\S+) \S+ \{`)
	listedCount = regexp.MustCompile(`chain (\S+) \{|counter packets (\d+) `)
)

// countedPlaces returns the chains whose rules have counted, by the listing of nft.
func countedPlaces(t *testing.T, ns *netns.Handle) (places []string) {
	t.Helper()
	family, chain := "", ""
	for line := range strings.Lines(run(t, ns, "nft list ruleset")) {
		if m := listedTable.FindStringSubmatch(line); m != nil {
			family = m[1]
		}
		m := listedCount.FindStringSubmatch(line)
		switch {
		case m == nil:
		case m[1] != "":
			chain = m[1]
		case m[2] != "0" && (family == "netdev" || family == "bridge"):
			places = append(places, family+" "+chain)
		}
	}
	return places
}

// TestTracerBehindItsOwnRule: a packet is traced from the rule on that asks for it,
// which stands at prerouting and output of IP. The rules of frames that it meets behind
// that are traced, too; those that it met before are not. By nft, which says whose
// counter moved and of which rules the kernel told.
func TestTracerBehindItsOwnRule(t *testing.T) {
	needs(t, "iptables", "nft", "stdbuf")
	for _, c := range []struct {
		name         string
		calls        string // net.bridge.bridge-nf-call-iptables
		host         bool   // it begins in the bridge's namespace, else at a port
		to           string
		traced, mute []string
	}{
		{"bridged", "0", false, backAddress, nil, []string{"netdev ingress-front", "netdev egress-back", "bridge prerouting", "bridge forward", "bridge postrouting"}},
		{"bridged, by IP's rules", "1", false, backAddress, []string{"bridge forward", "bridge postrouting", "netdev egress-back"}, []string{"netdev ingress-front", "bridge prerouting"}},
		{"to the bridge", "0", false, bridgeAddress, nil, []string{"netdev ingress-front", "netdev ingress-br0", "bridge prerouting", "bridge input"}},
		{"to the bridge, by IP's rules", "1", false, bridgeAddress, []string{"bridge input", "netdev ingress-br0"}, []string{"netdev ingress-front", "bridge prerouting"}},
		{"from the host", "0", true, backAddress, []string{"netdev egress-br0", "bridge output", "bridge postrouting", "netdev egress-back"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newBridged(t)
			run(t, w.middle, "ip neigh replace "+backAddress+" lladdr "+net.HardwareAddr(slice(w.mac["back"])).String()+" dev br0 nud permanent")
			runWords(t, w.middle, "sh", "-c", "echo "+c.calls+" > /proc/sys/net/bridge/bridge-nf-call-iptables")
			script(t, w.middle, everyPlace, "nft", "-f", "-")
			tr := startTrace(t, TracerConfig{Protocols: []packet.Protocol{packet.UDP}}, w.middle)
			lines := monitor(t, w.middle)
			eventually(t, "nft listens", func() bool {
				flood(t, w.middle, netip.MustParseAddrPort("127.0.0.1:10"), 1)
				return len(lines) > 0
			})
			from := w.front
			if c.host {
				from = w.middle
			}
			flood(t, from, netip.MustParseAddrPort(c.to+":7"), 1)
			flood(t, w.middle, netip.MustParseAddrPort("127.0.0.1:11"), 1)
			tr.through()
			var ours, theirs []string
			for _, h := range tr.hits {
				if h.Kind == RuleHit && !strings.HasPrefix(h.Table, TraceTable) && h.Family != "ip" {
					ours = append(ours, h.Family+" "+h.Chain)
				}
			}
			for last := false; !last; {
				line := <-lines
				last = strings.Contains(line, "udp dport 11")
				if m := traceLine.FindStringSubmatch(line); m != nil && m[5] == "rule" && !strings.HasPrefix(m[3], TraceTable) && m[2] != "ip" {
					theirs = append(theirs, m[2]+" "+m[4])
				}
			}
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("traced (-nft +ours):\n%s", diff)
			}
			if diff := cmp.Diff(c.traced, ours); diff != "" {
				t.Errorf("traced (-want +got):\n%s", diff)
			}
			var mute []string
			for _, place := range countedPlaces(t, w.middle) {
				if !slices.Contains(ours, place) {
					mute = append(mute, place)
				}
			}
			if diff := cmp.Diff(c.mute, mute); diff != "" {
				t.Errorf("met and not traced (-want +got):\n%s", diff)
			}
		})
	}
}
