package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// counts are the packet counters of all rules and policies, by the text that
// iptables-save has for them.
type counts map[string]uint64

func countersOf(t *testing.T, command func(string, ...string) *exec.Cmd, save string) counts {
	t.Helper()
	out, err := command(save, "-c").Output()
	if err != nil {
		t.Fatalf("%s: %v", save, err)
	}
	all, table := counts{}, ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, "["): // [packets:bytes] -A …
			count, text, _ := strings.Cut(line[1:], "] ")
			all.add(t, table+" "+text, count)
		case strings.HasPrefix(line, ":"): // :CHAIN POLICY [packets:bytes]
			if words := strings.Fields(line[1:]); words[1] != "-" {
				all.add(t, table+" policy of "+words[0]+" "+words[1], strings.Trim(words[2], "[]"))
			}
		}
	}
	return all
}

func (c counts) add(t *testing.T, text, count string) {
	packets, _, _ := strings.Cut(count, ":")
	n, err := strconv.ParseUint(packets, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	c[text] += n
}

// dropper returns the rule or policy that drops and has counted since.
func (c counts) dropper(before counts) (found []string) {
	for text, n := range c {
		if n > before[text] && (strings.Contains(text, " -j DROP") || strings.Contains(text, " -j REJECT") || strings.HasSuffix(text, " DROP")) {
			found = append(found, text)
		}
	}
	return found
}

// knockOnce is one datagram that something drops.
type knockOnce struct {
	name string
	port int
	send func(port int) *exec.Cmd
	at   string // the last tap
	by   string // short
}

// TestCaseDroppedByRule sends one datagram into each of the drops that Docker or
// its users make, and holds what natlens says against the counters of
// iptables-save: the one rule that drops and has counted since.
func TestCaseDroppedByRule(t *testing.T) {
	e := engine.Start(t)
	e.Network("other_net")
	e.Network("--internal", "inner_net")
	e.Network("-o", "com.docker.network.bridge.enable_icc=false", "quiet_net")
	for name, network := range map[string]string{"ubuntu": "bridge", "web": "bridge", "back": "other_net", "inner": "inner_net", "quiet": "quiet_net", "silent": "quiet_net"} {
		e.Run("--name", name, "--network", network, "box")
	}
	web, back, silent := ipOf(t, e, "web", "bridge"), ipOf(t, e, "back", "other_net"), ipOf(t, e, "silent", "quiet_net")
	must(t, e.CommandIn("inner", "ip", "route", "replace", "default", "via", strings.TrimSpace(e.Docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "inner_net"))))
	must(t, e.CommandOutside("ip", "route", "add", "172.16.0.0/12", "via", hostAddress.String()))
	for _, line := range []string{
		"-P FORWARD DROP",
		"-t raw -A PREROUTING -d " + web.String() + " ! -i docker0 -p udp --dport 6003 -j DROP",
		"-I DOCKER-USER -p udp --dport 6006 -j DROP",
		"-A INPUT -p udp --dport 6007 -j DROP",
	} {
		must(t, e.Command("iptables", append([]string{"-w"}, strings.Fields(line)...)...))
	}
	to := func(from func(string, ...string) *exec.Cmd, ip fmt.Stringer) func(int) *exec.Cmd {
		return func(port int) *exec.Cmd { return from("bash", "-c", fmt.Sprintf("echo x > /dev/udp/%s/%d", ip, port)) }
	}
	veth := func(name string) string { return vethOf(t, e, name, "eth0") }
	dropped(t, e, "iptables-save", []knockOnce{
		{"isolated networks", 6001, to(inContainer(e, "ubuntu"), back), "docker0", "DOCKER-ISOLATION-STAGE-2"},
		{"policy", 6002, to(e.CommandOutside, web), "eth0", "the policy of FORWARD"},
		{"direct access", 6003, to(e.CommandOutside, web), "eth0", "PREROUTING"},
		{"internal network", 6004, to(inContainer(e, "inner"), internet), bridgeOf(e, "inner_net"), "DOCKER-ISOLATION-STAGE-1"},
		{"no talk between containers", 6005, to(inContainer(e, "quiet"), silent), veth("quiet"), "FORWARD"},
		{"user's rule", 6006, to(inContainer(e, "ubuntu"), internet), "docker0", "DOCKER-USER"},
		{"to the host", 6007, to(e.CommandOutside, hostAddress), "eth0", "INPUT"},
	})
}

