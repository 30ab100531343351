package netfilter

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/capture/packet"
)

// ipsetRules are laid out as Docker 28.0 did: its bridges' subnets are in a set of
// ipset. Then other ways to ask for one.
const ipsetRules = `*filter
:DOCKER - [0:0]
-A FORWARD -m set --match-set docker-ext-bridges-v4 dst -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m set --match-set docker-ext-bridges-v4 dst -j DOCKER
-A FORWARD -i docker0 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A INPUT -p tcp -m set ! --match-set allowed src,dst -j DROP
-A INPUT -m set --match-set allowed src,src --return-nomatch -j DROP
COMMIT
`

func TestRulesThatAskForASetOfIPSet(t *testing.T) {
	needs(t, "nsenter", "ip", "ipset", "iptables-nft", "iptables-legacy")
	for _, backend := range []string{"nft", "legacy"} {
		t.Run(backend, func(t *testing.T) {
			h := newNamespace(t)
			if b, err := command(h, "iptables-"+backend, "-t", "filter", "-L", "-n").CombinedOutput(); err != nil {
				t.Skipf("needs a kernel with iptables-%s: %s", backend, b)
			}
			script(t, h, "create docker-ext-bridges-v4 hash:net\nadd docker-ext-bridges-v4 172.17.0.0/16\ncreate allowed hash:ip,port\n", "ipset", "restore")
			script(t, h, ipsetRules, "iptables-"+backend+"-restore")
			r := readRules(t, h)
			got := map[string][]string{}
			for _, rule := range r.Rules() {
				got[rule.Chain] = append(got[rule.Chain], rule.Text)
			}
			want := byChain(ruleLines(run(t, h, "iptables-"+backend+"-save")))
			if last := got["INPUT"]; len(last) != 2 || !strings.Contains(last[1], "[not decoded") {
				t.Errorf("%q: what asks for more than the set is told by halves", last)
			}
			got["INPUT"], want["INPUT"] = got["INPUT"][:1], want["INPUT"][:1]
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("rules (-save +natlens):\n%s", diff)
			}
			walkCase{"whether it is in the set decides", ThroughHost, packetOf(tuple(packet.TCP, "203.0.113.7", "172.17.0.2", 4000, 80), "eth0", "docker0"),
				"drop DOCKER 1"}.check(t, r)
			walkCase{"it decides nothing", ThroughHost, packetOf(tuple(packet.TCP, "172.17.0.2", "203.0.113.7", 4000, 80), "docker0", "eth0"), "accept"}.check(t, r)
		})
	}
}

// Members that come are seen by who watches the rules, though nobody announces them.
func TestMembersOfIPSetsThatChange(t *testing.T) {
	needs(t, "nsenter", "ip", "ipset", "iptables-nft")
	h := newNamespace(t)
	if b, err := command(h, "ipset", "create", "banned", "hash:ip").CombinedOutput(); err != nil {
		t.Skipf("needs a kernel with ipset: %s", b)
	}
	script(t, h, "*filter\n-A FORWARD -m set --match-set banned src -j DROP\nCOMMIT\n", "iptables-nft-restore")
	next := followRules(t, h)
	p := packetOf(tuple(packet.TCP, "203.0.113.7", "172.17.0.2", 4000, 80), "eth0", "docker0")
	first := next()
	checkJSON(t, first)
	walkCase{"not banned", ThroughHost, p, "accept"}.check(t, first)
	run(t, h, "ipset add banned 203.0.113.7")
	second := next()
	walkCase{"banned", ThroughHost, p, "drop FORWARD 1"}.check(t, second)
	p.Time = first.Time + 1
	walkCase{"banned meanwhile", ThroughHost, p, "unsure: what was in the set banned then is not known"}.check(t, second)
}
