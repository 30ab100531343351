package netfilter

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"natlens/capture/packet"
)

// zonesOfLine reads the zones in a line of conntrack -L.
func zonesOfLine(line string) (z Zones) {
	for _, m := range regexp.MustCompile(`zone(-\w+)?=(\d+)`).FindAllStringSubmatch(line, -1) {
		n, _ := strconv.Atoi(m[2])
		if m[1] != "-reply" {
			z[0] = uint16(n)
		}
		if m[1] != "-orig" {
			z[1] = uint16(n)
		}
	}
	return z
}

// The zones that rules are foretold to choose for a packet are those that conntrack(8)
// shows of the entry which the kernel makes of it, and those that are read of it.
func TestZonesAreThoseOfTheKernel(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "iptables-nft", "iptables-legacy", "conntrack")
	const (
		chain = "nft add table ip a; add chain ip a b { type filter hook prerouting priority %s; }"
		rule  = "nft add rule ip a b "
		raw   = "iptables-nft -t raw -A PREROUTING "
	)
	early := fmt.Sprintf(chain, "raw")
	for i, c := range []struct {
		lines []string
		want  Zones
		not   bool // tracked
	}{
		{},
		{lines: []string{raw + "-i docker0 -j CT --zone 5"}, want: Zones{5, 5}},
		{lines: []string{raw + "-i eth0 -j CT --zone 5"}},
		{lines: []string{raw + "-j CT --zone-orig 5"}, want: Zones{5, 0}},
		{lines: []string{raw + "-j CT --zone-reply 6"}, want: Zones{0, 6}},
		{lines: []string{"iptables-legacy -t raw -A PREROUTING -p udp -j CT --zone 7"}, want: Zones{7, 7}},
		{lines: []string{early, rule + "ct zone set 5"}, want: Zones{5, 5}},
		{lines: []string{early, rule + "ct original zone set 5"}, want: Zones{5, 0}},
		{lines: []string{early, rule + "ct reply zone set 65535"}, want: Zones{0, 65535}},
		{lines: []string{early, rule + `ct zone set iifname map { "docker0" : 8, "eth0" : 9 }`}, want: Zones{8, 8}},
		{lines: []string{fmt.Sprintf(chain, "-350"), rule + "mark set 0x20003", raw + "-j CT --zone mark"}, want: Zones{3, 3}},
		// The mark is read when the packet is looked up.
		{lines: []string{raw + "-j CT --zone-orig mark", fmt.Sprintf(chain, "-250"), rule + "mark set 0x20003"}, want: Zones{3, 0}},
		{lines: []string{fmt.Sprintf(chain, "-150"), rule + "ct zone set 5"}}, // too late
		// The first of them decides, and zone 0 is one, too.
		{lines: []string{early, rule + "ct zone set 5", rule + "ct zone set 6"}, want: Zones{5, 5}},
		{lines: []string{raw + "-j CT", raw + "-j CT --zone 6"}},
		{lines: []string{early, rule + "ct zone set 5", rule + "notrack"}, want: Zones{5, 5}},
		{lines: []string{early, rule + "notrack", rule + "ct zone set 5"}, want: Zones{5, 5}},
		{lines: []string{raw + "-j NOTRACK", raw + "-j CT --zone 6"}, not: true},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			r := newRouter(t)
			for _, line := range c.lines {
				run(t, r.middle, line)
			}
			run(t, r.middle, "iptables-nft -t nat -A POSTROUTING -j MASQUERADE")
			rules := readRules(t, r.middle)
			p := Packet{Tuple: tuple(packet.UDP, insideAddress, outsideAddress, 9000, 7000), InLink: "docker0", MarkKnown: true}
			zones, ok := rules.Zones(Prerouting, p)
			if !ok || zones != c.want || rules.Exempted(Prerouting, p) != factOf(c.not) {
				t.Errorf("%q: foretold %v, known %v, exempted %v; want %v", c.lines, zones, ok, rules.Exempted(Prerouting, p), c.want)
			}
			if strings.Contains(fmt.Sprint(c.lines), "zone") && !rules.SetsZones() {
				t.Errorf("%q: no rule sets zones", c.lines)
			}
			sendDatagram(t, r.inside, netip.MustParseAddrPort(insideAddress+":9000"), netip.MustParseAddrPort(outsideAddress+":7000"))
			b, err := command(r.middle, "conntrack", "-L", "-p", "udp", "-o", "id").Output()
			if err != nil {
				t.Fatal(err)
			}
			line := strings.TrimSpace(string(b))
			if there := line != ""; there == c.not || strings.Contains(line, "\n") {
				t.Fatalf("%q: the kernel has %q", c.lines, line)
			}
			if c.not {
				return
			}
			if got := zonesOfLine(line); got != c.want {
				t.Errorf("%q: the kernel has %v: %s", c.lines, got, line)
			}
			_, rec := listen(t, ConntrackConfig{}, r.middle)
			rec.view(func() {
				for _, f := range rec.flows {
					if f.Original.Protocol == packet.UDP && f.Zones() != c.want {
						t.Errorf("%q: read as of %v: %s", c.lines, f.Zones(), line)
					}
				}
			})
		})
	}
}

func factOf(b bool) Fact {
	if b {
		return True
	}
	return False
}

// What is not known of a packet leaves its zone open, where the rule that chooses asks it.
func TestZonesThatAreNotKnown(t *testing.T) {
	needs(t, "nsenter", "nft", "iptables-nft")
	p := Packet{Tuple: tuple(packet.UDP, insideAddress, outsideAddress, 9000, 7000), InLink: "docker0"}
	for _, line := range []string{
		"iptables-nft -t raw -A PREROUTING -j CT --zone mark",
		"iptables-nft -t raw -A PREROUTING -m mark --mark 1 -j CT --zone 5",
		"iptables-nft -t raw -A PREROUTING -m statistic --mode random --probability 0.5 -j CT --zone 5",
		"nft add table ip a; add chain ip a b { type filter hook prerouting priority raw; }; add rule ip a b numgen random mod 2 0 ct zone set 5",
	} {
		h := newNamespace(t)
		run(t, h, line)
		r := readRules(t, h)
		if z, ok := r.Zones(Prerouting, p); ok {
			t.Errorf("%q: %v", line, z)
		}
		if z, ok := r.Zones(Output, p); !ok || z != (Zones{}) {
			t.Errorf("%s: at another hook: %v, %v", line, z, ok)
		}
	}
	if _, ok := (*Ruleset)(nil).Zones(Prerouting, p); ok || (*Ruleset)(nil).SetsZones() {
		t.Error("rules that are not known choose zones")
	}
}
