package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// nftCounts are the packets that the rules of a namespace have counted, by family and
// text, as nft lists them.
func nftCounts(t *testing.T, e *engine.Engine) map[string]uint64 {
	t.Helper()
	out, err := e.Command("nft", "-j", "list", "ruleset").Output()
	if err != nil {
		t.Fatal(err)
	}
	var listing struct {
		Nftables []struct {
			Rule *struct {
				Family, Table, Chain string
				Handle               int
				Expr                 []struct{ Counter *struct{ Packets uint64 } }
			}
		}
	}
	if err := json.Unmarshal(out, &listing); err != nil {
		t.Fatal(err)
	}
	all := map[string]uint64{}
	for _, o := range listing.Nftables {
		if o.Rule == nil || o.Rule.Family == "ip" || o.Rule.Family == "ip6" {
			continue
		}
		for _, x := range o.Rule.Expr {
			if x.Counter != nil {
				all[fmt.Sprintf("%s %s %s %d", o.Rule.Family, o.Rule.Table, o.Rule.Chain, o.Rule.Handle)] += x.Counter.Packets
			}
		}
	}
	return all
}

// frameCase is one datagram that a rule of frames drops.
type frameCase struct {
	name, from, to string // to as probe takes it, without the port
	port           int
	rule           string // as nft lists it
	at, hook       string // the last tap, and where the rule stands
}

