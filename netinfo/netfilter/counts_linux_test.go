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

// The counter of a policy that drops is read with those of the rules, and where there
// are rules of NAT alone counters are read when somebody asks.
func TestRulesetsCountPoliciesAndWhenAsked(t *testing.T) {
	needs(t, "nsenter", "ip", "iptables-nft", "iptables-legacy", "nft")
	for _, c := range []struct {
		name, rules string
		asked       bool
		id          RuleID
	}{
		{"policy of legacy", "iptables-legacy -P INPUT DROP", false, RuleID{Family: "ip", Table: "filter", Chain: "INPUT", Legacy: true, Policy: true}},
		{"policy of nft", "iptables-nft -P INPUT DROP -c 0 0", false, RuleID{Family: "ip", Table: "filter", Chain: "INPUT", Policy: true}},
		{"translating rule of legacy", "iptables-legacy -t nat -A OUTPUT -p udp --dport 9 -j REDIRECT --to-ports 8", true, RuleID{Family: "ip", Table: "nat", Chain: "OUTPUT", Legacy: true, Position: 1}},
		{"translating rule of nft", "iptables-nft -t nat -A OUTPUT -p udp --dport 9 -j REDIRECT --to-ports 8", true, RuleID{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newNamespace(t)
			run(t, h, c.rules)
			want := c.id
			if want == (RuleID{}) {
				want = readRules(t, h).Rules()[0].ID()
			}
			r, err := NewRulesets()
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Attach(h); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			out, counts := make(chan *Ruleset, 8), make(chan Counts, 64)
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
			if first := next(); first.Since != 0 {
				t.Errorf("the first reading is %+v", first)
			}
			sendDatagram(t, h, netip.MustParseAddrPort("127.0.0.1:5000"), netip.MustParseAddrPort("127.0.0.1:9"))
			if c.asked {
				time.Sleep(1500 * time.Millisecond) // nobody asks
				if len(counts) > 0 {
					t.Errorf("%d readings that nobody asked for", len(counts))
				}
				r.Count(h.ID())
			}
			for {
				n := next()
				if len(n.Moved) == 0 && !c.asked {
					continue
				}
				if len(n.Moved) != 1 || n.Moved[0] != (Count{want, 1}) {
					t.Errorf("moved %+v, want %+v by 1", n.Moved, want)
				}
				return
			}
		})
	}
}

// What passes a hook may be dropped there where anything of it leads to a drop.
func TestMayDrop(t *testing.T) {
	needs(t, "nsenter", "ip", "iptables-nft", "iptables-legacy")
	for _, c := range []struct {
		rules              string
		postrouting, input bool
	}{
		{"true", false, false},
		{"iptables-nft -t nat -A POSTROUTING -j MASQUERADE; iptables-nft -A FORWARD -j DROP", false, false},
		{"iptables-nft -N A; iptables-nft -A A -p udp -j REJECT; iptables-nft -A INPUT -i eth0 -j A", false, true},
		{"iptables-nft -P INPUT DROP", false, true},
		{"iptables-legacy -w -P INPUT DROP; iptables-legacy -w -t mangle -A POSTROUTING -s 10.0.0.1 -j DROP", true, true},
		{"nft 'table inet x { chain y { type filter hook postrouting priority 0; tcp dport vmap { 80 : drop }; }; }'", true, false},
	} {
		h := newNamespace(t)
		runWords(t, h, "sh", "-c", c.rules)
		r := readRules(t, h)
		if p, i := r.MayDrop(Postrouting), r.MayDrop(Output, Input); p != c.postrouting || i != c.input {
			t.Errorf("%s: %t at postrouting, %t at input", c.rules, p, i)
		}
	}
	if !(*Ruleset)(nil).MayDrop(Input) {
		t.Error("rules that are not known drop nothing")
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
				if _, err := state.read(h, &Ruleset{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A machine that has no time for a reading makes it slow, but not costly: the next one
// is not put off for it.
func TestCostOfAReading(t *testing.T) {
	if d := costOf(func() { time.Sleep(200 * time.Millisecond) }); d > 20*time.Millisecond {
		t.Errorf("waiting cost %v", d)
	}
	began := time.Now()
	d := costOf(func() {
		for time.Since(began) < 20*time.Millisecond {
			continue
		}
	})
	if took := time.Since(began); d == 0 || d > took {
		t.Errorf("work of %v cost %v", took, d)
	}
}