// TestCaseDroppedByLegacyRule: the rules of iptables-legacy stand beside those of
// the engine.
func TestCaseDroppedByLegacyRule(t *testing.T) {
	e := engine.Start(t)
	e.Run("--name", "ubuntu", "box")
	if out, err := e.Command("iptables-legacy", "-w", "-A", "FORWARD", "-p", "udp", "--dport", "6008", "-j", "DROP").CombinedOutput(); err != nil {
		t.Skipf("needs a kernel with iptables-legacy: %s", out)
	}
	dropped(t, e, "iptables-legacy-save", []knockOnce{{"legacy", 6008, func(port int) *exec.Cmd {
		return e.CommandIn("ubuntu", "bash", "-c", fmt.Sprintf("echo x > /dev/udp/%s/%d", internet, port))
	}, "docker0", "FORWARD"}})
}

// TestCaseDroppedByIPSet: rules ask sets of ipset for who is banned and what is closed, and
// members that exempt a part of a network count. A probe foretells the same.
func TestCaseDroppedByIPSet(t *testing.T) {
	e := engine.Start(t)
	e.Run("--name", "ubuntu", "box")
	if out, err := e.Command("ipset", "create", "banned", "hash:net").CombinedOutput(); err != nil {
		t.Skipf("needs a kernel with ipset: %s", out)
	}
	for _, line := range []string{
		"ipset add banned 198.51.0.0/16", "ipset add banned 198.51.100.7/32 nomatch",
		"ipset create closed hash:ip,port timeout 3600", "ipset add closed 198.51.100.7,udp:6011",
		"ipset create both list:set", "ipset add both banned",
		"iptables -I DOCKER-USER -m set --match-set both dst -j DROP",
		"iptables -I DOCKER-USER -m set --match-set closed dst,dst -j DROP",
	} {
		must(t, e.Command(strings.Fields(line)[0], strings.Fields(line)[1:]...))
	}
	send := func(to string) func(int) *exec.Cmd {
		return func(port int) *exec.Cmd {
			return e.CommandIn("ubuntu", "bash", "-c", fmt.Sprintf("echo x > /dev/udp/%s/%d", to, port))
		}
	}
	dropped(t, e, "iptables-save", []knockOnce{
		{"a network of the list", 6010, send("198.51.100.8"), "docker0", "DOCKER-USER"},
		{"an address and port", 6011, send("198.51.100.7"), "docker0", "DOCKER-USER"},
	})
	for to, want := range map[string]string{"198.51.100.8:9/udp": "dropped", "198.51.100.7:6011/udp": "dropped", "198.51.100.7": "reached"} {
		line, _, _ := probe(t, e, "ubuntu", to)
		if line.Result != want || line.Expected == nil || line.Expected.Result != want || line.Expected.Unsure != "" {
			t.Errorf("%s: %s (%s), expected %+v; want %s", to, line.Result, line.Reason, line.Expected, want)
		}
	}
}