// TestCaseDroppedByFrameRule sends datagrams into rules of the families bridge and
// netdev, and holds what natlens says against the counters of nft; probe foretells
// each of them.
func TestCaseDroppedByFrameRule(t *testing.T) {
	e := engine.Start(t)
	e.Run("--name", "front", "box")
	e.Run("--name", "back", "box")
	front, back := vethOf(t, e, "front", "eth0"), vethOf(t, e, "back", "eth0")
	backAddress := ipOf(t, e, "back", "bridge")
	mac := macOf(t, inContainer(e, "front"), "eth0")
	cases := []frameCase{
		{"bridge forward", "front", "back", 6101, fmt.Sprintf("ip daddr %s udp dport 6101 counter drop", backAddress), front, "forward"},
		{"between two ports", "front", "back", 6102, fmt.Sprintf("iifname \"%s\" oifname \"%s\" udp dport 6102 counter drop", front, back), front, "forward"},
		{"by MAC address", "front", "back", 6103, fmt.Sprintf("ether saddr %s udp dport 6103 counter drop", mac), front, "prerouting"},
		{"ingress of a port", "front", "back", 6104, "udp dport 6104 counter drop", front, "ingress"},
		{"to the bridge", "front", "host", 6105, "udp dport 6105 counter drop", front, "input"},
		{"from the bridge", "host", "back", 6106, "udp dport 6106 counter drop", "docker0", "output"},
		{"egress of the uplink", "front", "198.51.100.7", 6107, "udp dport 6107 counter drop", "docker0", "egress"},
		{"egress of a port", "front", "back", 6108, "udp dport 6108 counter drop", front, "egress"},
		{"ingress of the bridge", "front", "198.51.100.7", 6109, "iifname \"docker0\" udp dport 6109 counter drop", "docker0", "ingress"},
	}
	chains := map[string]string{
		"forward": "bridge b forward", "prerouting": "bridge b prerouting", "input": "bridge b input", "output": "bridge b output",
		"ingress": "netdev n ingress", "egress": "netdev n egress",
	}
	script := fmt.Sprintf(`table bridge b {
	chain prerouting { type filter hook prerouting priority -300; }
	chain input { type filter hook input priority -200; }
	chain forward { type filter hook forward priority -200; }
	chain output { type filter hook output priority -200; }
}
table netdev n {
	chain ingress { type filter hook ingress devices = { %q, "docker0" } priority 0; }
	chain egress { type filter hook egress devices = { %q, "eth0" } priority 0; }
}
`, front, back)
	for _, c := range cases {
		script += "add rule " + chains[c.hook] + " " + c.rule + "\n"
	}
	load := e.Command("nft", "-f", "-")
	load.Stdin = strings.NewReader(script)
	if out, err := load.CombinedOutput(); err != nil {
		t.Skipf("needs a kernel with chains of bridges and links: %s", out)
	}
	must(t, e.CommandIn("front", "ping", "-c", "1", backAddress.String())) // addresses are resolved from now on
	send := func(c frameCase) *exec.Cmd {
		command, to := inContainer(e, c.from), c.to
		if c.from == "host" {
			command = e.Command
		}
		switch c.to {
		case "back":
			to = backAddress.String()
		case "host":
			to = "172.17.0.1"
		}
		return command("bash", "-c", fmt.Sprintf("echo x > /dev/udp/%s/%d", to, c.port))
	}
	w := startWatch(t, e, "--json", "udp")
	is := func(c frameCase) func(*journey) bool {
		return func(j *journey) bool { return j.To.Port == uint16(c.port) }
	}
	byCounter := func(j *journey) bool { return j.Verdict.Evidence == "counter" }
	counted := map[string]string{}
	// Where a reading of the counters took long, the next may come too late for a drop,
	// which is told by the rules then. One of some is in time, as in TestCaseDroppedByCounter.
	again := cases
	for round := 1; round <= 6 && len(again) > 0; round++ {
		time.Sleep(time.Duration(round+1) * time.Second) // not the same, which readings may come in step with
		for _, c := range again {
			before := nftCounts(t, e)
			counted[c.name] = ""
			must(t, send(c))
			await(t, 5*time.Second, c.name+": a rule counts", func() bool {
				for rule, n := range nftCounts(t, e) {
					if n > before[rule] {
						counted[c.name] = rule
					}
				}
				return counted[c.name] != ""
			})
		}
		for _, c := range again {
			await(t, 20*time.Second, c.name+": its journey", func() bool { return len(w.shown(is(c))) == round })
		}
		again = slices.DeleteFunc(slices.Clone(again), func(c frameCase) bool { return slices.ContainsFunc(w.shown(is(c)), byCounter) })
	}
	all, _ := w.journeys()
	for _, c := range cases {
		found := with(all, is(c))
		if !slices.ContainsFunc(found, byCounter) {
			t.Errorf("%s: none of %d is known by the counter", c.name, len(found))
		}
		for _, j := range found {
			v := &j.Verdict
			t.Logf("%s: %s by %s [%s] %s", c.name, v.Result, v.By, v.Evidence, v.Reason)
			if v.Result != "dropped" || v.Rule == nil || v.Evidence != "evaluated" && v.Evidence != "counter" {
				t.Errorf("%s: %+v, %s", c.name, *v, shape(j))
				continue
			}
			if got := fmt.Sprintf("%s %s %s %d", v.Rule.Family, v.Rule.Table, v.Rule.Chain, v.Rule.Handle); got != counted[c.name] || v.Rule.Text != c.rule {
				t.Errorf("%s: by %s (%s), want %s (%s)", c.name, got, v.Rule.Text, counted[c.name], c.rule)
			}
			if last := j.Hops[len(j.Hops)-1]; last.Interface != c.at || last.Namespace != "host" {
				t.Errorf("%s: last seen at %s:%s, want host:%s", c.name, last.Namespace, last.Interface, c.at)
			}
		}
	}
	for _, c := range cases {
		line, _, status := probe(t, e, c.from, fmt.Sprintf("%s:%d/udp", c.to, c.port))
		if line.Result != "dropped" || status != 1 || line.Expected == nil || line.Expected.Result != "dropped" || line.Expected.Rule == nil || line.Expected.Rule.Text != c.rule || line.Expected.Unsure != "" {
			t.Errorf("probe, %s: %s (%s), status %d, expected %+v", c.name, line.Result, line.Reason, status, line.Expected)
		}
	}
}

func macOf(t *testing.T, command func(string, ...string) *exec.Cmd, link string) string {
	t.Helper()
	out, err := command("ip", "-o", "link", "show", "dev", link).Output()
	words := strings.Fields(string(out))
	for i, w := range words {
		if w == "link/ether" && i+1 < len(words) {
			return words[i+1]
		}
	}
	t.Fatalf("%s has no MAC address: %s %v", link, out, err)
	return ""
}
