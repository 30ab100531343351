package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// translator returns the rules of NAT that have counted since.
func (c counts) translator(before counts) (found []string) {
	for text, n := range c {
		if n > before[text] && (strings.Contains(text, " -j MASQUERADE") || strings.Contains(text, " -j DNAT")) {
			found = append(found, text)
		}
	}
	return found
}

// The rule that translated a flow's first packet is told by its counter, whichever
// program made it, whichever side it translates, for IPv4 and IPv6; and iptables-save
// says that it was that rule whose counter moved.
func TestCaseTranslatedByCounter(t *testing.T) {
	e := dualHost(t, 8000)
	e.Run("--name", "back", "-p", "5000:5000/udp", "box")
	type counted struct {
		name, save, kind string
		send             func() *exec.Cmd
		is               func(*journey) bool
	}
	ping := func(from, to string) func() *exec.Cmd {
		return func() *exec.Cmd { return e.CommandIn(from, "ping", "-c", "1", "-W", "2", to) }
	}
	request := func(kind int) func(*journey) bool {
		return func(j *journey) bool { return j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type == kind }
	}
	cases := []counted{
		{"masquerade", "iptables-save", "masquerade", ping("back", internet.String()), request(8)},
		{"masquerade of IPv6", "ip6tables-save", "masquerade", ping("back", internet6), request(128)},
		{"published port", "iptables-save", "dnat", func() *exec.Cmd { return e.CommandOutside("bash", "-c", "echo x > /dev/udp/192.0.2.10/5000") },
			func(j *journey) bool { return j.To.Port == 5000 }},
	}
	e.Network("-o", "com.docker.network.bridge.enable_ip_masquerade=false", "--subnet", "172.30.0.0/16", "plain_net")
	e.Run("--name", "plain", "--network", "plain_net", "box")
	if out, err := e.Command("iptables-legacy", "-w", "-t", "nat", "-A", "POSTROUTING", "-s", "172.30.0.0/16", "-o", "eth0", "-j", "MASQUERADE").CombinedOutput(); err == nil {
		cases = append(cases, counted{"iptables-legacy", "iptables-legacy-save", "masquerade", ping("plain", internet.String()), request(8)})
	} else {
		t.Logf("needs a kernel with iptables-legacy: %s", out)
	}
	// Where nothing drops, counters are read when a flow begins and not besides, which
	// would put that reading off.
	for _, program := range []string{"iptables", "ip6tables"} {
		must(t, e.Command(program, "-w", "-P", "FORWARD", "ACCEPT"))
		must(t, e.Command(program, "-w", "-F", "DOCKER-ISOLATION-STAGE-2"))
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := startWatch(t, e, "--json", "udp or icmp or icmp6")
			var moved []string
			// A busy machine may read the counters too late for a packet, and then
			// says that the rule was evaluated; one of some is in time. Readings are to
			// take one part in a hundred of the time, so that after a long one there is
			// none for as much longer: sooner or later the pause is longer than that.
			pause := time.Duration(0)
			await(t, 3*time.Minute, "a translation that a counter tells of", func() bool {
				pause += time.Second
				time.Sleep(pause)
				before := countersOf(t, e.Command, c.save)
				must(t, c.send())
				moved = countersOf(t, e.Command, c.save).translator(before)
				time.Sleep(500 * time.Millisecond)
				return strings.Contains(w.stdout.String(), `"evidence":"counter"`)
			})
			all, _ := w.journeys()
			found := with(all, func(j *journey) bool { return c.is(j) && len(j.Translations) > 0 })
			if len(found) == 0 {
				t.Fatal("no translated packet")
			}
			by := map[string]int{}
			for _, j := range found {
				if len(j.Translations) != 1 || j.Translations[0].Rule == nil {
					t.Fatalf("%s: %+v", shape(j), j.Translations)
				}
				tr := &j.Translations[0]
				by[tr.Rule.Evidence]++
				same(t, "kind", tr.Kind, c.kind)
				same(t, "evidence of the translation", tr.Evidence, "conntrack")
				same(t, "rule", fmt.Sprint([]string{tr.Rule.Table + " " + tr.Rule.Text}), fmt.Sprint(moved))
			}
			t.Logf("evidence: %v", by)
			if by["counter"] == 0 || by["counter"]+by["evaluated"] != len(found) {
				t.Errorf("evidence of %d packets: %v", len(found), by)
			}
		})
	}
}
