package live

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// What came and went is told in the words of whoever made it, and what only
// counted is not told.
func TestRuleChange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN and CAP_NET_ADMIN: run as root")
	}
	for _, program := range []string{"nsenter", "iptables-nft", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs the program %s", program)
		}
	}
	h, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	change := func(line string) {
		t.Helper()
		err := h.Do(func() error {
			out, err := exec.Command("sh", "-c", line).CombinedOutput()
			if err != nil {
				t.Logf("%s: %s", line, out)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	topology := (&netinfo.Topology{Namespaces: []*netinfo.Namespace{{ID: h.ID(), Name: "back"}}}).Seal()
	var before *netfilter.Ruleset
	for _, c := range []struct{ line, detail string }{
		{"iptables-nft -A FORWARD -s 10.0.0.1 -j DROP", ""}, // the first that is known
		{"true", ""},
		{"iptables-nft -Z", ""},
		{"iptables-nft -I FORWARD -p udp -j DROP", "a rule came: -A FORWARD -p udp -j DROP"},
		{"iptables-nft -t nat -A POSTROUTING -j MASQUERADE", "a rule came: -t nat -A POSTROUTING -j MASQUERADE"},
		{"iptables-nft -D FORWARD 2; nft add table ip x; nft 'add chain ip x y'; nft add rule ip x y counter",
			"a rule came: ip x y counter; a rule went: -A FORWARD -s 10.0.0.1/32 -j DROP"},
		{"for i in 1 2 3 4 5; do nft add rule ip x y ip saddr 10.0.0.$i drop; done",
			"5 rules came: ip x y ip saddr 10.0.0.1 drop, ip x y ip saddr 10.0.0.2 drop, ip x y ip saddr 10.0.0.3 drop and 2 more"},
		{"ip6tables-nft -t nat -A POSTROUTING -o eth0 -j MASQUERADE", "a rule came: ip6tables -t nat -A POSTROUTING -o eth0 -j MASQUERADE"},
		{"iptables-nft -P FORWARD DROP", "the policy of ip filter FORWARD is drop now"},
		{"iptables-nft -P OUTPUT DROP", "the policy of ip filter OUTPUT is drop now"}, // which was not there before
		{"nft 'table ip w { chain c { type filter hook input priority 0; policy drop; }; chain d { type filter hook output priority 0; }; }'",
			"the policy of ip w c is drop now"},
		{"nft delete table ip w", "ip w c, whose policy was drop, is gone"},
		{"iptables-nft -P OUTPUT ACCEPT", "the policy of ip filter OUTPUT is accept now"},
		{"iptables-nft -P FORWARD ACCEPT; iptables-nft -A FORWARD -p tcp -j DROP",
			"the policy of ip filter FORWARD is accept now; a rule came: -A FORWARD -p tcp -j DROP"},
		{"nft 'table inet natlens_trace_0 { chain c { type filter hook prerouting priority -350; meta nftrace set 1; }; }'", ""},
		{"nft delete table inet natlens_trace_0", ""},
		{"nft 'table bridge b { chain c { type filter hook forward priority 0; ether saddr 02:00:00:00:00:01 drop; }; }'",
			"a rule came: bridge b c ether saddr 02:00:00:00:00:01 drop"},
		{"nft 'table arp a { chain c { type filter hook input priority 0; arp operation request drop; }; }'",
			"a rule came: arp a c arp operation request drop"},
		{"nft 'table netdev n { chain c { type filter hook ingress device lo priority 0; ip saddr 10.0.0.9 drop; }; }'",
			"a rule came: netdev n c ip saddr 10.0.0.9 drop"},
		{"nft 'table ip z { chain c { ip saddr 10.0.0.1 drop; ip saddr 10.0.0.2 counter; }; }'",
			"2 rules came: ip z c ip saddr 10.0.0.1 drop, ip z c ip saddr 10.0.0.2 counter"},
		// A table that is made anew, as by nft -f, gives its rules the handles that others had.
		{"nft 'table ip z; delete table ip z; table ip z { chain c { ip saddr 10.0.0.3 drop; ip saddr 10.0.0.2 counter; }; }'",
			"a rule came: ip z c ip saddr 10.0.0.3 drop; a rule went: ip z c ip saddr 10.0.0.1 drop"},
		{"nft delete table ip x", "6 rules went: ip x y counter, ip x y ip saddr 10.0.0.1 drop, ip x y ip saddr 10.0.0.2 drop and 3 more"},
	} {
		change(c.line)
		after, err := netfilter.ReadRuleset(h)
		if err != nil {
			t.Fatal(err)
		}
		got := ruleChange(before, after, topology)
		switch {
		case c.detail == "" && got != nil:
			t.Errorf("%s: %+v", c.line, got)
		case c.detail != "" && (got == nil || got.Detail != c.detail || got.Kind != "ruleset" || got.NamespaceName != "back"):
			t.Errorf("%s: %+v\nwant %s", c.line, got, c.detail)
		}
		before = after
	}
	if !strings.HasPrefix(told([]netfilter.Rule{{}}, "came"), "a rule came") {
		t.Error("one rule is told like several")
	}
}

// Rules that were read before a namespace went, and come after the word of that, are
// not kept.
func TestRulesOfANamespaceThatWent(t *testing.T) {
	const went, stays netns.ID = 7, 8
	there := (&netinfo.Topology{Namespaces: []*netinfo.Namespace{{ID: stays}}}).Seal()
	m := ruleMemory{}
	m.hear(notice{namespace: went, until: 1})
	for _, ns := range []netns.ID{went, stays} {
		m.see(&netfilter.Ruleset{Namespace: ns}, there)
	}
	if m.keep(there); len(m) != 1 || m[stays] == nil {
		t.Errorf("%d namespaces' rules are kept", len(m))
	}
}
