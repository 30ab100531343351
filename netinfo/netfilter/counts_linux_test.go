package netfilter

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"natlens/netinfo/netns"
)

func TestRulesetsCount(t *testing.T) {
	needs(t, "nsenter", "ip", "iptables-nft", "iptables-legacy")
	for _, backend := range []Backend{IPTablesNFT, IPTablesLegacy} {
		t.Run(string(backend), func(t *testing.T) {
			h := newNamespace(t)
			if b, err := command(h, string(backend), "-A", "INPUT", "-p", "udp", "--dport", "9", "-j", "DROP").CombinedOutput(); err != nil {
				t.Skipf("needs a kernel with %s: %s", backend, b)
			}
			run(t, h, string(backend)+" -A INPUT -p tcp -j DROP")
			rule := readRules(t, h).Rules()[0]
			r, err := NewRulesets()
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Attach(h); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			out, counts := make(chan *Ruleset, 8), make(chan Counts)
			var group sync.WaitGroup
			group.Go(func() {
				if err := r.Run(ctx, out, counts); err != nil {
					t.Error(err)
				}
			})
			defer func() {
				cancel()
				group.Wait()
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}()
			next := func() Counts {
				select {
				case n := <-counts:
					return n
				case <-time.After(20 * time.Second):
					t.Fatal("counters are not read")
					return Counts{}
				}
			}
			first := next()
			if first.Since != 0 || len(first.Moved) != 0 || first.Namespace != h.ID() {
				t.Errorf("the first reading is %+v", first)
			}
			const sent = 3
			for i := range uint16(sent) {
				sendDatagram(t, h, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 5000+i), netip.MustParseAddrPort("127.0.0.1:9"))
			}
			var total uint64
			for last := first; total < sent; {
				n := next()
				if n.Since != last.Start || n.Start < last.End {
					t.Errorf("%+v follows %+v", n, last)
				}
				for _, m := range n.Moved {
					if m.Rule != rule.ID() {
						t.Errorf("%+v moved, only %+v should", m, rule.ID())
					}
					total += m.Packets
				}
				last = n
			}
			if total != sent {
				t.Errorf("the counter moved by %d, %d were sent", total, sent)
			}
			if _, ok := moved(map[RuleID]uint64{rule.ID(): 5}, map[RuleID]uint64{rule.ID(): 4}); ok {
				t.Error("a counter that was set back was taken")
			}
		})
	}
}

// BenchmarkReadCounts is what reading all counters costs, with as many rules as
// its name says.
func BenchmarkReadCounts(b *testing.B) {
	for _, rules := range []int{30, 1000} {
		b.Run(fmt.Sprint(rules), func(b *testing.B) {
			h, err := netns.New()
			if err != nil {
				b.Skip("needs CAP_SYS_ADMIN: run as root")
			}
			defer func() { _ = h.Close() }()
			c := command(h, "iptables-nft-restore")
			c.Stdin = strings.NewReader("*filter\n" + strings.Repeat("-A FORWARD -s 10.0.0.1 -i docker0 -p tcp -m tcp --dport 80 -j DROP\n", rules) + "COMMIT\n")
			if out, err := c.CombinedOutput(); err != nil {
				b.Skipf("needs iptables-nft: %s", out)
			}
			var state counting
			for b.Loop() {
				if _, err := state.read(h, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
