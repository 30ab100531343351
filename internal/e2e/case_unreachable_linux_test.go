package e2e

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// What the host can't send on: nobody has the address of the next hop, or there is no
// route. The kernel's own error tells it, where a rule does not drop that; and what was
// asked for and not answered tells it in any case. ip-neighbour(8) agrees.
func TestCaseNoNextHop(t *testing.T) {
	e := dualHost(t, 8000)
	e.Run("--name", "back", "box")
	must(t, e.CommandOutside("ip", "route", "add", "172.17.0.0/16", "via", hostAddress.String()))
	must(t, e.CommandOutside("ip", "-6", "route", "add", "fd00:1::/64", "via", hostAddress6))
	must(t, e.Command("iptables", "-P", "FORWARD", "ACCEPT"))
	must(t, e.Command("ip6tables", "-P", "FORWARD", "ACCEPT"))
	outside := func(to string) func() *exec.Cmd {
		return func() *exec.Cmd { return e.CommandOutside("ping", "-c", "1", "-W", "4", to) }
	}
	silenced := [][]string{{"iptables", "-I", "OUTPUT", "-p", "icmp", "-j", "DROP"}, {"ip6tables", "-I", "OUTPUT", "-p", "icmpv6", "--icmpv6-type", "destination-unreachable", "-j", "DROP"}}
	noRoute := [][]string{{"ip", "route", "del", "default"}, {"ip", "-6", "route", "del", "default"}}
	const lonely, lonely6 = "172.17.0.99", "fd00:1::99"
	for _, c := range []struct {
		name, to, neighbour string
		before              [][]string
		send                func() *exec.Cmd
		evidence            string
		says                []string
	}{
		{"neighbour", lonely, lonely, nil, outside(lonely), "reply",
			[]string{"host unreachable, says ", "docker0 asked", "who has " + lonely + ", and nobody answered"}},
		{"neighbour of IPv6", lonely6, lonely6, nil, outside(lonely6), "reply",
			[]string{"says ", "docker0 asked", "who has " + lonely6 + ", and nobody answered"}},
		{"neighbour, without a word", lonely, lonely, silenced, outside(lonely), "tap",
			[]string{"docker0 asked", "who has " + lonely + ", and nobody answered"}},
		{"neighbour of IPv6, without a word", lonely6, lonely6, nil, outside(lonely6), "tap",
			[]string{"docker0 asked", "who has " + lonely6 + ", and nobody answered"}},
		{"route", "203.0.113.9", "", append([][]string{{"iptables", "-D", "OUTPUT", "1"}, {"ip6tables", "-D", "OUTPUT", "1"}}, noRoute...),
			func() *exec.Cmd { return e.CommandIn("back", "ping", "-c", "1", "-W", "1", "203.0.113.9") }, "reply",
			[]string{"net unreachable, says 172.17.0.1 (#", "host has no route to 203.0.113.9"}},
		{"route of IPv6", "2001:db8:1::9", "", nil,
			func() *exec.Cmd { return e.CommandIn("back", "ping", "-c", "1", "-W", "1", "2001:db8:1::9") }, "reply",
			[]string{"says fd00:1::1 (#", "host has no route to 2001:db8:1::9"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, words := range c.before {
				must(t, e.Command(words[0], words[1:]...))
			}
			screen := startWatch(t, e, "icmp or icmp6")
			w := startWatch(t, e, "--json", "icmp or icmp6")
			if out, err := c.send().CombinedOutput(); err == nil {
				t.Fatalf("it was answered: %s", out)
			}
			if c.neighbour != "" {
				out, _ := e.Command("ip", "neighbour", "show", "to", c.neighbour, "dev", "docker0").Output()
				if !strings.Contains(string(out), "FAILED") && !strings.Contains(string(out), "INCOMPLETE") {
					t.Errorf("ip neighbour says %q", out)
				}
			}
			time.Sleep(4 * time.Second)
			screen.end()
			all, _ := w.journeys()
			found := with(all, func(j *journey) bool {
				return j.To.IP == c.to && j.Hops[0].ICMP != nil && slices.Contains([]int{8, 128}, j.Hops[0].ICMP.Type)
			})
			j := only(t, "request", found)
			t.Logf("%s [%s] %s\n%s", j.Verdict.Result, j.Verdict.Evidence, j.Verdict.Reason, screen.stdout.String())
			if j.Verdict.Result != "dropped" || j.Verdict.Evidence != c.evidence {
				t.Errorf("%+v", j.Verdict)
			}
			says(t, "reason", j.Verdict.Reason, c.says...)
		})
	}
}