// TestCaseDroppedByCounter sends lone datagrams into rules and policies, with readings
// of the counters before, between and behind: what iptables-save has counted proves
// each, and natlens has to say that it rests on that.
func TestCaseDroppedByCounter(t *testing.T) {
	e := engine.Start(t)
	e.Network("other_net")
	for name, network := range map[string]string{"ubuntu": "bridge", "back": "other_net"} {
		e.Run("--name", name, "--network", network, "box")
	}
	back := ipOf(t, e, "back", "other_net")
	must(t, e.CommandOutside("ip", "route", "add", "172.16.0.0/12", "via", hostAddress.String()))
	for _, line := range []string{
		"-P FORWARD DROP",
		"-I DOCKER-USER -p udp --dport 6021 -j DROP",
		"-A INPUT -p udp --dport 6022 -j DROP",
		"-t raw -A PREROUTING -p udp --dport 6023 -j DROP",
	} {
		must(t, e.Command("iptables", append([]string{"-w"}, strings.Fields(line)...)...))
	}
	from := func(container, to string) func(int) *exec.Cmd {
		return func(port int) *exec.Cmd {
			return e.CommandIn(container, "bash", "-c", fmt.Sprintf("echo x > /dev/udp/%s/%d", to, port))
		}
	}
	knocks := []knockOnce{
		{"user's rule", 6021, from("ubuntu", internet.String()), "docker0", "DOCKER-USER"},
		{"to the host", 6022, from("ubuntu", "172.17.0.1"), "docker0", "INPUT"},
		{"raw, by bridge netfilter", 6023, from("ubuntu", internet.String()), vethOf(t, e, "ubuntu", "eth0"), "PREROUTING"},
		{"isolated networks", 6024, from("ubuntu", back.String()), "docker0", "DOCKER-ISOLATION-STAGE-2"},
		{"policy", 6025, func(port int) *exec.Cmd {
			return e.CommandOutside("bash", "-c", fmt.Sprintf("echo x > /dev/udp/%s/%d", back, port))
		}, "eth0", "the policy of FORWARD"},
	}
	w := startWatch(t, e, "--json", "udp")
	byCounter := func(j *journey) bool { return j.Verdict.Evidence == "counter" }
	droppers := map[string][]string{}
	for i := range knocks {
		k := &knocks[i]
		// On a machine that is busy otherwise counters are read less often than once
		// a second: then a drop may be told before the next reading.
		for attempt := 1; attempt <= 6 && !slices.ContainsFunc(w.shown(k.is), byCounter); attempt++ {
			time.Sleep(time.Duration(attempt+1) * time.Second) // not the same, which readings may come in step with
			droppers[k.name] = k.knock(t, e, "iptables-save")
			await(t, 20*time.Second, k.name+": its journey", func() bool { return len(w.shown(k.is)) == attempt })
		}
	}
	all, _ := w.journeys()
	for _, k := range knocks {
		found := with(all, k.is)
		for _, j := range found {
			k.check(t, j, "iptables-save", droppers[k.name])
		}
		if !slices.ContainsFunc(found, byCounter) {
			t.Errorf("%s: none of %d is known by the counter", k.name, len(found))
		}
	}
}

// dropped sends each knock once, and checks the verdict on it.
func dropped(t *testing.T, e *engine.Engine, save string, knocks []knockOnce) {
	t.Helper()
	w := startWatch(t, e, "--json", "udp")
	droppers := map[string][]string{}
	for _, k := range knocks {
		droppers[k.name] = k.knock(t, e, save)
	}
	time.Sleep(4 * time.Second) // a packet that does not go on is waited for
	all, _ := w.journeys()
	for _, k := range knocks {
		k.check(t, only(t, k.name, with(all, k.is)), save, droppers[k.name])
	}
}

// knock sends the datagram and returns what the rules' program says has dropped it.
func (k *knockOnce) knock(t *testing.T, e *engine.Engine, save string) (droppers []string) {
	t.Helper()
	before := countersOf(t, e.Command, save)
	must(t, k.send(k.port))
	await(t, 5*time.Second, k.name+": a rule that drops counts", func() bool {
		droppers = countersOf(t, e.Command, save).dropper(before)
		return len(droppers) > 0
	})
	return droppers
}

func (k *knockOnce) is(j *journey) bool { return j.To.Port == uint16(k.port) }

// check holds the verdict against what has counted.
func (k *knockOnce) check(t *testing.T, j *journey, save string, counted []string) {
	t.Helper()
	v := &j.Verdict
	t.Logf("%s: %s by %s [%s] %s", k.name, v.Result, v.By, v.Evidence, v.Reason)
	if v.Result != "dropped" || v.Evidence != "evaluated" && v.Evidence != "counter" {
		t.Errorf("%s: %+v", k.name, *v)
	}
	if last := j.Hops[len(j.Hops)-1]; last.Interface != k.at || last.Namespace != "host" {
		t.Errorf("%s: last seen at %s:%s, want host:%s", k.name, last.Namespace, last.Interface, k.at)
	}
	said := "the policy of a chain"
	switch {
	case v.Rule != nil:
		said = v.Rule.Table + " " + v.Rule.Text
		if want := fmt.Sprintf("%s #%d", k.by, v.Rule.Position); v.By != want {
			t.Errorf("%s: by %s, want %s", k.name, v.By, want)
		}
	case v.By == k.by:
		said = "filter policy of " + strings.TrimPrefix(k.by, "the policy of ") + " DROP"
	}
	if len(counted) != 1 || counted[0] != said {
		t.Errorf("%s: natlens says %q, %s that %q counted", k.name, said, save, counted)
	}
}
