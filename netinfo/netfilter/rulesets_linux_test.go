package netfilter

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"natlens/netinfo/netns"
)

func TestRulesetsFollowChanges(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "iptables-nft")
	a, b := newNamespace(t), newNamespace(t)
	run(t, a, "iptables-nft -t nat -A POSTROUTING -o eth0 -j MASQUERADE")
	r, err := NewRulesets()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Attach(a); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan *Ruleset)
	var group sync.WaitGroup
	group.Go(func() {
		if err := r.Run(ctx, out, nil); err != nil {
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
	next := func() *Ruleset {
		t.Helper()
		select {
		case one := <-out:
			if one.Unreadable != nil {
				t.Fatal(one.Unreadable)
			}
			return one
		case <-time.After(20 * time.Second):
			t.Fatal("no ruleset came")
			return nil
		}
	}
	expect := func(one *Ruleset, id netns.ID, rules int) {
		t.Helper()
		if one.Namespace != id || len(one.Rules()) != rules {
			t.Errorf("%d rules of %v, want %d of %v", len(one.Rules()), one.Namespace, rules, id)
		}
	}
	expect(next(), a.ID(), 1)
	if err := r.Attach(b); err != nil {
		t.Fatal(err)
	}
	expect(next(), b.ID(), 0)
	run(t, b, "nft add table ip x")
	expect(next(), b.ID(), 0)
	run(t, a, "iptables-nft -t nat -A POSTROUTING -o eth1 -j MASQUERADE")
	expect(next(), a.ID(), 2)
	run(t, a, "iptables-nft -t nat -F")
	expect(next(), a.ID(), 0)
	if err := r.Detach(b.ID()); err != nil {
		t.Error(err)
	}
	run(t, b, "nft flush ruleset")
	select {
	case one := <-out:
		t.Errorf("a ruleset of %v came without a change", one.Namespace)
	case <-time.After(3 * rulesetInterval):
	}
}

// followRules watches the rules of a namespace until the test ends. What it returns
// waits for the next ruleset.
func followRules(t *testing.T, h *netns.Handle) (next func() *Ruleset) {
	t.Helper()
	r, err := NewRulesets()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Attach(h); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan *Ruleset)
	var group sync.WaitGroup
	group.Go(func() {
		if err := r.Run(ctx, out, nil); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		group.Wait()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return func() *Ruleset {
		t.Helper()
		select {
		case one := <-out:
			return one
		case <-time.After(20 * time.Second):
			t.Fatal("no ruleset came")
			return nil
		}
	}
}

// iptables-legacy announces nothing.
func TestRulesetsFollowLegacy(t *testing.T) {
	needs(t, "nsenter", "ip", "iptables-legacy")
	h := newNamespace(t)
	next := followRules(t, h)
	next()
	for _, c := range []struct {
		line  string
		rules int
	}{{"-A FORWARD -p udp -j DROP", 1}, {"-A FORWARD -p tcp -j DROP", 2}, {"-P FORWARD DROP", 2}, {"-F", 0}} {
		if b, err := command(h, append([]string{"iptables-legacy"}, strings.Fields(c.line)...)...).CombinedOutput(); err != nil {
			t.Skipf("needs a kernel with iptables-legacy: %s", b)
		}
		if n := len(next().Rules()); n != c.rules {
			t.Errorf("%s: %d rules, want %d", c.line, n, c.rules)
		}
	}
}

func TestLegacyTablesAreNamed(t *testing.T) {
	needs(t, "nsenter", "ip", "iptables-legacy")
	h := newNamespace(t)
	if tables, err := LegacyTables(h); err != nil || len(tables) > 0 {
		t.Fatalf("tables %v, %v in a new namespace", tables, err)
	}
	if b, err := command(h, "iptables-legacy", "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE").CombinedOutput(); err != nil {
		t.Skipf("needs a kernel with iptables-legacy: %s", b)
	}
	tables := readRules(t, h).Legacy()
	if len(tables) != 1 || tables[0] != (LegacyTable{Family: "ip", Name: "nat"}) {
		t.Errorf("tables %v, want nat of ip", tables)
	}
}

func BenchmarkReadRuleset(b *testing.B) {
	h, err := netns.New()
	if err != nil {
		b.Skip("needs CAP_SYS_ADMIN: run as root")
	}
	defer func() { _ = h.Close() }()
	for b.Loop() {
		if _, err := ReadRuleset(h); err != nil {
			b.Fatal(err)
		}
	}
}
