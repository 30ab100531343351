package netfilter

import (
	"strings"
	"testing"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// BenchmarkWalk is what it costs to evaluate a drop by Docker's rules, once
// everything is known and once the outgoing link is not.
func BenchmarkWalk(b *testing.B) {
	h, err := netns.New()
	if err != nil {
		b.Skip("needs CAP_SYS_ADMIN: run as root")
	}
	defer func() { _ = h.Close() }()
	c := command(h, "iptables-nft-restore")
	c.Stdin = strings.NewReader(docker28Rules)
	if out, err := c.CombinedOutput(); err != nil {
		b.Skipf("needs iptables-nft: %s", out)
	}
	r, err := ReadRuleset(h)
	if err != nil {
		b.Fatal(err)
	}
	for _, out := range []string{"bridge1", ""} {
		b.Run("out="+out, func(b *testing.B) {
			p := packetOf(tuple(packet.TCP, "172.17.0.2", "192.0.2.3", 4000, 80), "docker0", out)
			b.ReportAllocs()
			for b.Loop() {
				r.Walk(ThroughHost, p)
			}
		})
	}
}
