package netfilter

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/netinfo/netns"
)

// listed is what a listing says of a rule and of the base chain that it stands in.
type listed struct {
	Handle         uint64
	Packets, Bytes uint64
	Counts         bool
	Hook, Type     string
	Priority       int32
	Drops          bool
	Text           string // of iptables-save
}

// listedByNFT reads nft -j list ruleset: rules by "family table chain #position".
func listedByNFT(t *testing.T, h *netns.Handle) map[string]listed {
	t.Helper()
	var listing struct {
		Nftables []struct {
			Chain *struct {
				Family, Table, Name, Hook, Type, Policy string
				Prio                                    int32
			}
			Rule *struct {
				Family, Table, Chain string
				Handle               uint64
				Expr                 []struct {
					Counter *struct{ Packets, Bytes uint64 }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(run(t, h, "nft -j list ruleset")), &listing); err != nil {
		t.Fatal(err)
	}
	chains, positions, rules := map[string]listed{}, map[string]int{}, map[string]listed{}
	for _, o := range listing.Nftables {
		if c := o.Chain; c != nil {
			chains[c.Family+" "+c.Table+" "+c.Name] = listed{Hook: c.Hook, Type: c.Type, Priority: c.Prio, Drops: c.Policy == "drop"}
		}
		if r := o.Rule; r != nil {
			chain := r.Family + " " + r.Table + " " + r.Chain
			positions[chain]++
			l := chains[chain]
			l.Handle = r.Handle
			for _, x := range r.Expr {
				if x.Counter != nil {
					l.Packets, l.Bytes, l.Counts = x.Counter.Packets, x.Counter.Bytes, true
				}
			}
			rules[fmt.Sprintf("%s #%d", chain, positions[chain])] = l
		}
	}
	return rules
}

// listedByUs is the same of a Ruleset.
func listedByUs(r *Ruleset, backends ...Backend) map[string]listed {
	rules := map[string]listed{}
	for _, c := range r.Chains() {
		for _, one := range c.Rules {
			for _, b := range backends {
				if one.Backend != b {
					continue
				}
				rules[fmt.Sprintf("%s %s %s #%d", one.Family, one.Table, one.Chain, one.Position)] = listed{
					Handle: one.Handle, Packets: one.Counter.Packets, Bytes: one.Counter.Bytes, Counts: one.Counts,
					Hook: string(c.Hook), Type: c.Type, Priority: c.Priority, Drops: c.Drops, Text: one.Text,
				}
			}
		}
	}
	return rules
}

// TestRulesAreAsListed compares each rule's place, handle and counters, and its chain's
// hook, type, priority and policy, with what nft and iptables-save list after packets
// have met the rules.
func TestRulesAreAsListed(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "iptables-nft", "iptables-legacy", "ping")
	r := newRouter(t)
	script(t, r.middle, `table inet own {
	chain early { type filter hook prerouting priority raw - 7; policy accept; counter; meta l4proto icmp counter; }
	chain late { type filter hook postrouting priority 333; policy accept; ip daddr 192.0.2.1 counter accept; }
	chain inside { type filter hook input priority filter + 1; policy drop; udp dport 9 counter accept; }
	chain route { type route hook output priority mangle; counter; }
}
table ip other {
	chain nat { type nat hook postrouting priority srcnat + 5; ip saddr 10.9.0.0/24 counter snat to 192.0.2.10; }
	chain plain { counter; }
	chain forward { type filter hook forward priority -1; counter jump plain; counter accept; }
}
table netdev n {
	chain in { type filter hook ingress device "docker0" priority 3; counter; }
}
table bridge b {
	chain forward { type filter hook forward priority 9; counter; }
}
`, "nft", "-f", "-")
	backends := []string{"iptables-nft", "iptables-legacy"}
	for _, backend := range backends {
		for _, line := range []string{
			"-N USER", "-A USER -p icmp", "-A FORWARD -j USER", "-A FORWARD -s 10.9.0.2 -p udp -j ACCEPT", "-A INPUT -p udp --dport 9 -j DROP",
			"-t mangle -A PREROUTING -p udp -j MARK --set-mark 3", "-t raw -A OUTPUT -p udp",
		} {
			if b, err := command(r.middle, append([]string{backend}, strings.Fields(line)...)...).CombinedOutput(); err != nil {
				t.Skipf("needs a kernel with %s: %s", backend, b)
			}
		}
	}
	run(t, r.inside, "ping -n -c 3 -i 0.2 "+outsideAddress)
	flood(t, r.inside, netip.MustParseAddrPort(outsideAddress+":7"), 5)
	flood(t, r.inside, netip.MustParseAddrPort("10.9.0.1:9"), 2)
	for _, h := range []*netns.Handle{r.inside, r.middle, r.outside} { // nobody has anything more to say
		runWords(t, h, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6")
	}
	var rules *Ruleset
	var want map[string]listed
	eventually(t, "nothing counts while it is read", func() bool {
		want = listedByNFT(t, r.middle)
		rules = readRules(t, r.middle)
		return cmp.Equal(want, listedByNFT(t, r.middle))
	})
	got := listedByUs(rules, NFTables, IPTablesNFT)
	counted := 0
	for name, l := range got {
		if l.Text = ""; l.Packets > 0 {
			counted++
		}
		got[name] = l
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-nft +natlens):\n%s", diff)
	}
	if len(want) < 15 || counted < 10 {
		t.Errorf("%d rules, %d of them have counted: the test shows less than it should", len(want), counted)
	}
	for _, backend := range backends {
		saved, mine := map[string]listed{}, map[string]listed{}
		table, positions := "", map[string]int{}
		for line := range strings.Lines(run(t, r.middle, backend+"-save -c")) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "*") {
				table = line[1:]
			}
			counts, rule, ok := strings.Cut(line, "] ")
			if !ok || !strings.HasPrefix(rule, "-A ") {
				continue
			}
			l := listed{Text: rule}
			if _, err := fmt.Sscanf(counts, "[%d:%d", &l.Packets, &l.Bytes); err != nil {
				t.Fatal(err)
			}
			chain := "ip " + table + " " + strings.Fields(rule)[1]
			positions[chain]++
			saved[fmt.Sprintf("%s #%d", chain, positions[chain])] = l
		}
		for name, l := range listedByUs(rules, Backend(backend)) {
			mine[name] = listed{Packets: l.Packets, Bytes: l.Bytes, Text: l.Text}
		}
		if diff := cmp.Diff(saved, mine); diff != "" {
			t.Errorf("rules (-%s-save +natlens):\n%s", backend, diff)
		}
		if len(saved) != 6 {
			t.Errorf("%s-save lists %d rules", backend, len(saved))
		}
	}
	// iptables-legacy has tables whose places are fixed (ip_tables(7), nf_ip_hook_priorities).
	priorities := map[string]int32{"raw": -300, "mangle": -150, "filter": 0}
	hooks := map[string]string{"PREROUTING": "prerouting", "INPUT": "input", "FORWARD": "forward", "OUTPUT": "output", "USER": ""}
	for name, l := range listedByUs(rules, IPTablesLegacy) {
		words := strings.Fields(name)
		priority := priorities[words[1]]
		if words[2] == "USER" {
			priority = 0
		}
		if l.Hook != hooks[words[2]] || l.Priority != priority {
			t.Errorf("%s is at %q, priority %d", name, l.Hook, l.Priority)
		}
	}
}
